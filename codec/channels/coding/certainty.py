"""What bits received with certainty say about a payload: linear algebra over GF(2), for many blocks at a time."""

import numpy as np
import torch
from torch import Tensor


def certain_ratios(generator: Tensor, llrs: Tensor) -> Tensor:
    """Log-likelihood ratios that follow from the certain channel bits of a linear code alone.

    The channel bits with infinite ratios are equations for the payload, G' d = c' (mod 2), solved by elimination. A
    payload bit that they determine is certain; of any other, both values remain possible, equally often, as the code
    is linear. Over erasures, this is maximum-likelihood decoding.

    Args:
        generator: uint8 `[k, n]`, channel bits of the unit payloads.
        llrs: float64 `[B, n]`; finite ones are ignored.

    Returns:
        float64 `[B, k]`: ±∞ for certain payload bits, 0 for others; NaN in whole rows without a solution.
    """
    size = generator.shape[0]
    known = llrs.isinf().cpu().numpy()  # [B, n]
    columns = np.concatenate([generator.T.cpu().numpy(), np.zeros((llrs.shape[1], 1), np.uint8)], 1)  # [n, k + 1]
    rows = columns[None] * known[..., None]
    rows[..., size] = (llrs < 0).cpu().numpy() & known
    words = _packed(rows)  # [B, n, words]
    free, batch = np.ones(known.shape, bool), np.arange(len(words))
    pivots = np.full((len(words), size), -1)
    for bit in range(size):
        ones = _bit(words, bit)  # [B, n]
        candidates = ones & free
        found = np.asarray(candidates.any(1))
        row = candidates.argmax(1)
        pivots[found, bit] = row[found]
        free[batch[found], row[found]] = False
        change = np.asarray(ones & found[:, None])
        change[batch, row] = False
        words ^= words[batch, row][:, None] * change[..., None]
    weights = np.unpackbits(words.view(np.uint8), axis=-1)[..., :size].sum(-1)  # unknowns left in each equation
    contradictory = np.any(_bit(words, size) & (weights == 0), axis=1)
    row = np.maximum(pivots, 0)
    determined = (pivots >= 0) & (np.take_along_axis(weights, row, 1) == 1)
    ones = np.take_along_axis(_bit(words, size), row, 1)
    ratios = np.where(determined, np.where(ones, -np.inf, np.inf), 0.0)
    ratios[contradictory] = np.nan
    return torch.from_numpy(ratios).to(llrs.device)


def _packed(bits: np.ndarray) -> np.ndarray:
    """uint8 bits `[..., m]` in words, uint64 `[..., ⌈m / 64⌉]`."""
    padded = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, -bits.shape[-1] % 64)])
    return np.ascontiguousarray(np.packbits(padded, axis=-1)).view(np.uint64)


def _bit(words: np.ndarray, place: int) -> np.ndarray:
    """Bit at `place` of packed words: bool, without the last axis."""
    return np.asarray(words.view(np.uint8)[..., place // 8] >> (7 - place % 8) & 1, dtype=bool)
