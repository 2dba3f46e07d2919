"""Any codec of another package as a `NeuralCodec`: two functions, audio to codes and back, make it a system."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.codec import NeuralCodec
from codec.decoders.base import Decoder
from codec.encoders.base import Encoder
from codec.errors import InvalidValue
from codec.hub.transformers_parts import without_gradients
from codec.quantizers.base import Quantizer, QuantizerOutput, joint_probabilities
from codec.quantizers.codes import checked_codes, code_bits

LARGEST = 2**24  # entries of a codebook whose numbers float32 holds exactly
LOST = -1.0  # in place of a code, in the latents
TIE = 1e-6  # codes whose probabilities differ by less, relative to the largest, are equally likely


class ExternalCodec(NeuralCodec, ABC):
    """A codec that another package computes, for evaluations: comparison, channels, prediction, cost.

    A subclass writes `audio_to_codes` and `codes_to_audio`, and where the package conceals losses itself
    `received_to_audio`. Its codes pass every channel, index map and error correction as those of a codec of this
    package. What lies between encoder, quantizer and decoder, their latents `[B, K, F]`, are the codes' numbers, −1
    where a code is lost; so there is nothing to average:

    - Codes are decided hard: `PosteriorMean` gives the most likely code in place of a mean, which counts as lost
      where several are equally likely.
    - `MeanLatent` (the default of a link) and `ZeroLatent` leave lost codes to the codec's `conceal`; under a prior,
      `MeanLatent` fills in the most likely one. `RepeatLast` repeats codes as usual. `InterpolatedLatent`,
      `BinarySwitchingMap` and an order of bits by displacement need latents with distances, and refuse.

    It always runs in evaluation mode, without gradients and in float32, and cannot be trained. Clips are decoded one by
    one, each after `torch.manual_seed(0)`, so that a decoder that draws noise, as SNAC's, depends on the codes alone;
    PyTorch's own generator stays as it is.

    Args:
        model: what computes, kept as `self.model`; a PyTorch module is frozen and moves with the codec.
        sample_rate: of the input in Hz.
        hop_length: samples of input per frame; a codec whose codebooks run at several rates has frames as long as the
            slowest (see `stack_rates`).
        codebook_sizes: entries of each of a frame's K codes, 2 to 2^24.
        output_hop_length: samples of output per frame, where the output has another rate than the input.

    Raises:
        InvalidValue: a hop below 1, sizes out of range, or no whole output rate.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        sample_rate: int,
        hop_length: int,
        codebook_sizes: Sequence[int],
        output_hop_length: int | None = None,
    ) -> None:
        code_bits(codebook_sizes)
        if max(codebook_sizes) > LARGEST:
            remedy = "split each code into several of fewer bits"
            raise InvalidValue("codebook_sizes", list(codebook_sizes), f"must be at most {LARGEST}", remedy)
        output_hop = hop_length if output_hop_length is None else output_hop_length
        if min(hop_length, output_hop) < 1:
            name, value = ("hop_length", hop_length) if hop_length < 1 else ("output_hop_length", output_hop)
            raise InvalidValue(name, value, "must be at least 1 sample")
        dim = len(codebook_sizes)
        encoder = ExternalEncoder(dim, hop_length, self._codes, self._weights)
        decoder = ExternalDecoder(dim, output_hop, self._audio, self._weights)
        super().__init__(encoder, CodeNumbers(codebook_sizes), decoder, sample_rate=sample_rate)
        self.model = model
        self.requires_grad_(False).eval()

    @abstractmethod
    def audio_to_codes(self, audio: Tensor) -> Tensor:
        """Codes, integers `[B, K, F]` or more frames, of float32 audio `[B, 1, F * hop_length]` in [−1, 1]."""

    @abstractmethod
    def codes_to_audio(self, codes: Tensor) -> Tensor:
        """Audio `[1, 1, T]` of one clip's codes int64 `[1, K, F]`; T is cut to F hops, or filled with silence."""

    def conceal(self, codes: Tensor, erased: Tensor) -> Tensor:
        """Codes int64 `[1, K, F]` to decode, where those with `erased` bool `[1, K, F]` are lost.

        By default a lost code repeats the last one received of its codebook; before the first, it takes that one; it is
        0 where none was received.
        """
        frame = torch.arange(codes.shape[-1], device=codes.device).expand_as(codes)
        before = torch.where(erased, -1, frame).cummax(-1).values
        after = torch.where(erased, codes.shape[-1], frame).flip(-1).cummin(-1).values.flip(-1)
        source = torch.where(before < 0, after, before).clamp_max(codes.shape[-1] - 1)
        return codes.gather(-1, source).masked_fill(erased.all(-1, keepdim=True), 0)

    def received_to_audio(self, codes: Tensor, erased: Tensor) -> Tensor:
        """As `codes_to_audio` of codes of which some are lost: by default of what `conceal` makes of them."""
        return self.codes_to_audio(self.conceal(codes, erased))

    def train(self, mode: bool = True) -> "ExternalCodec":
        """Stay in evaluation mode for any `mode`."""
        return super().train(False)

    def _weights(self) -> Iterator[nn.Parameter]:
        return self.model.parameters() if isinstance(self.model, nn.Module) else iter(())

    def _codes(self, audio: Tensor) -> Tensor:
        """`audio_to_codes`, checked: int64 `[B, K, F]`."""
        name, frames = type(self).__name__, audio.shape[-1] // self.hop_length
        codes = self.audio_to_codes(audio)
        expected = [audio.shape[0], len(self.quantizer.codebook_sizes)]
        _require_tensor(codes, f"{name}.audio_to_codes")
        if codes.ndim != 3 or list(codes.shape[:2]) != expected or codes.shape[-1] < frames:
            allowed = f"must be {[*expected, frames]} or more frames, for audio {list(audio.shape)}"
            raise InvalidValue(f"{name}.audio_to_codes: codes of shape", list(codes.shape), allowed)
        return checked_codes(codes[..., :frames], self.quantizer.codebook_sizes)

    def _audio(self, codes: Tensor, erased: Tensor) -> Tensor:
        """Float32 audio `[B, 1, F * hop]` at the output rate."""
        devices = [codes.device.index or 0] if codes.is_cuda else []
        with torch.random.fork_rng(devices):
            return torch.cat([self._clip(*clip) for clip in zip(codes.split(1), erased.split(1), strict=True)])

    def _clip(self, codes: Tensor, erased: Tensor) -> Tensor:
        """The same of one clip."""
        torch.manual_seed(0)
        samples = codes.shape[-1] * self.decoder.hop_length
        audio = self.received_to_audio(codes, erased) if bool(erased.any()) else self.codes_to_audio(codes)
        name = type(self).__name__
        _require_tensor(audio, f"{name}: decoded audio")
        if not audio.is_floating_point() or not bool(audio.isfinite().all()):
            found = f"of {audio.dtype}" + " that is not finite" * audio.is_floating_point()
            raise InvalidValue(f"{name}: decoded audio", found, "must be finite and floating point, full scale 1")
        if audio.ndim != 3 or audio.shape[:2] != (1, 1):
            allowed = f"must be [1, 1, {samples}]"
            raise InvalidValue(f"{name}: decoded audio of shape", list(audio.shape), allowed)
        return F.pad(audio.float(), (0, max(0, samples - audio.shape[-1])))[..., :samples]


