"""Clips of unequal lengths in one batch, each against itself alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from codec import NeuralCodec


def padded_batch(lengths: Sequence[int], *, spare: int = 0, seed: int = 0) -> Tensor:
    """Clips `[B, 1, max + spare]` of sounds that come and go; beyond their ends loud noise, and once no number."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths) + spare
    noise = torch.randn(len(lengths), 1, longest, generator=generator)
    time = torch.arange(longest) / 16_000
    pitch = torch.linspace(90, 250, len(lengths))[:, None, None]
    audio = 0.2 * torch.sin(2 * torch.pi * pitch * time) + 0.05 * noise
    audio = audio * (0.6 + 0.4 * torch.sin(9 * time + pitch))
    for row, length in enumerate(lengths):
        audio[row, :, length:] = 3.0 * noise[row, :, length:]
        audio[row, :, length + 3 : length + 4] = torch.nan
    return audio


@torch.no_grad()
def check_alone(codec: NeuralCodec, lengths: Sequence[int], *, spare: int = 0, distinct: int = 2) -> None:
    """Latents and audio to 1e-5 of their peak, codes exactly those that each clip has alone, zeros beyond."""
    audio = padded_batch(lengths, spare=spare)
    seen: list[Tensor] = []  # the latents of each encoding
    codec.quantizer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    codes = codec.encode(audio, torch.tensor(lengths))
    latents = seen[-1]
    assert codes.shape[-1] == latents.shape[-1] == codec.frame_count(audio.shape[-1])
    frames = [codec.frame_count(length) for length in lengths]
    sent = codes.clone()
    for row, count in enumerate(frames):
        sent[row, :, count:] = 10**6  # no code
    decoded = codec.decode(sent, lengths=frames)
    assert decoded.shape == (len(lengths), 1, codes.shape[-1] * codec.decoder.hop_length)
    assert codes.unique().numel() >= distinct
    for row, (length, count) in enumerate(zip(lengths, frames, strict=True)):
        alone = audio[row : row + 1, :, :length]
        own = codec.encode(alone)[0]
        expected = seen[-1][0]
        torch.testing.assert_close(
            latents[row, :, :count], expected, atol=1e-5 * expected.abs().max().item(), rtol=0, msg=f"latents {row}"
        )
        assert torch.equal(codes[row, :, :count], own), f"codes of clip {row}"
        wave = codec.decode(codes[row : row + 1, :, :count])[0]
        end = wave.shape[-1]
        atol = 1e-5 * max(1.0, wave.abs().max().item())
        torch.testing.assert_close(decoded[row, :, :end], wave, atol=atol, rtol=0, msg=f"audio {row}")
        assert not latents[row, :, count:].any() and not codes[row, :, count:].any()
        assert not decoded[row, :, end:].any()
