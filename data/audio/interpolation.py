"""Resampling by any ratio: the windowed sinc of `data.audio.resampling`, taken at each sample's own place."""

import math
from fractions import Fraction
from functools import lru_cache

import torch

LOWPASS_WIDTH = 64  # zero crossings of the sinc on either side; these values are those of resampy's "kaiser_best"
ROLLOFF = 0.9475937167399596
BETA = 14.769656459379492
PHASES = 512  # places between two frames at which the filter is tabulated; between them it is interpolated
BLOCK_NUMBERS = 1 << 20  # of float32 in a block of windows


def half_width(old: int | Fraction, new: int) -> int:
    """How many frames before and after its place a sample at rate `new` depends on."""
    return math.ceil(LOWPASS_WIDTH / _cutoff(old, new))


def interpolate(
    wave: torch.Tensor, first: int | Fraction, length: int, *, old: int | Fraction, new: int
) -> torch.Tensor:
    """`length` samples at `new` Hz of `wave` [1, T] at `old` Hz, from frame `first` on: [1, length].

    The ratio is exact: sample m is taken at frame first + m * old / new, which needs `half_width` frames on either
    side. The filter is linear between PHASES tabulated places: it is exact to 2e-6 of its peak.
    """
    table, width = _table(old, new)
    phases = len(table) - 1
    step = Fraction(old) / new
    denominator = math.lcm(step.denominator, first.denominator)
    begin, stride = int(first * denominator), int(step * denominator)
    windows = wave[0].unfold(0, 2 * width, 1)  # [T', 2 W]
    block = max(64, BLOCK_NUMBERS // (2 * width))
    parts = []
    for done in range(0, length, block):
        place = begin + stride * torch.arange(done, min(length, done + block))
        frame, rest = place // denominator, place % denominator * phases
        row, between = rest // denominator, (rest % denominator).float() / denominator
        weights = torch.lerp(table[row], table[row + 1], between[:, None])  # [block, 2 W]
        parts.append(torch.einsum("tk,tk->t", windows[frame - width + 1], weights))
    return torch.cat(parts)[None]


def _cutoff(old: int | Fraction, new: int) -> float:
    """Of the filter, as a share of half the rate `old`."""
    return min(1.0, float(new / old)) * ROLLOFF


@lru_cache(maxsize=16)
def _table(old: int | Fraction, new: int) -> tuple[torch.Tensor, int]:
    """The filter at P + 1 places between two frames, [P + 1, 2 W], and W. A lower cut-off is smoother: P is smaller."""
    cutoff, width = _cutoff(old, new), half_width(old, new)
    phases = max(16, math.ceil(PHASES * cutoff))
    offsets = torch.arange(phases + 1, dtype=torch.float64)[:, None] / phases
    times = (offsets + width - 1 - torch.arange(2 * width, dtype=torch.float64)) * cutoff
    times = times.clamp(-LOWPASS_WIDTH, LOWPASS_WIDTH)
    window = torch.i0(BETA * (1 - (times / LOWPASS_WIDTH) ** 2).sqrt()) / torch.i0(torch.tensor(BETA).double())
    return (torch.sinc(times) * window * cutoff).float(), width
