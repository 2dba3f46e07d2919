"""An arithmetic coder of codes, in one stream or in packets: Witten, Neal and Cleary 1987, through `constriction`."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np

from codec.channels.coding.base import ErrorCorrection
from codec.channels.entropy_coding.adaptive import AdaptiveDigit
from codec.channels.entropy_coding.entropies import Digits, split_digits
from codec.channels.receiving.priors import CodePrior
from codec.errors import InvalidValue, MissingDependency
from codec.quantizers.base import Quantizer
from codec.quantizers.codes import code_bits

WORD = 32  # bits of a word of the package
STATE = 64  # bits of the coder's interval


class DigitModel(Protocol):
    """Probabilities of a digit's next value, for encoder and decoder alike."""

    def probabilities(self, before: int | None) -> np.ndarray:
        """float `[L]` behind a value of the frame before; None where there is none."""

    def update(self, before: int | None, value: int) -> None:
        """Learn a value."""


class MeasuredDigit:
    """Probabilities of a `CodePrior`, which do not change: a chain, and the histogram where no frame is before."""

    def __init__(self, histogram: np.ndarray, transitions: np.ndarray) -> None:
        self.histogram, self.transitions = histogram, transitions

    def probabilities(self, before: int | None) -> np.ndarray:
        """float32 `[L]`."""
        return self.histogram if before is None else self.transitions[before]

    def update(self, before: int | None, value: int) -> None:
        """Nothing is learned."""


class EntropyCode:
    """How codes are entropy-coded: the models' probabilities, and where the coder starts anew.

    Args:
        packet_frames: P, frames of a packet; at each the coder starts anew, so that damage ends there. None for one
            stream a clip.
        prior: measured probabilities of the codes (of other speech than what is sent), which stay as they are; None
            for an adaptive model, which starts without knowledge in each packet (`AdaptiveDigit`).
        order: 1 for probabilities given the frame before, 0 without; of an adaptive model.

    Raises:
        InvalidValue: fewer than one frame a packet, or another order.
        MissingDependency: constriction is not installed.
    """

    def __init__(self, packet_frames: int | None = None, *, prior: CodePrior | None = None, order: int = 1) -> None:
        if packet_frames is not None and packet_frames < 1:
            raise InvalidValue("packet_frames", packet_frames, "must be at least 1, or null for one stream", "take 50")
        if order not in (0, 1):
            raise InvalidValue("order", order, "must be 0 or 1")
        _package()
        self.packet_frames, self.prior, self.order = packet_frames, prior, order
        model = f"adaptive order {order}" if prior is None else "measured chain"
        self.name = f"arithmetic, {model}" + (f", {packet_frames} frames a packet" if packet_frames else "")

    def models(self, digits: Digits) -> list[list[DigitModel]]:
        """New models of each digit of each codebook."""
        if self.prior is None:
            return [[AdaptiveDigit(size, self.order) for size in sizes] for sizes in digits]
        prior = self.prior
        return [
            [MeasuredDigit(h.numpy(), t.numpy()) for h, t in zip(*pair, strict=True)]
            for pair in zip(prior.histograms, prior.transitions, strict=True)
        ]

    def fitted(self, quantizer: Quantizer, code: ErrorCorrection | None = None) -> "PacketCoder":
        """The coder of a quantizer's codes; `code` is the error correction beside it in a link.

        Raises:
            InvalidValue: the prior is of other digits, or there is a code.
        """
        if code is not None:
            names = f"code {code.name} and entropy_code {self.name}"
            raise InvalidValue(names, allowed="do not go together", remedy="leave one of them out")
        if self.prior is not None:
            self.prior.check(quantizer)
        return PacketCoder(self, quantizer.digits, quantizer.codebook_sizes)


class Packet(NamedTuple):
    """Frames `first` … `first` + `frames` − 1 of a clip as bits uint8 `[N]`."""

    first: int
    frames: int
    bits: np.ndarray


