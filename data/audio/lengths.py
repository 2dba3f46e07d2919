"""Lengths in samples, derived by exact division; a mismatch is an error at start-up."""

import math

from data.errors import DataError


def crop_length(crop_seconds: float, sample_rate: int, hop_length: int) -> int:
    """`crop_seconds` in samples. Raises DataError, naming the nearest valid value, unless that is whole hops."""
    if not 0 < crop_seconds < math.inf:
        raise DataError("crop_seconds", crop_seconds, "must be a finite number above 0")
    samples = round(crop_seconds * sample_rate)
    if samples < hop_length or samples % hop_length or abs(samples - crop_seconds * sample_rate) > 1e-6 * samples:
        nearest = max(1, round(crop_seconds * sample_rate / hop_length)) * hop_length
        raise DataError(
            "crop_seconds",
            crop_seconds,
            f"is {crop_seconds * sample_rate:g} samples at sample_rate={sample_rate}, not a whole number of hops of "
            f"hop_length={hop_length}",
            f"the nearest is crop_seconds={nearest / sample_rate:g}",
        )
    return samples


def length_at(rate: int, samples: int, reference_rate: int) -> int:
    """The number of samples at `rate` that last as long as `samples` at `reference_rate`.

    Raises DataError unless the division is exact.
    """
    length, remainder = divmod(samples * rate, reference_rate)
    if remainder:
        exact = samples * rate / reference_rate
        problem = f"{samples} samples at {reference_rate} Hz are {exact:.3f} samples at {rate} Hz"
        raise DataError(problem, remedy="choose a crop that is a whole number of samples at both rates")
    return length
