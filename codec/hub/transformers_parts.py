"""Parts of third-party codecs: encoders, quantizers and decoders that wrap the modules of transformers' models.

EnCodec (arXiv 2210.13438), DAC (2306.06546), Mimi (2410.00037), X-Codec 2 (2502.04128), NeuCodec (2509.09550).
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.decoders.base import Decoder
from codec.encoders.base import Encoder
from codec.errors import InvalidValue
from codec.quantizers.base import Quantizer, QuantizerOutput, joint_probabilities
from codec.quantizers.codes import check_stages


@contextmanager
def without_gradients(x: Tensor) -> Iterator[None]:
    """Inside, no gradients and no autocast: float32, so that published weights give their published codes."""
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        yield


def pad_to_hop(audio: Tensor, hop_length: int) -> Tensor:
    """Audio with zeros appended up to a multiple of the hop."""
    return F.pad(audio, (0, -audio.shape[-1] % hop_length))


class FrozenEncoder(Encoder):
    """The model's modules from audio to the latents that its quantizer takes."""

    def __init__(self, dim: int, hop_length: int) -> None:
        super().__init__()
        self.dim, self.hop_length = dim, hop_length

    def whole_frames(self, audio: Tensor) -> Tensor:
        """The audio unchanged, as the model itself pads the last frame."""
        return audio

    def forward(self, audio: Tensor) -> Tensor:
        """Encode `[B, 1, T]`, any T ≥ 1, to `[B, D, ⌈T / hop_length⌉]`."""
        with without_gradients(audio):
            return self._latents(audio.float())[..., : -(-audio.shape[-1] // self.hop_length)]  # [B, D, F]

    @abstractmethod
    def _latents(self, audio: Tensor) -> Tensor:
        """`[B, 1, T]` to `[B, D, F]` or more frames."""


class EncodecEncoder(FrozenEncoder):
    """EnCodec's SEANet encoder, which pads at each of its layers."""

    def __init__(self, dim: int, hop_length: int, *, module: nn.Module) -> None:
        super().__init__(dim, hop_length)
        self.module = module

    def _latents(self, audio: Tensor) -> Tensor:
        return self.module(audio)


class DacEncoder(EncodecEncoder):
    """DAC's convolutions, which need full frames; the padding is that of DAC's own preprocessing."""

    def _latents(self, audio: Tensor) -> Tensor:
        return self.module(pad_to_hop(audio, self.hop_length))


class MimiEncoder(EncodecEncoder):
    """SEANet, a transformer and a downsampling, all inside the model's encoder."""

    def _latents(self, audio: Tensor) -> Tensor:
        return self.module(audio, use_streaming=False).latents


class XCodec2Encoder(FrozenEncoder):
    """w2v-BERT features and the output of BigCodec's convolutions, projected together (X-Codec 2, NeuCodec).

    The model's feature extractor appends a sample of silence before it pads to full frames. Where T is a multiple of
    the hop, this adds one frame, which the model sees as context and which is dropped here.

    Args:
        model: Xcodec2Model or NeuCodecModel.
        hop_length: samples per frame.
        extractor: the model's feature extractor.
        pads: append silence up to full frames first, for NeuCodec, whose own extractor gives ⌊T / hop⌋ frames.

    Raises:
        InvalidValue: the extractor's spectrogram does not run at the model's frame rate.
    """

    def __init__(self, model: Any, hop_length: int, *, extractor: Any, pads: bool) -> None:
        super().__init__(model.config.quantization_dim, hop_length)
        feature_hop = extractor.stride * extractor.frame_shift
        if feature_hop != hop_length or extractor.hop_length != hop_length:
            raise InvalidValue(
                "hop",
                f"{hop_length} of {model.config.model_type}'s convolutions",
                f"must be the {feature_hop} samples per frame of its w2v-BERT features",
                f"set downsampling_ratios whose product is {feature_hop}",
            )
        self.extractor, self.pads = extractor, pads
        self.semantic_encoder, self.semantic_adapter = model.semantic_encoder, model.semantic_adapter
        self.acoustic_encoder, self.fc_encoder = model.acoustic_encoder, model.fc_encoder

    def _latents(self, audio: Tensor) -> Tensor:
        if self.pads:
            audio = pad_to_hop(audio, self.hop_length)
        clips = list(audio.squeeze(1).cpu().numpy())
        inputs = self.extractor(clips, sampling_rate=self.extractor.sampling_rate, return_tensors="pt")
        inputs = inputs.to(audio.device)
        states = self.semantic_encoder(inputs["input_features"], attention_mask=inputs["input_features_mask"])
        semantic = self.semantic_adapter(states.last_hidden_state.transpose(1, 2))  # [B, C, F or F + 1]
        acoustic = self.acoustic_encoder(inputs["input_values"])
        frames = min(semantic.shape[-1], acoustic.shape[-1])
        both = torch.cat((semantic[..., :frames], acoustic[..., :frames]), 1)
        return self.fc_encoder(both.transpose(1, 2)).transpose(1, 2)  # [B, D, F or F + 1]


class FrozenQuantizer(Quantizer):
    """The model's first codebooks; in `forward` the model itself chooses the codes."""

    def __init__(self, dim: int, codebook_sizes: Sequence[int], *, module: Any) -> None:
        super().__init__()
        self.dim, self.codebook_sizes, self.module = dim, tuple(codebook_sizes), module

    def forward(self, latents: Tensor) -> QuantizerOutput:
        """Quantize `[B, D, F]` without gradients; the loss is zero."""
        with without_gradients(latents):
            codes = self._codes(latents.float()).long()  # [B, K, F]
            return QuantizerOutput(self.decode(codes), codes, latents.new_zeros(()))

    def decode(self, codes: Tensor, erased: Tensor | None = None) -> Tensor:
        check_stages(codes, self.codebook_sizes)
        with without_gradients(codes):
            return self._sum([F.embedding(codes[:, k], self._table(k)) for k in range(codes.shape[1])], erased)

    def decode_mean(self, probabilities: Sequence[Tensor]) -> Tensor:
        self._check_probabilities(probabilities)
        with without_gradients(probabilities[0]):
            return self._sum([p.float() @ self._table(k) for k, p in enumerate(probabilities)], None)

    def decode_digits(self, probabilities: Sequence[Sequence[Tensor] | None]) -> Tensor:
        first = next(digits for digits in probabilities if digits is not None)[0]
        with without_gradients(first):
            tables = [self._table(k) for k in range(len(probabilities))]
            means = [
                table.new_zeros(*first.shape[:2], table.shape[-1])
                if digits is None
                else joint_probabilities(digits).float() @ table
                for digits, table in zip(probabilities, tables, strict=True)
            ]
            return self._sum(means, None)

    def _sum(self, entries: Sequence[Tensor], erased: Tensor | None) -> Tensor:
        """Latents `[B, D, F]` of entries `[B, F, d]` of each codebook; an erased one is zero before its projection."""
        total = torch.zeros((), device=entries[0].device)
        for k, stage in enumerate(entries):
            known = stage if erased is None else stage.masked_fill(erased[:, k, :, None], 0.0)
            total = total + self._project(known, k)
        return total.transpose(1, 2)  # [B, D, F]

    @abstractmethod
    def _codes(self, latents: Tensor) -> Tensor:
        """The codes that the model chooses: `[B, D, F]` to `[B, K, F]`."""

    @abstractmethod
    def _table(self, k: int) -> Tensor:
        """Entries `[size, d]` of codebook k."""

    def _project(self, entries: Tensor, k: int) -> Tensor:
        """Codebook k's entries `[B, F, d]` to `[B, F, D]`."""
        return entries


class EncodecQuantizer(FrozenQuantizer):
    """EnCodec's residual stages, whose codebooks have the width of the latents."""

    def _codes(self, latents: Tensor) -> Tensor:
        codes = []
        for stage in self.module.layers[: len(self.codebook_sizes)]:
            codes.append(stage.encode(latents))
            latents = latents - stage.decode(codes[-1])
        return torch.stack(codes, 1)

    def _table(self, k: int) -> Tensor:
        return self.module.layers[k].codebook.embed


class DacQuantizer(FrozenQuantizer):
    """DAC's residual stages, each with projections to and from its codebook's width."""

    def _codes(self, latents: Tensor) -> Tensor:
        return self.module(latents, len(self.codebook_sizes))[1]

    def _table(self, k: int) -> Tensor:
        return self.module.quantizers[k].codebook.weight

    def _project(self, entries: Tensor, k: int) -> Tensor:
        return self.module.quantizers[k].out_proj(entries.transpose(1, 2)).transpose(1, 2)


class MimiQuantizer(FrozenQuantizer):
    """Mimi's semantic stages and its acoustic residual stages, each group with one projection."""

    def _codes(self, latents: Tensor) -> Tensor:
        for k in range(len(self.codebook_sizes)):
            self._table(k)
        return self.module.encode(latents, len(self.codebook_sizes)).transpose(0, 1)

    def _table(self, k: int) -> Tensor:
        group, stage = self._place(k)
        book = group.layers[stage].codebook
        book._embed = None  # a cached table, which moving to a device and loading weights do not update
        return book.embed

    def _project(self, entries: Tensor, k: int) -> Tensor:
        projection = self._place(k)[0].output_proj
        return entries if projection is None else projection(entries.transpose(1, 2)).transpose(1, 2)

    def _place(self, k: int) -> tuple[Any, int]:
        """The group of stages that codebook k belongs to, and its index there."""
        semantic = self.module.num_semantic_quantizers
        if k < semantic:
            return self.module.semantic_residual_vector_quantizer, k
        return self.module.acoustic_residual_vector_quantizer, k - semantic


class XCodec2Quantizer(FrozenQuantizer):
    """FSQ: one code, index Σ levelᵢ · Π_{j<i} Lⱼ; an erased code is zero before the output projection."""

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        return (tuple(self.module.quantizer.quantization_levels),)

    def _codes(self, latents: Tensor) -> Tensor:
        return self.module(latents.transpose(1, 2))[1].transpose(1, 2)

    def _table(self, k: int) -> Tensor:
        return self.module.quantizer.codebook

    def _sum(self, entries: Sequence[Tensor], erased: Tensor | None) -> Tensor:
        values = entries[0] if erased is None else entries[0].masked_fill(erased[:, 0, :, None], 0.0)
        return self.module.project_out(values).transpose(1, 2)  # [B, D, F]


class FrozenDecoder(Decoder):
    """The model's modules from latents to audio, `[B, D, F]` to `[B, 1, F * hop_length]`."""

    def __init__(self, dim: int, hop_length: int, *, module: nn.Module) -> None:
        super().__init__()
        self.dim, self.hop_length, self.module = dim, hop_length, module

    def forward(self, latents: Tensor) -> Tensor:
        """Decode; where the model gives fewer samples (DAC's odd strides), zeros fill the last frame."""
        with without_gradients(latents):
            audio = self._audio(latents.float())
            return F.pad(audio, (0, latents.shape[-1] * self.hop_length - audio.shape[-1]))

    def _audio(self, latents: Tensor) -> Tensor:
        return self.module(latents)


class MimiDecoder(FrozenDecoder):
    """Upsampling, a transformer and SEANet, all inside the model's decoder."""

    def _audio(self, latents: Tensor) -> Tensor:
        return self.module(latents).audio_values


class XCodec2Decoder(FrozenDecoder):
    """A Vocos-style decoder that takes latents `[B, F, D]`."""

    def _audio(self, latents: Tensor) -> Tensor:
        return self.module(latents.transpose(1, 2))
