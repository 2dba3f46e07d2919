"""Short-time Fourier transforms with one frame per hop ("same" padding), forward and inverse, in float32."""

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.errors import InvalidValue


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
    window = torch.hann_window(n_fft, device=audio.device)
    return torch.stft(F.pad(audio, (pad, pad)), n_fft, hop_length, window=window, center=False, return_complex=True)


def log_magnitude(audio: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Natural logarithm of the magnitude of `same_stft`, at least ln 1e-5.

    Audio float32 `[B, F * hop_length]` to float32 `[B, n_fft / 2 + 1, F]`.
    """
    spectrum = torch.view_as_real(same_stft(audio, n_fft, hop_length))
    return 0.5 * spectrum.square().sum(-1).clamp_min(1e-10).log()


def same_istft(spectrum: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Inverse of `same_stft` by windowed overlap-add, normalised by the summed squared window (Vocos, section 3.2).

    Args:
        spectrum: complex64 `[B, n_fft / 2 + 1, F]`.
        n_fft: window and transform length in samples.
        hop_length: samples per frame.

    Returns:
        float32 `[B, F * hop_length]`.
    """
    frames = spectrum.shape[-1]
    window = torch.hann_window(n_fft, device=spectrum.device)
    # The transform runs over the last axis: compiled for a CPU, its gradient over another axis has unexpected strides.
    blocks = (torch.fft.irfft(spectrum.transpose(1, 2), n_fft) * window).transpose(1, 2)  # [B, n_fft, F]
    pad = (n_fft - hop_length) // 2
    audio = overlap_add(blocks, hop_length)[:, pad : pad + frames * hop_length]
    power = overlap_add(window.square()[None, :, None].expand(1, -1, frames), hop_length)
    return audio / power[:, pad : pad + frames * hop_length].clamp_min(1e-8)


def overlap_add(blocks: Tensor, hop_length: int) -> Tensor:
    """Sum frames `[B, n_fft, F]`, placed `hop_length` samples apart: `[B, (F − 1) * hop_length + n_fft]`."""
    n_fft, frames = blocks.shape[1:]
    length = (frames - 1) * hop_length + n_fft
    return F.fold(blocks, (1, length), (1, n_fft), stride=(1, hop_length))[:, 0, 0]
