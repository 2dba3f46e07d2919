"""A codec's parts in operators that every runtime of ONNX has: real spectra, filters as convolutions, look-ups."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.decoders.backbones import ConvNeXtBackbone, TransformerBackbone
from codec.decoders.base import Decoder
from codec.decoders.vocos import VocosDecoder
from codec.encoders.acoustic import AcousticEncoder
from codec.encoders.base import Encoder
from codec.encoders.l3ac import StudentEncoder
from codec.encoders.spectral import MelEncoder, SpectralEncoder
from codec.errors import InvalidValue
from codec.hub.onnx.spectra import Analysis, Synthesis
from codec.layers.activations import AntiAliasedActivation
from codec.layers.anti_aliased import by_convolution
from codec.layers.attention import LocalAttention, rotary
from codec.quantizers.base import Quantizer
from codec.quantizers.bsq import BSQ
from codec.quantizers.channel_optimized import ChannelOptimizedCodebook
from codec.quantizers.codebooks import Codebook, EMACodebook, LearnedCodebook
from codec.quantizers.fsq import FSQ
from codec.quantizers.residual_fsq import ResidualFSQ
from codec.quantizers.rvq import RVQ


class LogSpectrum(nn.Module):
    """The spectrum that `SpectralEncoder` or `MelEncoder` starts from, by matrix products."""

    def __init__(self, encoder: SpectralEncoder | MelEncoder) -> None:
        super().__init__()
        window = encoder.n_fft // encoder.hop_length
        self.analysis = Analysis(window, encoder.hop_length, causal=encoder.causal)
        self.register_buffer("bank", encoder.bank if isinstance(encoder, MelEncoder) else None, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Audio `[B, 1, F * hop]` to log magnitudes `[B, bins or bands, F]`."""
        real, imaginary = self.analysis(audio)
        power = real.square() + imaginary.square()  # [B, F, n_fft / 2 + 1]
        power = power if self.bank is None else power @ self.bank
        return 0.5 * power.clamp_min(1e-10).log().transpose(1, 2)


class PortableSpectralEncoder(nn.Module):
    """`SpectralEncoder` or `MelEncoder` on a spectrum by matrix products."""

    def __init__(self, encoder: SpectralEncoder | MelEncoder) -> None:
        super().__init__()
        self.encoder, self.spectrum = encoder, LogSpectrum(encoder)

    def forward(self, audio: Tensor) -> Tensor:
        """Encode `[B, 1, F * hop]` to `[B, D, F]`."""
        return self.encoder.encode_features(self.spectrum(audio))


