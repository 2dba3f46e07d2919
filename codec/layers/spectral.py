"""Short-time Fourier transforms with one frame per hop ("same" padding), forward and inverse, in float32."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.errors import InvalidValue
from codec.layers.extents import Extents


def frame_spectra(audio: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Spectra of windowed frames that lie wholly inside the signal.

    The values and gradients are those of `torch.stft` without centring, whose gradient adds samples by their index and
    transforms whole complex spectra.

    Args:
        audio: `[..., T]`, float32 or float64.
        window: `[n_fft]`.
        hop_length: samples from frame to frame.

    Returns:
        complex `[..., frames, n_fft / 2 + 1]`.
    """
    return RealTransform.apply(Frames.apply(audio, window.shape[0], hop_length) * window)


class RealTransform(torch.autograd.Function):
    """`torch.fft.rfft` over the last axis, with a gradient that is one transform to real numbers."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.fft.rfft(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.length = inputs[0].shape[-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Re Σₖ gₖ exp(2πi kt / n) over the half spectrum; irfft counts all but its ends twice."""
        ends = (1, 1 - ctx.length % 2)  # bins at 0 and, for even lengths, at half the sample rate
        inner = torch.full((gradient.shape[-1] - sum(ends),), 0.5, dtype=gradient.real.dtype, device=gradient.device)
        halved = F.pad(inner, ends, value=1.0)
        # Compiled code is fused for real numbers alone.
        parts = torch.view_as_real(gradient.resolve_conj()) * halved[:, None]
        return torch.fft.irfft(torch.view_as_complex(parts), ctx.length, norm="forward")


