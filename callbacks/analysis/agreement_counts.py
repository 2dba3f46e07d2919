"""How far two encoders' codes agree, for each clip and in total, compared with independent codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codec.quantizers import Quantizer, ScalarQuantizer


class Symbols(NamedTuple):
    """Sizes of a frame's symbols: levels of FSQ or bits of BSQ, ordered, one a dimension; else one code a codebook."""

    sizes: tuple[int, ...]
    ordered: bool


class ClipAgreement(NamedTuple):
    """Counts of one clip of `frames` frames; n symbols a frame.

    `equal` [n] and `near` [n] count the frames in which each symbol is equal or at most one apart, `exact` those in
    which all are equal; `cosine` is the sum over frames of the cosine similarity of the quantized latents; `symbols`
    [2, n, frames] are those of teacher and student.
    """

    clip_id: str
    frames: int
    exact: int
    equal: np.ndarray
    near: np.ndarray
    cosine: float
    symbols: np.ndarray


class AgreementRow(NamedTuple):
    """One figure over all clips: its value, and the value by chance (with student and teacher independent).

    Shares and cosines lie in [0, 1] and [−1, 1]; NaN means that there is no value (by chance, of a single frame).
    """

    figure: str
    measured: float
    chance: float


def symbols_of(quantizer: Quantizer) -> Symbols:
    """The symbols of a quantizer's codes."""
    if isinstance(quantizer, ScalarQuantizer):
        return Symbols(tuple(quantizer.levels_tensor.tolist()), ordered=True)
    return Symbols(tuple(quantizer.codebook_sizes), ordered=False)


def codes_to_symbols(quantizer: Quantizer, codes: Tensor) -> Tensor:
    """Codes int64 `[B, K, F]` as symbols `[B, n, F]`."""
    return quantizer.codes_to_levels(codes) if isinstance(quantizer, ScalarQuantizer) else codes


def symbols_to_codes(quantizer: Quantizer, symbols: Tensor) -> Tensor:
    """Inverse of `codes_to_symbols`."""
    return quantizer.levels_to_codes(symbols) if isinstance(quantizer, ScalarQuantizer) else symbols


@torch.no_grad()
def count_agreement(clip_id: str, quantizer: Quantizer, teacher: Tensor, student: Tensor) -> ClipAgreement:
    """Count one clip's agreement, given both encoders' codes int64 `[1, K, F]`."""
    cosine = F.cosine_similarity(quantizer.decode(teacher).float(), quantizer.decode(student).float(), dim=1)
    first, second = (codes_to_symbols(quantizer, codes)[0].cpu().numpy() for codes in (teacher, student))  # [n, F]
    largest = np.min_scalar_type(max(symbols_of(quantizer).sizes) - 1)
    return ClipAgreement(
        clip_id,
        frames=first.shape[1],
        exact=int((first == second).all(axis=0).sum()),
        equal=(first == second).sum(axis=1),
        near=(np.abs(first - second) <= 1).sum(axis=1),
        cosine=float(cosine.double().sum()),
        symbols=np.stack((first, second)).astype(largest),
    )


def summarise_agreement(
    clips: Sequence[ClipAgreement], quantizer: Quantizer, *, draws: int = 4096, seed: int = 0
) -> list[AgreementRow]:
    """Figures over all frames of all clips, in the order given.

    Chance is the same figure over pairs of different frames, the teacher's code in one and the student's in the other:
    the agreement of independent encoders that use each code as often as these. It is counted over all pairs; the
    cosine's over `draws` random pairs.
    """
    symbols = symbols_of(quantizer)
    frames = sum(clip.frames for clip in clips)
    if frames == 0:
        return []
    teacher, student = np.concatenate([clip.symbols for clip in clips], axis=-1)  # each [n, frames]
    equal, near = (np.sum([getattr(clip, name) for clip in clips], axis=0) for name in ("equal", "near"))
    exact = sum(clip.exact for clip in clips)
    p, q = (_histograms(found, max(symbols.sizes)) for found in (teacher, student))  # [n, S]
    same = (p * q).sum(axis=1)
    neighbours = same + (p[:, 1:] * q[:, :-1]).sum(axis=1) + (p[:, :-1] * q[:, 1:]).sum(axis=1)
    pairs = frames * (frames - 1) or math.nan
    chance, chance_near = (same - equal) / pairs, (neighbours - near) / pairs
    equal, near = equal / frames, near / frames
    symbol = "level" if symbols.ordered else "codebook"
    rows = [
        AgreementRow("exact code", exact / frames, (_equal_pairs(teacher, student) - exact) / pairs),
        AgreementRow(f"same {symbol}", float(equal.mean()), float(chance.mean())),
    ]
    if symbols.ordered:
        rows.append(AgreementRow("within one level", float(near.mean()), float(chance_near.mean())))
    independent = _chance_cosine(teacher, student, quantizer, draws=draws, seed=seed)
    rows.append(AgreementRow("cosine of quantizer outputs", sum(clip.cosine for clip in clips) / frames, independent))
    each = "dimension" if symbols.ordered else "codebook"
    for i in range(len(symbols.sizes)):
        rows.append(AgreementRow(f"same {symbol}, {each} {i + 1}", float(equal[i]), float(chance[i])))
    return rows


def _histograms(symbols: np.ndarray, size: int) -> np.ndarray:
    """Counts of each value in each row of `[n, frames]`: int64 `[n, size]`."""
    return np.stack([np.bincount(row, minlength=size) for row in symbols])


def _equal_pairs(first: np.ndarray, second: np.ndarray) -> int:
    """Number of pairs (frame of `first`, frame of `second`), both `[n, frames]`, that are equal in all symbols."""
    frames = first.shape[1]
    _, number = np.unique(np.concatenate((first, second), axis=1), axis=1, return_inverse=True)
    number = number.reshape(-1)  # NumPy 2.0 returns another shape than other versions
    p, q = (np.bincount(part, minlength=number.max() + 1) for part in (number[:frames], number[frames:]))
    return int((p * q).sum())


@torch.no_grad()
def _chance_cosine(teacher: np.ndarray, student: np.ndarray, quantizer: Quantizer, *, draws: int, seed: int) -> float:
    """Mean cosine of quantizer outputs over random pairs of different frames of `[n, frames]`; NaN for one frame."""
    frames = teacher.shape[1]
    if frames == 1:
        return math.nan
    generator = np.random.default_rng(seed)
    one = generator.integers(frames, size=draws)
    other = (one + generator.integers(1, frames, size=draws)) % frames
    device = next(quantizer.parameters(), torch.empty(0)).device
    outputs = [
        quantizer.decode(symbols_to_codes(quantizer, torch.from_numpy(drawn.astype(np.int64))[None].to(device))).float()
        for drawn in (teacher[:, one], student[:, other])
    ]
    return float(F.cosine_similarity(outputs[0], outputs[1], dim=1).double().mean())
