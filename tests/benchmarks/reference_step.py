"""The yardstick of speed: an eager training step of X-Codec 2's structure (arXiv 2502.04128), written plainly.

Encoder with alias-free SnakeBeta by depthwise convolutions (38.5 M parameters), FSQ, transformer decoder with inverse
STFT (184.9 M), BigCodec's discriminators (10.3 M and 18.1 M) in four passes, multi-scale mel, least squares, feature
matching, gradient clipping, AdamW. It shares no code with `codec`.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

N_FFTS = (78, 126, 206, 334, 542, 876, 1418, 2296)


class Snake(nn.Module):
    """SnakeBeta between up- and down-sampling by depthwise convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha, self.beta = nn.Parameter(torch.zeros(channels, 1)), nn.Parameter(torch.zeros(channels, 1))
        time = torch.arange(12) - 5.5
        taps = torch.kaiser_window(12, beta=4.6638, periodic=False) * torch.sinc(time / 2) / 2
        self.register_buffer("taps", (taps / taps.sum()).view(1, 1, 12))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        taps = self.get_buffer("taps").expand(channels, 1, 12)
        x = F.pad(x, (5, 5), mode="replicate")
        x = 2 * F.conv_transpose1d(x, taps, stride=2, groups=channels)[..., 15:-15]
        x = x + torch.sin(x * self.alpha.exp()) ** 2 / (self.beta.exp() + 1e-9)
        return F.conv1d(F.pad(x, (5, 6), mode="replicate"), taps, stride=2, groups=channels)


def conv(a: int, b: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    """A weight-normed convolution that keeps the length, or divides it by its stride."""
    padding = (dilation * (kernel - 1) + 2 - stride) // 2
    return weight_norm(nn.Conv1d(a, b, kernel, stride, padding, dilation))


class Residual(nn.Module):
    """x + layers(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def encoder() -> nn.Sequential:
    """BigCodec's encoder: `[B, 1, T]` to `[B, 1024, T / 320]`."""
    width, layers = 48, [conv(1, 48, 7)]
    for stride in (2, 2, 4, 4, 5):
        for dilation in (1, 3, 9):
            inner = Snake(width), conv(width, width, 7, dilation=dilation), Snake(width), conv(width, width, 1)
            layers.append(Residual(*inner))
        layers += [Snake(width), conv(width, 2 * width, 2 * stride, stride=stride)]
        width *= 2
    return nn.Sequential(*layers, Snake(width), conv(width, 1024, 3))


class Attention(nn.Module):
    """Self-attention of 16 heads with rotary positions over `[B, F, 1024]`."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(1024, 3072, bias=False), nn.Linear(1024, 1024, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, frames, _ = x.shape
        q, k, v = self.qkv(x).view(batch, frames, 3, 16, 64).permute(2, 0, 3, 1, 4)
        angle = torch.outer(torch.arange(frames), 1e4 ** (-torch.arange(0, 64, 2) / 64))
        q, k = (self.rotate(t, angle.cos(), angle.sin()) for t in (q, k))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(batch, frames, 1024))

    @staticmethod
    def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        a, b = x[..., ::2], x[..., 1::2]
        return torch.stack((a * cosine - b * sine, a * sine + b * cosine), -1).flatten(-2)


class Turned(nn.Module):
    """Modules over `[B, F, C]` applied to `[B, C, F]`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.transpose(1, 2)).transpose(1, 2)


def decoder() -> nn.Sequential:
    """X-Codec 2's decoder up to the spectrum: `[B, 1024, F]` to `[B, 1282, F]`."""

    def resnet() -> nn.Module:
        half = [(nn.GroupNorm(32, 1024, eps=1e-6), nn.SiLU(), nn.Conv1d(1024, 1024, 3, padding=1)) for _ in range(2)]
        return Residual(*half[0], *half[1][:2], nn.Dropout(0.1), half[1][2])

    def block() -> list[nn.Module]:
        mlp = nn.Linear(1024, 4096, bias=False), nn.SiLU(), nn.Linear(4096, 1024, bias=False)
        return [Residual(nn.RMSNorm(1024, eps=1e-6), Attention()), Residual(nn.RMSNorm(1024, eps=1e-6), *mlp)]

    blocks = [layer for _ in range(12) for layer in block()]
    start = nn.Conv1d(1024, 1024, 7, padding=3), resnet(), resnet(), Turned(*blocks)
    return nn.Sequential(*start, resnet(), resnet(), Turned(nn.LayerNorm(1024, eps=1e-6), nn.Linear(1024, 1282)))


