"""A row of what one flipped bit makes wrong; see `callbacks.FlipDamage`."""

from __future__ import annotations

from typing import NamedTuple


class FlippedBit(NamedTuple):
    """What one flipped bit does on average: over the clips' means, each over its flips.

    `bit_rate` is that of the stream in which the bit is flipped. `wrong_codes` is the share of the clip's codes that
    come out wrong or not at all, `frames` the number of frames with such a code, `mean` their duration in milliseconds
    with its interval from `low` to `high`, `longest` the longest duration of any flip in milliseconds.
    """

    codec: str
    bit_rate: float
    clips: int
    flips: int
    wrong_codes: float
    frames: float
    mean: float
    low: float
    high: float
    longest: float
