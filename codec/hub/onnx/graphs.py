"""The graphs that are exported: audio to codes, codes to audio, and the four parts of a codec between them."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.codec import NeuralCodec
from codec.hub.exporting import folded
from codec.hub.onnx.portable import portable_decoder, portable_encoder, portable_quantizer


class Graph(NamedTuple):
    """A module to export, and how it is called.

    Attributes:
        module: in eval mode, on the CPU.
        inputs: an example of each input by its name, in the module's order.
        output: name of the only output.
        axes: for each input the names of its axes that may have any length.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    output: str
    axes: dict[str, dict[int, str]]


class Encoding(nn.Module):
    """Audio `[B, 1, T]` of any T ≥ 1 to latents `[B, D, ⌈T / hop⌉]`, or to codes where there is a quantizer."""

    def __init__(self, encoder: nn.Module, quantizer: nn.Module | None, hop_length: int) -> None:
        super().__init__()
        self.encoder, self.quantizer, self.hop_length = encoder, quantizer, hop_length

    def forward(self, audio: Tensor) -> Tensor:
        hop, length = self.hop_length, audio.shape[-1]
        latents = self.encoder(F.pad(audio, (0, (length + hop - 1) // hop * hop - length)))
        return latents if self.quantizer is None else self.quantizer(latents)


class Decoding(nn.Module):
    """Codes and erasures, bool, each `[B, K, F]`, to latents `[B, D, F]`, or to audio where there is a decoder."""

    def __init__(self, quantizer: nn.Module, decoder: nn.Module | None) -> None:
        super().__init__()
        self.quantizer, self.decoder = quantizer, decoder

    def forward(self, codes: Tensor, erased: Tensor) -> Tensor:
        latents = self.quantizer.decode(codes, erased)  # type: ignore[operator]
        return latents if self.decoder is None else self.decoder(latents)


class LatentDecoding(nn.Module):
    """Latents `[B, D, F]` to audio `[B, 1, F * hop]`."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)


def whole_graphs(codec: NeuralCodec) -> dict[str, Graph]:
    """`encode` and `decode` of a codec.

    Raises:
        InvalidValue: a part that has no form for export.
    """
    encoder, quantizer, decoder = _parts(codec)
    return {
        "encode": _from_audio(Encoding(encoder, quantizer, codec.hop_length), codec, "codes"),
        "decode": _from_codes(Decoding(_lookup(quantizer), decoder), codec, "audio"),
    }


def part_graphs(codec: NeuralCodec) -> dict[str, Graph]:
    """`encoder`, `quantizer`, `dequantizer` and `decoder`, for what is done to latents; raises as `whole_graphs`."""
    encoder, quantizer, decoder = _parts(codec)
    latents = {"latents": torch.zeros(2, codec.quantizer.dim, 7)}
    axes = {"latents": {0: "batch", 2: "frames"}}
    return {
        "encoder": _from_audio(Encoding(encoder, None, codec.hop_length), codec, "latents"),
        "quantizer": Graph(quantizer, latents, "codes", axes),
        "dequantizer": _from_codes(Decoding(_lookup(quantizer), None), codec, "latents"),
        "decoder": Graph(LatentDecoding(decoder).eval(), latents, "audio", axes),
    }


def _parts(codec: NeuralCodec) -> tuple[nn.Module, nn.Module, nn.Module]:
    copy = folded(codec).cpu().eval().requires_grad_(False)
    parts = portable_encoder(copy.encoder), portable_quantizer(copy.quantizer), portable_decoder(copy.decoder)
    return parts[0].eval(), parts[1].eval(), parts[2].eval()


def _lookup(quantizer: nn.Module) -> nn.Module:
    return quantizer.quantizer  # type: ignore[return-value]


def _from_audio(module: nn.Module, codec: NeuralCodec, output: str) -> Graph:
    audio = {"audio": torch.zeros(2, 1, 7 * codec.hop_length + 3)}
    return Graph(module.eval(), audio, output, {"audio": {0: "batch", 2: "samples"}})


def _from_codes(module: nn.Module, codec: NeuralCodec, output: str) -> Graph:
    codes = torch.zeros(2, len(codec.quantizer.codebook_sizes), 7, dtype=torch.long)
    inputs = {"codes": codes, "erased": codes.bool()}
    return Graph(module.eval(), inputs, output, {name: {0: "batch", 2: "frames"} for name in inputs})
