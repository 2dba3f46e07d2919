"""How far a flip of each bit of a frame moves the latent: the order of bits for unequal error protection."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from codec.channels.receiving.reception import Reception
from codec.quantizers.base import Quantizer


class Coded(Protocol):
    """What of a `Connection` it takes."""

    quantizer: Quantizer
    bits_per_frame: int

    def send(self, codes: Tensor) -> Tensor:
        """Codes int64 `[B, K, F]` to bits uint8 `[B, F, n]`."""

    def receive(self, bits: Tensor) -> Reception:
        """Received bits `[B, F, n]` to codes."""


def bit_displacements(connection: Coded, codes: Tensor | None = None) -> Tensor:
    """How far a flip of each bit of the frame moves the latent: E‖z' − z‖² / E‖z − E z‖².

    z is the latent of the codes as sent and z' that of the codes received after the flip, both before concealment. A
    flip that gives a codeword without a code counts as an erasure.

    Args:
        connection: link and quantizer.
        codes: int64 `[B, K, F]` to flip bits of; 4096 frames of equally likely codes by default.

    Returns:
        float64 `[n]` on the CPU; NaN where distances of the quantizer's latents say nothing.
    """
    quantizer = connection.quantizer
    if not quantizer.averages:
        return torch.full((connection.bits_per_frame,), torch.nan, dtype=torch.float64)
    if codes is None:
        generator = torch.Generator().manual_seed(0)
        sizes: Sequence[int] = quantizer.codebook_sizes
        codes = torch.stack([torch.randint(size, (1, 4096), generator=generator) for size in sizes], 1)
    bits = connection.send(codes.to(quantizer.device))
    with torch.no_grad():
        sent = _unconcealed_latents(connection, bits)
        power = (sent - sent.mean((0, 2), keepdim=True)).square().sum(1).mean().clamp_min(1e-30)
        displacements = []
        for bit in range(connection.bits_per_frame):
            flipped = bits.clone()
            flipped[..., bit] ^= 1
            received = _unconcealed_latents(connection, flipped)
            displacements.append(((received - sent).square().sum(1).mean() / power).item())
    return torch.tensor(displacements, dtype=torch.float64)


def _unconcealed_latents(connection: Coded, bits: Tensor) -> Tensor:
    """Latents float64 `[B, D, F]` of bits `[B, F, n]`, with zero for codes that are erased."""
    reception = connection.receive(bits)
    return connection.quantizer.decode(reception.codes, reception.erased).double()
