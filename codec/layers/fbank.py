"""Kaldi's log-mel filter bank for batches of audio, at 16 kHz and 100 frames per second, all on the device."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.compliance import kaldi

SAMPLE_RATE = 16_000.0
WINDOW, SHIFT, TRANSFORM = 400, 160, 512  # samples: frames of 25 ms every 10 ms, and the length of their transform
LOWEST = 20.0  # Hz, the lower edge of the first band
PREEMPHASIS = 0.97


class KaldiFilterbank(nn.Module):
    """What Kaldi's `compute-fbank-feats` gives with its default options, without dither, for each clip of a batch.

    Frames lie wholly inside the clip. From each its mean is subtracted; it is pre-emphasised, tapered by the Povey
    window (a Hann window to the power 0.85) and transformed; bands are triangles on the mel scale from 20 Hz to 8 kHz.
    All is float32, also under autocast.

    Args:
        bands: number of mel bands.
    """

    taper: Tensor
    bank: Tensor

    def __init__(self, bands: int = 80) -> None:
        super().__init__()
        with torch.device("cpu"):  # tables need values, which the meta device does not have
            taper = torch.hann_window(WINDOW, periodic=False).pow(0.85)
            triangles, _ = kaldi.get_mel_banks(bands, TRANSFORM, SAMPLE_RATE, LOWEST, 0.0, 100.0, -500.0, 1.0)
            bank = F.pad(triangles, (0, 1)).T.contiguous()  # [257, bands]; no band reaches half the rate
        self.register_buffer("taper", taper, persistent=False)
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Natural logarithms of energies, float32 `[B, 1 + ⌊(T − 400) / 160⌋, bands]`, of audio `[B, T]`, T ≥ 400.

        Audio is in units of 16-bit samples, ±32,768.
        """
        with torch.autocast(audio.device.type, enabled=False):
            frames = audio.float().unfold(-1, WINDOW, SHIFT)  # [B, frames, 400]
            frames = frames - frames.mean(-1, keepdim=True)
            before = torch.cat((frames[..., :1], frames[..., :-1]), -1)
            spectrum = torch.view_as_real(
                torch.fft.rfft((frames - PREEMPHASIS * before) * self.taper.float(), TRANSFORM)
            )
            energies = spectrum.square().sum(-1) @ self.bank.float()  # [B, frames, bands]
            return energies.clamp_min(torch.finfo(torch.float32).eps).log()
