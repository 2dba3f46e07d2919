"""Spectra and their inverse as products with Fourier matrices, in real numbers, as `codec.layers.spectral` has them.

Not every runtime of ONNX has a Fourier transform, and all have matrix products. Both use the mirror symmetry of cosine
and sine, which halves the work, and files hold two narrow tables in place of a matrix.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.spectral import hann_window, past_window


class FourierMatrix(nn.Module):
    """Cosines and sines of 2πkm / n for k and m in 0 … ⌊n / 2⌋, times a factor of each m and one of each k.

    exp(2πi km / n) with m = step · a + b is the product of exp(2πi k step a / n) and exp(2πi k b / n): the tables hold
    these, for all a and all b. A runtime multiplies them once, when it loads the file.

    Args:
        n_fft: transform length n.
        by_sample: factor of each m, float64 `[⌊n / 2⌋ + 1]`.
        by_bin: factor of each k, likewise.
    """

    coarse: Tensor
    fine: Tensor

    def __init__(self, n_fft: int, by_sample: Tensor, by_bin: Tensor) -> None:
        super().__init__()
        self.size = n_fft // 2 + 1
        step = math.isqrt(self.size - 1) + 1
        places = torch.arange(self.size)
        coarse, fine = (unit_circle(torch.outer(places, m), n_fft) for m in (places[:step] * step, places[:step]))
        self.register_buffer("coarse", (coarse * by_bin[:, None]).float()[..., None], persistent=False)
        self.register_buffer("fine", fine.float()[:, :, None], persistent=False)  # both [2, size, step], one axis more
        self.register_buffer("by_sample", by_sample.float(), persistent=False)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Cosines and sines, float32 `[size, size]` each, k by m."""
        (cos_a, sin_a), (cos_b, sin_b) = self.coarse, self.fine
        cosines, sines = cos_a * cos_b - sin_a * sin_b, sin_a * cos_b + cos_a * sin_b  # [size, step, step]
        return cosines.flatten(1)[:, : self.size] * self.by_sample, sines.flatten(1)[:, : self.size] * self.by_sample


def unit_circle(products: Tensor, n_fft: int) -> Tensor:
    """Cosine and sine of 2π · products / n, float64 `[2, ...]`; whole turns are taken off before the angle is made."""
    angle = (products % n_fft).double() * (2 * torch.pi / n_fft)
    return torch.stack((angle.cos(), angle.sin()))


class Analysis(nn.Module):
    """`same_stft` by matrix products, or `past_stft` of audio after silence.

    Args:
        window: transform length in hops.
        hop_length: samples per frame.
        causal: a frame's window ends with it, and is not centred on it.
    """

    shape: Tensor

    def __init__(self, window: int, hop_length: int, *, causal: bool = False) -> None:
        super().__init__()
        self.window, self.hop_length, self.n_fft = window, hop_length, window * hop_length
        before = self.n_fft - hop_length if causal else (self.n_fft - hop_length) // 2
        self.padding = before, self.n_fft - hop_length - before
        cpu = torch.device("cpu")
        shape = past_window(self.n_fft, hop_length, cpu) if causal else hann_window(self.n_fft, cpu)
        self.register_buffer("shape", shape, persistent=False)  # [n_fft]
        share = single_ends(self.n_fft)  # the mirror image counts samples at the ends twice
        self.matrix = FourierMatrix(self.n_fft, share, torch.ones_like(share))

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Audio `[B, 1, F * hop]` to the spectrum's real and imaginary part, each `[B, F, n_fft / 2 + 1]`."""
        hops = F.pad(audio.squeeze(1), self.padding).unflatten(-1, (-1, self.hop_length))  # [B, F + window - 1, hop]
        frames = audio.shape[-1] // self.hop_length
        framed = torch.cat([hops[:, start : start + frames] for start in range(self.window)], -1)
        framed = framed * self.shape  # [B, F, n_fft]
        size = self.matrix.size
        ahead = framed[..., :size]
        mirrored = torch.cat((framed[..., :1], framed.flip(-1)[..., : size - 1]), -1)
        cosines, sines = self.matrix()
        return (ahead + mirrored) @ cosines.T, (mirrored - ahead) @ sines.T


class Synthesis(nn.Module):
    """`same_istft` by matrix products, and an overlap-add of whole hops.

    Args:
        window: transform length in hops.
        hop_length: samples per frame.
    """

    squares: Tensor

    def __init__(self, window: int, hop_length: int) -> None:
        super().__init__()
        self.window, self.hop_length, self.n_fft = window, hop_length, window * hop_length
        half = window_half(self.n_fft)
        counts = 2.0 * single_ends(self.n_fft) / self.n_fft  # a bin stands for its mirror image, too
        self.matrix = FourierMatrix(self.n_fft, half, counts)
        squares = hann_window(self.n_fft, torch.device("cpu")).square()
        self.register_buffer("squares", squares, persistent=False)  # [n_fft]

    def forward(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """The spectrum's parts, each `[B, F, n_fft / 2 + 1]`, to audio `[B, 1, F * hop]`."""
        cosines, sines = self.matrix()
        even, odd = real @ cosines, imaginary @ sines  # [B, F, n_fft / 2 + 1]
        mirrored = (even + odd)[..., 1 : self.n_fft - self.matrix.size + 1].flip(-1)
        blocks = torch.cat((even - odd, mirrored), -1)  # [B, F, n_fft]
        power = self.overlap_add(torch.ones_like(blocks[:1, :, :1]) * self.squares)
        return (self.overlap_add(blocks) / power.clamp_min(1e-8)).unsqueeze(1)

    def overlap_add(self, blocks: Tensor) -> Tensor:
        """Sum frames `[B, F, n_fft]`, a hop apart, and cut to the frames' own samples: `[B, F * hop]`."""
        last = self.window - 1
        pieces = blocks.chunk(self.window, -1)  # each [B, F, hop]
        summed = torch.stack([F.pad(piece, (0, 0, at, last - at)) for at, piece in enumerate(pieces)]).sum(0)
        pad = last * self.hop_length // 2
        return summed.flatten(1)[:, pad : pad + blocks.shape[1] * self.hop_length]


def window_half(n_fft: int) -> Tensor:
    """The first ⌊n / 2⌋ + 1 samples of the Hann window, float64; the rest is their mirror image."""
    return hann_window(n_fft, torch.device("cpu")).double()[: n_fft // 2 + 1]


def single_ends(n_fft: int) -> Tensor:
    """1 for each of 0 … ⌊n / 2⌋, and ½ for those that are their own mirror image: 0, and n / 2 of an even n."""
    share = torch.ones(n_fft // 2 + 1, dtype=torch.float64)
    share[0] = 0.5
    if n_fft % 2 == 0:
        share[-1] = 0.5
    return share