class PortableVocosDecoder(nn.Module):
    """`VocosDecoder` with its head in real numbers."""

    def __init__(self, decoder: VocosDecoder) -> None:
        super().__init__()
        self.backbone, self.head = with_portable_layers(decoder.backbone), decoder.head
        self.magnitude, self.by_spectrum = decoder.magnitude, decoder.by_spectrum
        self.synthesis = Synthesis(decoder.n_fft // decoder.step_length, decoder.step_length)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode `[B, D, F]` to `[B, 1, F * hop]`."""
        spectra = self.by_spectrum(self.head(self.backbone(latents)))
        log_magnitude, phase = spectra.chunk(2, -1)  # each [B, F * spectra, n_fft / 2 + 1]
        magnitude = self.magnitude(log_magnitude)
        return self.synthesis(magnitude * phase.cos(), magnitude * phase.sin())


class PortableActivation(nn.Module):
    """`AntiAliasedActivation` by PyTorch's own convolutions."""

    lowpass: Tensor
    alpha: Tensor
    inverse_beta: Tensor

    def __init__(self, activation: AntiAliasedActivation) -> None:
        super().__init__()
        alpha, inverse_beta = activation.activation.factors()
        for name, value in (("alpha", alpha), ("inverse_beta", inverse_beta), ("lowpass", activation.lowpass)):
            self.register_buffer(name, value.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return by_convolution(x, self.alpha, self.inverse_beta, self.lowpass)


class PortableLocalAttention(nn.Module):
    """`LocalAttention` on four axes, which is what the exporter's attention takes."""

    def __init__(self, attention: LocalAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """Keeps `[B, F, C]`."""
        attention, frames, w = self.attention, x.shape[1], self.attention.window
        q, k, v = attention.qkv(x).unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, F, c]
        blocks, sides = (frames + w - 1) // w, 2 if attention.causal else 3
        fill = blocks * w - frames
        q = F.pad(q.flatten(0, 1), (0, 0, 0, fill)).unflatten(1, (-1, w))  # [B * H, N, w, c]
        k, v = (_neighbours(F.pad(t.flatten(0, 1), (0, 0, w, fill + (sides - 2) * w)), w, sides) for t in (k, v))
        if attention.positions:
            q, k = rotary(q, w), rotary(k)
        mask = attention._mask(frames, blocks, x.device)  # [N, w, sides * w]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[None])
        y = y.flatten(1, 2)[:, :frames].unflatten(0, (-1, attention.heads))  # [B, H, F, c]
        return attention.out(y.transpose(1, 2).flatten(-2))


def _neighbours(x: Tensor, width: int, sides: int) -> Tensor:
    """Each block of positions of `[R, (N + sides − 1) * width, c]` with the next ones: `[R, N, sides * width, c]`."""
    blocks = x.unflatten(1, (-1, width))
    number = blocks.shape[1] - sides + 1
    return torch.cat([blocks[:, start : start + number] for start in range(sides)], 2)


class PortableRVQ(nn.Module):
    """The codes of an `RVQ`: each stage's entry of least score, a constant of the entry minus twice its product.

    Scores are float64: expanded into products, squared distances lose digits in float32, and so would the search.
    """

    def __init__(self, quantizer: RVQ) -> None:
        super().__init__()
        self.quantizer = quantizer
        for stage, book in enumerate(quantizer.codebooks):
            entries, offset = scores(book)  # type: ignore[arg-type]
            self.register_buffer(f"entries_{stage}", entries, persistent=False)
            self.register_buffer(f"offset_{stage}", offset, persistent=False)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents `[B, D, F]` to codes int64 `[B, K, F]`."""
        q, codes = self.quantizer, []
        rest = latents.transpose(1, 2)  # [B, F, D]
        for stage, book in enumerate(q.codebooks):
            z = q.project_in[stage](rest).double()
            entries, offset = getattr(self, f"entries_{stage}"), getattr(self, f"offset_{stage}")
            codes.append((offset - 2.0 * (z @ entries)).argmin(-1))  # [B, F]
            rest = rest - q.project_out[stage](F.embedding(codes[-1], book.table))  # type: ignore[arg-type]
        return torch.stack(codes, 1)


def scores(book: Codebook) -> tuple[Tensor, Tensor]:
    """Float64 `[d, size]` and `[size]`: the nearest entry to x has the least offset − 2 x · entries.

    Raises:
        InvalidValue: a codebook of another class, whose look-up is not known here.
    """
    table = book.table.detach().double()
    if type(book) is LearnedCodebook:  # by cosine: neither the vector's length nor a constant changes the order
        return F.normalize(table, dim=-1).T.contiguous(), table.new_zeros(len(table))
    if type(book) is ChannelOptimizedCodebook:
        means = book.spread(table)
        return means.T.contiguous(), book.spread(table.square().sum(1))  # |x − ē|² + Σ P |e|² − |ē|², without |x|²
    if type(book) is EMACodebook:
        return table.T.contiguous(), table.square().sum(1)
    raise not_portable("codebook", book, "EMACodebook, ChannelOptimizedCodebook and LearnedCodebook are")


class PortableCodes(nn.Module):
    """The codes alone of a scalar quantizer's result."""

    def __init__(self, quantizer: FSQ | BSQ) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, latents: Tensor) -> Tensor:
        """Latents `[B, D, F]` to codes int64 `[B, K, F]`."""
        return self.quantizer(latents).codes


def portable_encoder(encoder: Encoder) -> nn.Module:
    """Audio of whole frames `[B, 1, F * hop]` to latents `[B, D, F]`; raises InvalidValue for other encoders."""
    if type(encoder) in (SpectralEncoder, MelEncoder):
        return PortableSpectralEncoder(encoder)  # type: ignore[arg-type]
    if type(encoder) in (AcousticEncoder, StudentEncoder):
        return with_portable_layers(encoder)
    raise not_portable("encoder", encoder, "SpectralEncoder, MelEncoder, StudentEncoder and AcousticEncoder are")


def portable_quantizer(quantizer: Quantizer) -> nn.Module:
    """Latents `[B, D, F]` to codes `[B, K, F]`; raises InvalidValue for other quantizers."""
    if type(quantizer) is RVQ:
        return PortableRVQ(quantizer)
    if type(quantizer) in (FSQ, ResidualFSQ, BSQ):
        return PortableCodes(quantizer)  # type: ignore[arg-type]
    raise not_portable("quantizer", quantizer, "FSQ, ResidualFSQ, BSQ and RVQ are")


def portable_decoder(decoder: Decoder) -> nn.Module:
    """Latents `[B, D, F]` to audio `[B, 1, F * hop]`; raises InvalidValue for other decoders."""
    if type(decoder) is not VocosDecoder:
        raise not_portable("decoder", decoder, "VocosDecoder is")
    if type(decoder.backbone) not in (ConvNeXtBackbone, TransformerBackbone):
        raise not_portable("backbone", decoder.backbone, "ConvNeXtBackbone and TransformerBackbone are")
    return PortableVocosDecoder(decoder)


REPLACED: dict[type[nn.Module], type[nn.Module]] = {
    AntiAliasedActivation: PortableActivation,
    LocalAttention: PortableLocalAttention,
}


def with_portable_layers(module: nn.Module) -> nn.Module:
    """The module, its anti-aliased activations and local attention replaced in place."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) in REPLACED:
                setattr(parent, name, REPLACED[type(child)](child))
    return module


def not_portable(what: str, part: object, allowed: str) -> InvalidValue:
    """The error about a part that has no form for export."""
    return InvalidValue(what, type(part).__name__, "cannot be exported to ONNX", f"{allowed}")