class Codec(nn.Module):
    """Audio `[B, 1, T]` at 16 kHz to its reconstruction."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(), decoder()
        self.down, self.up = nn.Linear(1024, 8), nn.Linear(8, 1024)

    def forward(self, audio: Tensor) -> Tensor:
        z = torch.tanh(self.down(self.encoder(audio).transpose(1, 2)) + 0.3466) * 1.5 - 0.5
        z = self.up((z + (z.round() - z).detach()) / 2).transpose(1, 2)
        magnitude, phase = self.decoder(z).float().chunk(2, 1)
        spectrum = magnitude.exp().clamp(max=1e2) * torch.exp(1j * phase)
        window = torch.hann_window(1280)
        frames = torch.fft.irfft(spectrum, 1280, dim=1) * window[None, :, None]
        length = (frames.shape[2] - 1) * 320 + 1280
        envelope = F.fold(
            window.square().expand(1, frames.shape[2], -1).transpose(1, 2), (1, length), (1, 1280), stride=(1, 320)
        )
        audio = F.fold(frames, (1, length), (1, 1280), stride=(1, 320))[:, 0, 0, 480:-480]
        return (audio / envelope[0, 0, 0, 480:-480]).unsqueeze(1)


class Layers(nn.Module):
    """Weight-normed 2-d convolutions with leaky ReLU; returns all outputs, the score last."""

    def __init__(self, convolutions: list[nn.Conv2d], slope: float) -> None:
        super().__init__()
        self.convolutions, self.slope = nn.ModuleList(weight_norm(c) for c in convolutions), slope

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for convolution in self.convolutions[:-1]:
            x = F.leaky_relu(convolution(x), self.slope)
            outputs.append(x)
        return [*outputs, self.convolutions[-1](x)]


class Discriminators(nn.Module):
    """BigCodec's multi-period and spectrogram discriminators."""

    def __init__(self) -> None:
        super().__init__()
        widths, spectral = (1, 16, 64, 256, 512, 512), (1, 32, 64, 128, 256, 512)

        def period() -> Layers:
            layers = [
                nn.Conv2d(a, b, (5, 1), (3 if i < 4 else 1, 1), (2, 0)) for i, (a, b) in enumerate(pairwise(widths))
            ]
            return Layers([*layers, nn.Conv2d(512, 1, (2, 1), 1, (1, 0))], 0.1)

        def spectrogram() -> Layers:
            layers = [nn.Conv2d(a, b, 5, 2, 2) for a, b in pairwise(spectral[:5])]
            return Layers([*layers, nn.Conv2d(256, 512, 3, 1, 1), nn.Conv2d(512, 1, 3, 1, 1)], 0.2)

        self.periods = nn.ModuleDict({str(p): period() for p in (2, 3, 5, 7, 11)})
        self.spectrograms = nn.ModuleDict({str(n): spectrogram() for n in N_FFTS})

    def forward(self, audio: Tensor) -> list[list[Tensor]]:
        outputs = []
        for name, layers in self.periods.items():
            period = int(name)
            x = F.pad(audio, (0, -audio.shape[-1] % period), mode="reflect")
            outputs.append(layers(x.view(x.shape[0], 1, -1, period)))
        for name, layers in self.spectrograms.items():
            n_fft = int(name)
            spectrum = torch.stft(audio[:, 0], n_fft, n_fft // 2, window=torch.hann_window(n_fft), return_complex=True)
            power = spectrum.real**2 + spectrum.imag**2
            outputs.append(layers(power.clamp(1e-7, 1e3).sqrt().unsqueeze(1)))
        return outputs


class Reference:
    """Modules, optimizers and the step."""

    def __init__(self) -> None:
        self.codec, self.discriminators = Codec(), Discriminators()
        self.banks = {
            window: torchaudio.functional.melscale_fbanks(
                window // 2 + 1, 0, 8000, 5 * window // 32, 16_000, "slaney", "slaney"
            ).T
            for window in (32, 64, 128, 256, 512, 1024, 2048)
        }
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.AdamW(module.parameters(), 1e-4, (0.8, 0.9)) for module in (self.codec, self.discriminators)
        )

    def sizes(self) -> tuple[float, float, float, float]:
        """Millions of parameters: encoder, decoder, multi-period and spectrogram discriminators."""
        parts = self.codec.encoder, self.codec.decoder, self.discriminators.periods, self.discriminators.spectrograms
        a, b, c, d = (sum(p.numel() for p in part.parameters()) / 1e6 for part in parts)
        return a, b, c, d

    def mel_distance(self, fake: Tensor, real: Tensor) -> Tensor:
        total = torch.zeros(())
        for window, bank in self.banks.items():
            taper = torch.hann_window(window)
            mels = [
                (bank @ torch.stft(x[:, 0], window, window // 4, window=taper, return_complex=True).abs())
                .clamp(min=1e-5)
                .log10()
                for x in (fake, real)
            ]
            total = total + F.l1_loss(*mels)
        return total

    def step(self, audio: Tensor) -> None:
        """One batch `[B, 1, T]`: the discriminators' step, then the codec's."""
        fake = self.codec(audio)
        real_outputs, fake_outputs = self.discriminators(audio), self.discriminators(fake.detach())
        loss = sum(
            ((1 - r[-1]) ** 2).mean() + (f[-1] ** 2).mean() for r, f in zip(real_outputs, fake_outputs, strict=True)
        )
        self.descend(loss, self.discriminators, self.discriminator_optimizer)
        self.discriminators.requires_grad_(False)
        real_outputs, fake_outputs = self.discriminators(audio), self.discriminators(fake)
        adversarial = sum(((1 - f[-1]) ** 2).mean() for f in fake_outputs)
        matching = sum(
            F.l1_loss(f, r.detach())
            for fakes, reals in zip(fake_outputs, real_outputs, strict=True)
            for f, r in zip(fakes[:-1], reals[:-1], strict=True)
        )
        self.descend(15 * self.mel_distance(fake, audio) + adversarial + matching, self.codec, self.generator_optimizer)
        self.discriminators.requires_grad_(True)

    @staticmethod
    def descend(loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