class Frames(torch.autograd.Function):
    """`x.unfold(-1, length, hop_length)`, with a gradient that adds whole blocks of a hop."""

    @staticmethod
    def forward(x: Tensor, length: int, hop_length: int) -> Tensor:
        return x.unfold(-1, length, hop_length)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        x, _, ctx.hop_length = inputs
        ctx.samples = x.shape[-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        hop, (frames, length) = ctx.hop_length, gradient.shape[-2:]
        number = -(-length // hop)
        blocks = F.pad(gradient, (0, number * hop - length)).unflatten(-1, (number, hop))  # [..., frames, number, hop]
        summed = gradient.new_zeros(*gradient.shape[:-2], frames + number - 1, hop)
        for offset in reversed(range(number)):  # the order of frames, as the gradient of unfold has it
            summed[..., offset : offset + frames, :] += blocks[..., offset, :]
        summed = summed.flatten(-2)[..., : ctx.samples]
        return F.pad(summed, (0, ctx.samples - summed.shape[-1])), None, None


def hann_window(length: int, device: torch.device) -> Tensor:
    """`torch.hann_window` of at least 2 samples, written out: compiled code computes it where it needs it."""
    return (torch.arange(length, dtype=torch.float32, device=device) * (2 * torch.pi / length)).cos() * -0.5 + 0.5


def same_stft(audio: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Hann STFT with exactly one frame per hop, centred on it.

    Args:
        audio: `[B, F * hop_length]` float32.
        n_fft: window and transform length in samples, at least `hop_length`, with `n_fft - hop_length` even.
        hop_length: samples per frame.

    Returns:
        complex64 `[B, n_fft / 2 + 1, F]`.

    Raises:
        InvalidValue: `n_fft` is below `hop_length`, or their difference is odd.
    """
    if n_fft < hop_length or (n_fft - hop_length) % 2:
        raise InvalidValue(
            "n_fft", n_fft, f"must exceed hop_length {hop_length} by an even number", f"take {2 * hop_length}"
        )
    pad = (n_fft - hop_length) // 2
    window = hann_window(n_fft, audio.device)
    return frame_spectra(F.pad(audio, (pad, pad)), window, hop_length).transpose(1, 2)


def past_window(length: int, hop_length: int, device: torch.device) -> Tensor:
    """Window `[length]` of `past_stft`: a half cosine wave that rises, and falls over the last half hop.

    A Hann window that ends with its frame would weight the frame's own samples least.
    """
    fall = hop_length // 2
    sides = [
        (torch.arange(n, dtype=torch.float32, device=device) + 0.5) * (torch.pi / n) for n in (length - fall, fall)
    ]
    return torch.cat((0.5 - 0.5 * sides[0].cos(), 0.5 + 0.5 * sides[1].cos()))


def past_stft(audio: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """STFT whose frames end with their hop and look back only, for causal encoders.

    Args:
        audio: `[B, n_fft - hop_length + F * hop_length]` float32: what comes before the first frame, and F hops.
        n_fft: window and transform length in samples, at least `hop_length`.
        hop_length: samples per frame.

    Returns:
        complex64 `[B, n_fft / 2 + 1, F]`.

    Raises:
        InvalidValue: `n_fft` is below `hop_length`.
    """
    if n_fft < hop_length:
        raise InvalidValue("n_fft", n_fft, f"must be at least hop_length {hop_length}", f"take {2 * hop_length}")
    return frame_spectra(audio, past_window(n_fft, hop_length, audio.device), hop_length).transpose(1, 2)


def log_magnitude(spectrum: Tensor) -> Tensor:
    """Natural logarithm of the magnitude of a complex64 spectrum, at least ln 1e-5, as float32."""
    return 0.5 * torch.view_as_real(spectrum).square().sum(-1).clamp_min(1e-10).log()


def same_istft(spectrum: Tensor, n_fft: int, hop_length: int, extents: Extents | None = None) -> Tensor:
    """Inverse of `same_stft` by windowed overlap-add, normalised by the summed squared window (Vocos, section 3.2).

    Args:
        spectrum: complex64 `[B, n_fft / 2 + 1, F]`.
        n_fft: window and transform length in samples.
        hop_length: samples per frame.
        extents: frames of each clip of a padded batch; those beyond count neither in the sum nor in its norm.

    Returns:
        float32 `[B, F * hop_length]`.
    """
    frames, pad = spectrum.shape[-1], (n_fft - hop_length) // 2
    blocks, squares = windowed_blocks(spectrum, n_fft)
    if extents is not None:
        blocks, squares = extents.silence(blocks), extents.silence(squares)
    audio = overlap_add(blocks, hop_length)[:, pad : pad + frames * hop_length]
    power = overlap_add(squares, hop_length)[:, pad : pad + frames * hop_length]
    return Overlap(audio, power).normalised()


def windowed_blocks(spectrum: Tensor, n_fft: int) -> tuple[Tensor, Tensor]:
    """Windowed samples of each frame `[B, n_fft, F]`, and the squares of the window `[1, n_fft, F]`."""
    window = hann_window(n_fft, spectrum.device)
    # The transform runs over the last axis: compiled for a CPU, its gradient over another axis has unexpected strides.
    blocks = (torch.fft.irfft(spectrum.transpose(1, 2), n_fft) * window).transpose(1, 2)
    return blocks, window.square()[None, :, None].expand(1, -1, spectrum.shape[-1])


class Overlap(NamedTuple):
    """What the frames so far add to samples that later frames add to: each `[B, n_fft - hop_length]`.

    Attributes:
        audio: sums of windowed frames.
        power: sums of squared windows.
    """

    audio: Tensor
    power: Tensor

    def normalised(self) -> Tensor:
        """The samples as they are if no frame follows."""
        return self.audio / self.power.clamp_min(1e-8)


def istft_step(spectrum: Tensor, n_fft: int, hop_length: int, state: Overlap) -> tuple[Tensor, Overlap]:
    """Further frames of `same_istft`, whose windows reach (n_fft − hop_length) / 2 samples before and after their hops.

    Args:
        spectrum: complex64 `[B, n_fft / 2 + 1, n]`.
        n_fft: window and transform length in samples.
        hop_length: samples per frame.
        state: zeros before the first frame.

    Returns:
        float32 `[B, n * hop_length]`, the samples that no later frame adds to; they begin where the windows do. And the
        new state.
    """
    blocks, squares = windowed_blocks(spectrum, n_fft)
    samples = spectrum.shape[-1] * hop_length
    audio, power = (
        overlap_add(added, hop_length) + F.pad(before, (0, samples))
        for added, before in zip((blocks, squares), state, strict=True)
    )
    done = Overlap(audio[:, :samples], power[:, :samples]).normalised()
    return done, Overlap(audio[:, samples:].clone(), power[:, samples:].clone())


def overlap_add(blocks: Tensor, hop_length: int) -> Tensor:
    """Sum frames `[B, n_fft, F]`, placed `hop_length` samples apart: `[B, (F − 1) * hop_length + n_fft]`."""
    n_fft, frames = blocks.shape[1:]
    length = (frames - 1) * hop_length + n_fft
    return F.fold(blocks, (1, length), (1, n_fft), stride=(1, hop_length))[:, 0, 0]