def _require_tensor(value: Any, what: str) -> None:
    """InvalidValue unless an adapter has returned a tensor."""
    if not isinstance(value, Tensor):
        found = f"returned as {type(value).__name__}"
        raise InvalidValue(what, found, "must be a torch.Tensor", "pick it out of what the package returns")


class _ExternalPart(nn.Module):
    """A part that calls the codec it belongs to, whose weights it shows as its own without holding them."""

    is_external = True

    def __init__(self, weights: Callable[[], Iterator[nn.Parameter]]) -> None:
        super().__init__()
        self._weights = weights

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return self._weights()


class ExternalEncoder(_ExternalPart, Encoder):
    """Audio to the numbers of codes, float32 `[B, K, F]`."""

    def __init__(
        self,
        dim: int,
        hop_length: int,
        encode: Callable[[Tensor], Tensor],
        weights: Callable[[], Iterator[nn.Parameter]],
    ) -> None:
        super().__init__(weights)
        self.dim, self.hop_length, self._encode = dim, hop_length, encode

    def forward(self, audio: Tensor) -> Tensor:
        with without_gradients(audio):
            return self._encode(audio.float()).float()


class ExternalDecoder(_ExternalPart, Decoder):
    """The numbers of codes, −1 where lost, to audio."""

    def __init__(
        self,
        dim: int,
        hop_length: int,
        decode: Callable[[Tensor, Tensor], Tensor],
        weights: Callable[[], Iterator[nn.Parameter]],
    ) -> None:
        super().__init__(weights)
        self.dim, self.hop_length, self._decode = dim, hop_length, decode

    def forward(self, latents: Tensor) -> Tensor:
        with without_gradients(latents):
            codes = latents.round().long()
            return self._decode(codes.clamp_min(0), codes < 0)


