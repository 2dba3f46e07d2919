"""Lengths in samples, derived by exact division; a mismatch is an error at start-up."""


def crop_length(crop_seconds: float, sample_rate: int, hop_length: int) -> int:
    """`crop_seconds` in samples; a ValueError naming the nearest valid value unless it is whole hops."""
    samples = round(crop_seconds * sample_rate)
    if samples < hop_length or samples % hop_length or abs(samples - crop_seconds * sample_rate) > 1e-6 * samples:
        nearest = max(1, round(crop_seconds * sample_rate / hop_length)) * hop_length
        raise ValueError(
            f"crop_seconds={crop_seconds} at sample_rate={sample_rate} is {crop_seconds * sample_rate:g} samples, "
            f"not a whole number of hops of hop_length={hop_length}; "
            f"the nearest is crop_seconds={nearest / sample_rate:g}"
        )
    return samples


def length_at(rate: int, samples: int, reference_rate: int) -> int:
    """What `samples` at `reference_rate` are at `rate`; a ValueError unless the division is exact."""
    length, remainder = divmod(samples * rate, reference_rate)
    if remainder:
        raise ValueError(
            f"{samples} samples at {reference_rate} Hz are {samples * rate / reference_rate:.3f} samples at "
            f"{rate} Hz; choose a crop that is a whole number of samples at both rates"
        )
    return length
