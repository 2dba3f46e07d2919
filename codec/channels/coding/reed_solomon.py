"""Reed–Solomon codes over bytes, through reedsolo: errors and erasures up to the bound, or lost packets."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codec.channels.coding.base import ErrorCorrection
from codec.errors import InvalidValue, MissingDependency

SYMBOL = 8  # bits
FIELD = 256


class ReedSolomon(ErrorCorrection):
    """Systematic Reed–Solomon code over GF(256): k bytes of payload, n − k of parity (Reed and Solomon 1960).

    Payload bits are bytes, high bit first, the last one filled with zeros; k of them are a block, and the last block is
    shorter, with all n − k bytes of parity. The bits of a byte travel in one row (`symbol_bits`), so a lost row loses
    whole bytes.

    A byte is erased if any of its bits is (0.5). The decoder finds e wrong bytes beside s erased ones if
    2e + s ≤ n − k, from hard decisions (bounded-distance decoding; Blahut, "Algebraic Codes for Data Transmission",
    section 7). Where it finds no codeword, payload bits are what arrived of them, less sure, as more than t of the m
    bytes not erased are then wrong, t = ⌊(n − k − s) / 2⌋. Where it finds one, it may be a wrong one, of whose bits
    half are right; the log-likelihood ratio of "right" against "wrong codeword" is, after McEliece and Swanson (1986),

        log P(e of m wrong) − log (P(more than t of m wrong) · C(m, e) 255ᵉ 256^−(n − k − s)),

    with binomially many wrong bytes, of the mean rate that their bits' probabilities give. Certain bytes beside
    uncertain ones: k certain ones of a block determine it; fewer stay as they are, and a codeword that contradicts
    them is not taken. Certain bits of a byte that is not whole count by themselves alone.

    As an erasure code over packets, take n for the interleaving too: each block then has one byte in each of n rows,
    provided that n frames hold whole blocks, and any n − k lost rows of the n are recovered exactly.

    Delay: that of a block, as for other block codes; with the interleaver of n rows at most 2 (n − 1) frames in all.

    >>> ReedSolomon(12, 8).encode(torch.zeros(1, 16, dtype=torch.uint8)).shape
    torch.Size([1, 48])

    Args:
        n: bytes of a block, at most 255.
        k: bytes of payload among them.

    Raises:
        InvalidValue: not 1 ≤ k < n ≤ 255.
        MissingDependency: at first use, without reedsolo.
    """

    symbol_bits = SYMBOL

    def __init__(self, n: int = 12, k: int = 8) -> None:
        if not 1 <= k < n <= FIELD - 1:
            raise InvalidValue(f"n {n} and k {k}", allowed="must be 1 ≤ k < n ≤ 255", remedy="take 12 and 8")
        self.n, self.k, self.parity = n, k, n - k
        self.rate, self.block_bits, self.name = k / n, SYMBOL * k, f"reed-solomon-{n}-{k}"

    def coded_length(self, length: int) -> int:
        payload = -(-length // SYMBOL)
        return SYMBOL * (payload + self.parity * -(-payload // self.k))

    def order(self, length: int) -> tuple[Tensor, Tensor]:
        needed, last, sent = [], [], 0
        for start in range(0, length, SYMBOL * self.k):
            stop = min(start + SYMBOL * self.k, length)
            payload = SYMBOL * -(-(stop - start) // SYMBOL)
            needed += [min(start + bit // SYMBOL * SYMBOL + SYMBOL, stop) - 1 for bit in range(payload)]
            needed += [stop - 1] * (SYMBOL * self.parity)
            sent += payload + SYMBOL * self.parity
            last += [sent - 1] * (stop - start)
        return torch.tensor(needed), torch.tensor(last)

    def _blocks(self, length: int) -> list[int]:
        """Bytes of payload of each block."""
        payload = -(-length // SYMBOL)
        return [min(self.k, payload - start) for start in range(0, payload, self.k)]

    def _encode(self, bits: Tensor) -> Tensor:
        codec = _codec(self.parity)
        payload = np.packbits(bits.cpu().numpy(), axis=1)
        rows = []
        for row in payload:
            parts, start = [], 0
            for count in self._blocks(bits.shape[1]):
                parts.append(bytes(codec.encode(row[start : start + count].tobytes())))
                start += count
            rows.append(np.frombuffer(b"".join(parts), np.uint8))
        return torch.from_numpy(np.unpackbits(np.stack(rows), axis=1)).to(bits.device)

    def _payload_llrs(self, llrs: Tensor, length: int) -> Tensor:
        rows, whole = llrs.cpu().numpy(), SYMBOL * -(-length // SYMBOL)
        found = np.empty((len(rows), whole))
        for row, ratios in zip(found, rows, strict=True):
            sent = start = 0
            for count in self._blocks(length):
                stop = sent + SYMBOL * (count + self.parity)
                row[start : start + SYMBOL * count] = self._block_ratios(ratios[sent:stop], count)
                sent, start = stop, start + SYMBOL * count
        return torch.from_numpy(found[:, :length]).to(llrs.device)

    def _block_ratios(self, llrs: np.ndarray, count: int) -> np.ndarray:
        """Ratios of the payload bits of one block of `count` bytes from those of its channel bits."""
        symbols = llrs.reshape(-1, SYMBOL)
        certain, erased = np.isinf(symbols).all(1), (symbols == 0).any(1)
        word = np.packbits(llrs < 0)
        arrived = llrs[: SYMBOL * count]
        if certain.sum() >= count:
            decoded = self._nearest(word, np.flatnonzero(~certain))
            if decoded is None or (decoded != word)[certain].any():
                return np.full(arrived.shape, np.nan)
            return np.where(np.unpackbits(decoded[:count]), -np.inf, np.inf)
        spare = self.parity - int(erased.sum())
        decoded = self._nearest(word, np.flatnonzero(erased))
        if decoded is None or bool(((np.unpackbits(decoded) != (llrs < 0)) & np.isinf(llrs)).any()):
            return _doubted(arrived, symbols[~erased], spare) if spare >= 0 else arrived
        wrong = int((decoded != word)[~erased].sum())
        miss = 1.0 / (1.0 + math.exp(_log_odds(symbols[~erased], wrong, spare)))  # P(wrong codeword)
        ratio = math.log(2.0 - miss) - math.log(miss)  # of its bits, half are right
        bits = np.unpackbits(decoded[:count]).astype(bool)
        kept = (arrived < 0) == bits
        size = np.where(kept, np.maximum(np.abs(arrived), ratio), ratio)
        return np.where(bits, -size, size)

    def _nearest(self, word: np.ndarray, erased: np.ndarray) -> np.ndarray | None:
        """The codeword within the bound, uint8, or None."""
        if len(erased) > self.parity:
            return None
        error = _library().ReedSolomonError
        try:
            _, whole, _ = _codec(self.parity).decode(word.tobytes(), erase_pos=erased.tolist())
        except (error, ZeroDivisionError, IndexError):
            return None
        return np.frombuffer(bytes(whole), np.uint8)


def _log_odds(symbols: np.ndarray, wrong: int, spare: int) -> float:
    """log P(right) / P(wrong) of a decoded block: see `ReedSolomon`.

    Args:
        symbols: log P(0)/P(1) of the bits of the m bytes not erased, float64 `[m, 8]`.
        wrong: e, of these bytes, that the decoder changed.
        spare: n − k − s, parity bytes that erasures leave.

    Returns:
        Between −100 and 100.
    """
    law = _error_law(symbols)
    beyond = float(np.exp(law[spare // 2 + 1 :]).sum())
    chance = _log_choose(len(symbols), wrong) + wrong * math.log(FIELD - 1) - spare * math.log(FIELD)
    return float(np.clip(law[wrong] - math.log(max(beyond, 1e-300)) - chance, -100.0, 100.0))


def _doubted(arrived: np.ndarray, symbols: np.ndarray, spare: int) -> np.ndarray:
    """Ratios of payload bits of a block that was not decoded: more than ⌊spare / 2⌋ of its bytes are wrong.

    The bits' error probabilities rise by E[e | e > ⌊spare / 2⌋] / E[e], to a half at most.
    """
    law = np.exp(_error_law(symbols))
    counts = np.arange(len(law))
    beyond = law * (counts > spare // 2)
    if not beyond.sum() > 0.0:
        return arrived
    rise = (counts @ beyond / beyond.sum()) / (counts @ law)
    wrong = np.minimum(rise / (1.0 + np.exp(np.minimum(np.abs(arrived), 700.0))), 0.5)
    size = np.log1p(-wrong) - np.log(np.maximum(wrong, 1e-300))
    return np.where(np.isinf(arrived), arrived, np.copysign(size, arrived))


def _error_law(symbols: np.ndarray) -> np.ndarray:
    """log P(e of the m bytes are wrong), binomial with their mean error probability: float64 `[m + 1]`."""
    count = len(symbols)
    right = (1.0 / (1.0 + np.exp(-np.abs(symbols)))).prod(1)  # that the decision on each byte is
    rate = float(np.clip(1.0 - right.mean(), 1e-300, 1.0 - 1e-12))
    terms = [_log_choose(count, e) + e * math.log(rate) + (count - e) * math.log1p(-rate) for e in range(count + 1)]
    return np.array(terms)


def _log_choose(total: int, chosen: int) -> float:
    """log of the binomial coefficient."""
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)


def _library() -> Any:
    try:
        import reedsolo
    except ImportError as error:
        remedy = "install it with pip install 'channel-robust-codecs[fec]'"
        raise MissingDependency("Reed–Solomon codes", None, "need reedsolo", remedy) from error
    return reedsolo


def _codec(parity: int) -> Any:
    """Encoder and decoder of reedsolo, which holds tables alone."""
    return _library().RSCodec(parity)