class PacketCoder:
    """Codes of one codec to packets of bits and back.

    A packet of P frames with n bits each that coding would make no shorter is sent as it is, which its length of P n
    bits says. The length stands in a field of ⌈log2(P n + 1)⌉ bits (`header_bits`), which counts as sent and is taken
    to arrive intact, as headers are protected better than payloads. One stream a clip has no such field.

    Args:
        code: models and packets.
        digits: `Quantizer.digits` of the codec.
        codebook_sizes: of the codec.
    """

    def __init__(self, code: EntropyCode, digits: Digits, codebook_sizes: Sequence[int]) -> None:
        self.code, self.digits, self.widths = code, digits, code_bits(codebook_sizes)
        self._last: tuple[bytes, list[Packet]] = (b"", [])

    def header_bits(self, packet: Packet) -> int:
        """Bits of the field that states a packet's length."""
        return 0 if self.code.packet_frames is None else (packet.frames * sum(self.widths)).bit_length()

    def packets(self, codes: np.ndarray) -> list[Packet]:
        """The packets of a clip's codes int64 `[K, F]`; those of the last clip are kept."""
        key = codes.tobytes()
        if self._last[0] != key or not self._last[1]:
            frames = codes.shape[1]
            length = self.code.packet_frames or max(frames, 1)
            starts = range(0, frames, length)
            self._last = key, [self._packet(codes[:, start : start + length], start) for start in starts]
        return self._last[1]

    def codes(self, packet: Packet) -> np.ndarray:
        """Codes int64 `[K, f]` of received bits; f is less than the packet's frames where no code fits the rest."""
        if self.code.packet_frames is not None and len(packet.bits) == packet.frames * sum(self.widths):
            return self._plain(packet.bits)
        return decode(packet.bits, packet.frames, self.code.models(self.digits), self.digits)

    def _packet(self, codes: np.ndarray, first: int) -> Packet:
        frames, stated = codes.shape[1], self.code.packet_frames is not None
        bits = encode(codes, self.code.models(self.digits), self.digits, end_known=stated)
        if stated and len(bits) >= frames * sum(self.widths):
            columns = [codes[k, :, None] >> np.arange(width - 1, -1, -1) & 1 for k, width in enumerate(self.widths)]
            bits = np.concatenate(columns, 1).astype(np.uint8).ravel()
        return Packet(first, frames, bits)

    def _plain(self, bits: np.ndarray) -> np.ndarray:
        """Codes of fixed-length codewords, up to the first that stands for no code."""
        parts = np.split(bits.reshape(-1, sum(self.widths)).astype(np.int64), np.cumsum(self.widths)[:-1], 1)
        codes = np.stack([part @ (1 << np.arange(part.shape[1] - 1, -1, -1)) for part in parts])
        sizes = np.array([np.prod([int(size) for size in sizes]) for sizes in self.digits])
        wrong = np.flatnonzero((codes >= sizes[:, None]).any(0))
        return codes[:, : wrong[0]] if len(wrong) else codes


def encode(
    codes: np.ndarray, models: Sequence[Sequence[DigitModel]], digits: Digits, *, end_known: bool = False
) -> np.ndarray:
    """Codes int64 `[K, F]` as the shortest bits uint8 `[N]` that `decode` reads, frame by frame.

    The coder's words of 32 bits are cut to the shortest prefix inside its last interval: so long that any bits may
    follow, which is the honest count where nothing else states N; or, with `end_known`, that zeros have to, for where
    a field with N is sent and counted.
    """
    encoder = _package().stream.queue.RangeEncoder()
    values = [[part.tolist() for part in split_digits(codes[k], sizes)] for k, sizes in enumerate(digits)]
    flat = [(model, found) for pair in zip(models, values, strict=True) for model, found in zip(*pair, strict=True)]
    for frame in range(codes.shape[1]):
        for model, found in flat:
            before, value = found[frame - 1] if frame else None, found[frame]
            encoder.encode(value, _categorical(model.probabilities(before)))
            model.update(before, value)
    return _shortest(encoder, end_known=end_known)


def decode(bits: np.ndarray, frames: int, models: Sequence[Sequence[DigitModel]], digits: Digits) -> np.ndarray:
    """Codes int64 `[K, f]` of `encode`, whatever the bits; f < `frames` where no value fits any more."""
    decoder = _package().stream.queue.RangeDecoder(_words(bits))
    flat = [model for row in models for model in row]
    before: list[int | None] = [None] * len(flat)
    rows: list[list[int]] = []
    try:
        for _ in range(frames):
            row = []
            for i, model in enumerate(flat):
                value = int(decoder.decode(_categorical(model.probabilities(before[i]))))
                model.update(before[i], value)
                row.append(value)
            rows.append(row)
            before = list(row)
    except AssertionError:  # the package's word for a point outside the interval: only damage leads there
        pass
    values = np.array(rows, dtype=np.int64).reshape(-1, len(flat)).T
    codes, start = [], 0
    for sizes in digits:
        places = np.cumprod([1, *sizes[:-1]])
        codes.append(places @ values[start : start + len(sizes)])
        start += len(sizes)
    return np.stack(codes)


def _shortest(encoder: Any, *, end_known: bool) -> np.ndarray:
    """The fewest bits that lie in the encoder's interval, followed by zeros (`end_known`) or by any bits."""
    words, (lower, width) = encoder.pos()
    if encoder.is_empty():
        return np.zeros(0, dtype=np.uint8)
    total = WORD * words + STATE
    sealed = encoder.get_compressed()
    point = int.from_bytes(sealed.astype(">u4").tobytes(), "big") << (total - WORD * len(sealed))  # in the interval
    low = point - (point - lower) % 2**STATE
    length, found = total, low
    while length:  # what a length reaches, every longer one does
        shift = total - length + 1
        shorter = -(-low >> shift)  # rounded up
        if (shorter << shift) + (1 if end_known else 1 << shift) > low + width:
            break
        length, found = length - 1, shorter
    digits = format(found, f"0{length}b") if length else ""
    return np.frombuffer(digits.encode(), dtype=np.uint8) - ord("0")


def _words(bits: np.ndarray) -> np.ndarray:
    """Words uint32 of bits, with zeros behind them."""
    padded = np.zeros((len(bits) // WORD + 3) * WORD, dtype=np.uint8)
    padded[: len(bits)] = bits
    return np.packbits(padded).view(">u4").astype(np.uint32)


def _categorical(probabilities: np.ndarray) -> Any:
    return _package().stream.model.Categorical(probabilities.astype(np.float32), lazy=True)


def _package() -> Any:
    """The module constriction."""
    try:
        return import_module("constriction")
    except ImportError as error:
        needs = "needs the package constriction"
        raise MissingDependency("Arithmetic coding", allowed=needs, remedy="pip install '.[rate]'") from error