class CodeNumbers(Quantizer):
    """Latents `[B, K, F]` that are the codes' own numbers, −1 where lost; means and distances of them say nothing."""

    averages = False
    is_external = True

    def __init__(self, codebook_sizes: Sequence[int]) -> None:
        super().__init__()
        self.codebook_sizes = tuple(int(size) for size in codebook_sizes)
        self.dim = len(self.codebook_sizes)
        self.register_buffer("place", torch.zeros(()), persistent=False)  # for `device`

    def forward(self, latents: Tensor) -> QuantizerOutput:
        return QuantizerOutput(latents, latents.round().long().clamp_min(0), latents.new_zeros(()))

    def decode(self, codes: Tensor, erased: Tensor | None = None) -> Tensor:
        numbers = codes.float()
        return numbers if erased is None else numbers.masked_fill(erased, LOST)

    def decode_mean(self, probabilities: Sequence[Tensor]) -> Tensor:
        """The number of each most likely code, −1 where several are equally likely."""
        self._check_probabilities(probabilities)
        return torch.stack([_most_likely(part) for part in probabilities], 1)  # [B, K, F]

    def decode_digits(self, probabilities: Sequence[Sequence[Tensor] | None]) -> Tensor:
        """The same of codes whose digits' probabilities are given; −1 for a codebook without."""
        given = next(digits for digits in probabilities if digits is not None)[0]
        lost = torch.full(given.shape[:2], LOST, device=given.device)
        found = [lost if digits is None else _most_likely(joint_probabilities(digits)) for digits in probabilities]
        return torch.stack(found, 1)


def _most_likely(probabilities: Tensor) -> Tensor:
    """Index float32 `[B, F]` of the largest of `[B, F, size]`, −1 where it is not larger than the next."""
    largest, indices = probabilities.topk(2)
    first, second = largest.unbind(-1)
    return indices[..., 0].float().masked_fill(first - second <= TIE * first, LOST)


def stack_rates(streams: Sequence[Tensor]) -> Tensor:
    """Codes of codebooks at several frame rates as frames of the slowest: `[B, K, F]`.

    Args:
        streams: integers `[B, F * n]` of each codebook, n whole, which give n codes of a frame, in order of time.

    Raises:
        InvalidValue: a stream's frames are no multiple of the shortest one's.
    """
    frames = min(stream.shape[-1] for stream in streams)
    if frames < 1 or any(stream.shape[-1] % frames for stream in streams):
        found = [stream.shape[-1] for stream in streams]
        raise InvalidValue("streams of", found, "frames must be multiples of the shortest", "pad the audio first")
    return torch.cat([stream.unflatten(-1, (frames, -1)).transpose(1, 2) for stream in streams], 1)


def split_rates(codes: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """The inverse of `stack_rates`: `[B, K, F]` to `[B, F * n]` for each n of `counts`, whose sum is K."""
    return [part.transpose(1, 2).flatten(1) for part in codes.split(list(counts), 1)]
