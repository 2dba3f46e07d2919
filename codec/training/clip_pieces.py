"""Prediction of long clips, which arrive in pieces: encoded and decoded in overlapping windows, in bounded memory."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torchaudio
from torch import Tensor

from codec.codec import NeuralCodec
from codec.encoders.streaming import CONTEXT_SECONDS
from codec.errors import InvalidValue
from codec.layers.windows import Window, Windows

LOWPASS_WIDTH, ROLLOFF = 6, 0.99  # torchaudio's defaults
LARGEST_FILTER = 2**22  # numbers of torchaudio's filter, which has a row for each place between two samples


def resample(audio: Tensor, sample_rate: int, new_rate: int) -> Tensor:
    """Audio `[B, 1, T]` at `new_rate` Hz: float32 `[B, 1, ⌈T * new_rate / sample_rate⌉]`, also under autocast."""
    if audio.shape[-1] == 0:  # left to the codec, whose error names the shape; torchaudio's does not
        return audio
    with torch.autocast(audio.device.type, enabled=False):
        return torchaudio.functional.resample(audio.float(), sample_rate, new_rate)


class ResampledPieces:
    """Resamples audio that arrives in pieces `[B, 1, n]`; together they equal the whole resampled, up to rounding."""

    def __init__(self, sample_rate: int, new_rate: int) -> None:
        self.rates = sample_rate, new_rate
        step = sample_rate // math.gcd(sample_rate, new_rate)
        width = math.ceil(LOWPASS_WIDTH * sample_rate / (ROLLOFF * min(sample_rate, new_rate))) + step
        reach = -(-width // step) * step  # whole samples at both rates, as the chunks
        self._windows = Windows(-(-sample_rate // step) * step, reach, reach)

    def push(self, piece: Tensor) -> Iterator[Tensor]:
        if self.rates[0] == self.rates[1]:
            yield piece
        else:
            yield from map(self._resample, self._windows.push(piece))

    def finish(self) -> Iterator[Tensor]:
        return map(self._resample, self._windows.finish())

    def _resample(self, window: Window) -> Tensor:
        old, new = self.rates
        first, stop = window.start * new // old, -(-(window.start + window.size) * new // old)
        common = math.gcd(old, new)
        large = old * new // common**2 > LARGEST_FILTER
        return (resample_at_any_ratio if large else resample)(window.signal, old, new)[..., first:stop]


def resample_at_any_ratio(audio: Tensor, sample_rate: int, new_rate: int) -> Tensor:
    """As `resample`, with the filter computed at each sample's own place: for rates without a large common factor."""
    base = min(sample_rate, new_rate) * ROLLOFF
    half = math.ceil(LOWPASS_WIDTH * sample_rate / base)
    taps = torch.arange(-half, half + 2, dtype=torch.float64, device=audio.device)
    windows = torch.nn.functional.pad(audio.float(), (half, half + 1)).unfold(-1, 2 * half + 2, 1)  # [B, 1, T, taps]
    count, block = -(-audio.shape[-1] * new_rate // sample_rate), max(64, 2**20 // len(taps))
    parts = [audio.new_zeros(*audio.shape[:-1], 0, dtype=torch.float32)]
    for first in range(0, count, block):
        place = torch.arange(first, min(count, first + block), device=audio.device) * sample_rate
        rest = (place % new_rate).double() / new_rate
        times = ((taps - rest[:, None]) * base / sample_rate).clamp(-LOWPASS_WIDTH, LOWPASS_WIDTH)
        window = torch.cos(times * math.pi / LOWPASS_WIDTH / 2).square()
        weights = (torch.sinc(times) * window * base / sample_rate).float()  # [block, taps]
        parts.append(torch.einsum("bctk,tk->bct", windows[..., place // new_rate, :], weights))
    return torch.cat(parts, -1)


class CodedPieces:
    """One clip through one codec, piece by piece.

    Encoder and decoder see windows with their receptive fields as context, or with 5 s on either side where these are
    unbounded (`EncodedStream`, `DecodedStream`): the audio is exact where both are bounded.

    Args:
        codec: encodes and decodes; no channel takes part.
        sample_rate: of the pieces in Hz; those of another rate than the codec's are resampled.
    """

    def __init__(self, codec: NeuralCodec, sample_rate: int) -> None:
        self.codec, self.length = codec, 0  # samples so far at the codec's input rate
        self._written = 0  # samples of output so far
        context = None if codec.decoder.receptive_field else round(CONTEXT_SECONDS * codec.frame_rate)
        self._encoder = codec.encode_stream([])
        self._decoder = codec.decode_stream([], chunk=self._encoder.chunk, before=context, after=context)
        self._resampled = ResampledPieces(sample_rate, codec.sample_rate)
        self._audio, self._codes = self._encoder.windows(), self._decoder.windows()

    @property
    def is_exact(self) -> bool:
        """Whether the pieces equal the undivided prediction up to rounding."""
        return self._encoder.is_exact and self._decoder.is_exact

    def push(self, piece: Tensor, *, last: bool) -> dict[str, Any]:
        """What a further piece `[1, 1, n]` completes; with the last one, all the rest.

        Returns:
            `audio` [1, 1, n'] at the output rate and `codes` [1, K, f], each of the samples or frames that follow those
            of the pieces before, n' and f 0 or more; and `length`, the samples so far at the codec's input rate.
        """
        codes: list[Tensor] = []
        audio: list[Tensor] = []
        for part in self._resampled.push(piece):
            self._encode(part, codes)
        if last:
            for part in self._resampled.finish():
                self._encode(part, codes)
            codes += map(self._encoder.encode, self._audio.finish())
        for frames in codes:
            audio += map(self._decoder.decode, self._codes.push(frames))
        if last:
            audio += map(self._decoder.decode, self._codes.finish())
        books = len(self.codec.quantizer.codebook_sizes)
        joined = torch.cat([piece.new_zeros(1, 1, 0, dtype=torch.float32), *audio], -1)
        if last:
            joined = joined[..., : self.codec.output_length(self.length) - self._written]
        self._written += joined.shape[-1]
        return {
            "audio": joined,
            "codes": torch.cat([torch.zeros(1, books, 0, dtype=torch.int64, device=piece.device), *codes], -1),
            "length": self.length,
        }

    def _encode(self, part: Tensor, codes: list[Tensor]) -> None:
        self.length += part.shape[-1]
        codes += map(self._encoder.encode, self._audio.push(part))


class PiecewisePrediction:
    """Predicts clips that arrive in pieces, one clip after the other; each codec keeps its state between pieces."""

    def __init__(self) -> None:
        self._clip = ""
        self._next = 0
        self._coded: dict[str, CodedPieces] = {}

    def predict(
        self, batch: Mapping[str, Any], codecs: Mapping[str, NeuralCodec], sample_rate: int
    ) -> dict[str, dict[str, Any]]:
        """By name, `CodedPieces.push` of a batch's piece.

        Args:
            batch: `audio` [1, 1, n], `id`, and of one number each `piece`, counted from 0, and `pieces`.
            codecs: by the names under which to return what they predict.
            sample_rate: of the audio in Hz.

        Raises:
            InvalidValue: a piece does not follow the one before.
        """
        clip, piece, pieces = batch["id"][0], int(batch["piece"][0]), int(batch["pieces"][0])
        if piece == 0:
            self._clip, self._next = clip, 0
            self._coded = {name: CodedPieces(codec, sample_rate) for name, codec in codecs.items()}
        if (clip, piece) != (self._clip, self._next):
            raise InvalidValue(
                f"piece {piece} of {clip!r}", allowed="does not follow the one before", remedy="predict a clip in order"
            )
        self._next += 1
        last = piece == pieces - 1
        found = {name: coded.push(batch["audio"], last=last) for name, coded in self._coded.items()}
        if last:
            self._coded = {}
        return found


def lengths_at(new_rate: int, lengths: Sequence[int], sample_rate: int) -> list[int]:
    """Samples of clips that `resample` brings to `new_rate` Hz."""
    return [-(-length * new_rate // sample_rate) for length in lengths]


def frames_of(codec: NeuralCodec, lengths: Sequence[int] | None, sample_rate: int) -> dict[str, list[int]]:
    """`frames`, those of each clip of a padded batch in a codec's codes; nothing of a batch without `lengths`."""
    if lengths is None:
        return {}
    return {"frames": [codec.frame_count(length) for length in lengths_at(codec.sample_rate, lengths, sample_rate)]}


def clips_beside_targets(batch: Mapping[str, Any], audio: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """What a codec makes of each clip of a batch, and the target of the clip, both `[1, 1, T']`.

    Args:
        batch: `audio` [B, 1, T], `target` [B, 1, T'] where the output has another rate, and of a padded batch `lengths`
            and `target_lengths`; a batch without them is returned undivided.
        audio: the codec's output `[B, 1, T']`.
    """
    target, lengths = batch.get("target", batch["audio"]), batch.get("target_lengths", batch.get("lengths"))
    if lengths is None:
        yield audio, target
    for row, length in enumerate(lengths or ()):
        yield audio[row : row + 1, :, :length], target[row : row + 1, :, :length]


def predict_whole(codec: NeuralCodec, batch: Mapping[str, Any], sample_rate: int) -> dict[str, Any]:
    """Audio and codes of whole clips.

    Args:
        codec: encodes and decodes.
        batch: `audio` [B, 1, T], and of several clips their `lengths` in samples.
        sample_rate: of the audio in Hz.

    Returns:
        `audio` [B, 1, T'] at the output rate and `codes` [B, K, F], both with anything beyond a clip's end; and at the
        codec's input rate `length`, the samples of the one clip, or `lengths` of several.
    """
    audio = resample(batch["audio"], sample_rate, codec.sample_rate)
    if "lengths" not in batch:
        output = codec(audio)
        return {"audio": output.audio, "codes": output.codes, "length": audio.shape[-1]}
    lengths = lengths_at(codec.sample_rate, batch["lengths"], sample_rate)
    output = codec(audio, lengths=lengths)
    return {"audio": output.audio, "codes": output.codes, "lengths": lengths}


def batch_fields(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a prediction repeats of its batch: `id`, and where they are there `piece`, `pieces` and `gain_db`."""
    return {name: batch[name] for name in ("id", "piece", "pieces", "samples", "gain_db") if name in batch}
