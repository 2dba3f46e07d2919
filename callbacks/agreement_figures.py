"""How far two encoders' codes agree, clip by clip and in all, each figure beside what independent codes would reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codec.quantizers import FSQ, Quantizer


class Symbols(NamedTuple):
    """What codes are made of: FSQ's levels, one per dimension and ordered; else the codes, one per codebook."""

    sizes: tuple[int, ...]
    ordered: bool


class ClipAgreement(NamedTuple):
    """Counts of one clip of `frames` frames; n symbols a frame, S values of the largest.

    `equal` [n] and `near` [n] count frames whose symbols are equal or at most one apart, `exact` those equal in all;
    `cosine` is a sum over frames; `histograms` [2, n, S] count the values of teacher and student.
    """

    clip_id: str
    frames: int
    exact: int
    equal: np.ndarray
    near: np.ndarray
    cosine: float
    histograms: np.ndarray


class AgreementRow(NamedTuple):
    """One figure in all: its value, and its expectation were the student's codes independent of the teacher's.

    Shares and cosines lie in [0, 1] and [−1, 1]; NaN means that there is no value.
    """

    figure: str
    measured: float
    chance: float


def symbols_of(quantizer: Quantizer) -> Symbols:
    """How a quantizer's codes are taken apart."""
    if isinstance(quantizer, FSQ):
        return Symbols(tuple(quantizer.levels_tensor.tolist()), ordered=True)
    return Symbols(tuple(quantizer.codebook_sizes), ordered=False)


def split(quantizer: Quantizer, codes: Tensor) -> Tensor:
    """Codes int64 `[B, K, F]` as symbols `[B, n, F]`."""
    return quantizer.codes_to_levels(codes) if isinstance(quantizer, FSQ) else codes


def join(quantizer: Quantizer, symbols: Tensor) -> Tensor:
    """Inverse of `split`."""
    return quantizer.levels_to_codes(symbols) if isinstance(quantizer, FSQ) else symbols


@torch.no_grad()
def compare(clip_id: str, quantizer: Quantizer, teacher: Tensor, student: Tensor) -> ClipAgreement:
    """Count one clip's agreement, given both encoders' codes int64 `[1, K, F]`."""
    sizes = symbols_of(quantizer).sizes
    cosine = F.cosine_similarity(quantizer.decode(teacher).float(), quantizer.decode(student).float(), dim=1)
    first, second = (split(quantizer, codes)[0].cpu().numpy() for codes in (teacher, student))  # [n, F]
    histograms = np.zeros((2, len(sizes), max(sizes)), dtype=np.int64)
    for who, symbols in enumerate((first, second)):
        for i, values in enumerate(symbols):
            histograms[who, i] = np.bincount(values, minlength=max(sizes))
    return ClipAgreement(
        clip_id,
        frames=first.shape[1],
        exact=int((first == second).all(axis=0).sum()),
        equal=(first == second).sum(axis=1),
        near=(np.abs(first - second) <= 1).sum(axis=1),
        cosine=float(cosine.double().sum()),
        histograms=histograms,
    )


def summarise_agreement(
    clips: Sequence[ClipAgreement], quantizer: Quantizer, *, draws: int = 4096, seed: int = 0
) -> list[AgreementRow]:
    """Figures over all frames of all clips, in the order given.

    Chance is what two encoders reach whose symbols follow the measured histograms of teacher and student, but
    independently of each other and of the other symbols of the frame: Σ p q for a symbol, the sum over neighbours for
    "within one", the product over symbols for the exact code, and the mean over `draws` random pairs for the cosine.
    """
    symbols = symbols_of(quantizer)
    frames = sum(clip.frames for clip in clips)
    if frames == 0:
        return []
    counts = np.sum([clip.histograms for clip in clips], axis=0)
    p, q = counts / frames  # [n, S]
    equal, near = (np.sum([getattr(clip, name) for clip in clips], axis=0) / frames for name in ("equal", "near"))
    chance = (p * q).sum(axis=1)
    neighbours = chance + (p[:, 1:] * q[:, :-1]).sum(axis=1) + (p[:, :-1] * q[:, 1:]).sum(axis=1)
    word = "level" if symbols.ordered else "codebook"
    rows = [
        AgreementRow("exact code", sum(clip.exact for clip in clips) / frames, float(chance.prod())),
        AgreementRow(f"same {word}", float(equal.mean()), float(chance.mean())),
    ]
    if symbols.ordered:
        rows.append(AgreementRow("within one level", float(near.mean()), float(neighbours.mean())))
    independent = _chance_cosine(p, q, quantizer, draws=draws, seed=seed)
    rows.append(AgreementRow("cosine of quantizer outputs", sum(clip.cosine for clip in clips) / frames, independent))
    each = "dimension" if symbols.ordered else "codebook"
    for i in range(len(symbols.sizes)):
        rows.append(AgreementRow(f"same {word}, {each} {i + 1}", float(equal[i]), float(chance[i])))
    return rows


@torch.no_grad()
def _chance_cosine(p: np.ndarray, q: np.ndarray, quantizer: Quantizer, *, draws: int, seed: int) -> float:
    """Mean cosine of quantizer outputs whose symbols are drawn from the histograms `[n, S]`, each on its own."""
    generator = np.random.default_rng(seed)
    device = next(quantizer.parameters(), torch.empty(0)).device
    outputs = []
    for shares in (p, q):
        drawn = np.stack([generator.choice(len(row), size=draws, p=row) for row in shares])  # [n, draws]
        outputs.append(quantizer.decode(join(quantizer, torch.from_numpy(drawn)[None].to(device))).float())
    return float(F.cosine_similarity(outputs[0], outputs[1], dim=1).double().mean())
