"""Concealment: which latents the decoder gets where codes were lost or are known by their probabilities alone."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from codec.channels.link import Connection, Reception

SOFT_FRAMES = 64  # frames whose code probabilities are held at once: 16 bits make 65,536 of them a frame


class Concealment(ABC):
    """Makes latents of a reception.

    A frame counts as lost where its first codebook's code is: what later codebooks refine is then missing. A later
    code that is lost alone adds nothing to the latent.
    """

    @abstractmethod
    def __call__(self, connection: "Connection", reception: "Reception") -> Tensor:
        """Latents float32 `[B, D, F]` for the decoder."""


class ZeroLatent(Concealment):
    """A lost code contributes zero before the output projection, FSQ's middle level."""

    def __call__(self, connection: "Connection", reception: "Reception") -> Tensor:
        return connection.quantizer.decode(reception.codes, reception.erased)


class RepeatLast(Concealment):
    """A lost frame repeats the last one received; before the first, it is zero."""

    def __call__(self, connection: "Connection", reception: "Reception") -> Tensor:
        erased = reception.erased | reception.erased[:, :1]
        good = ~erased[:, :1]  # [B, 1, F]
        place = torch.arange(good.shape[-1], device=good.device).expand_as(good)
        last = torch.where(good, place, -1).cummax(-1).values
        source = torch.where(last < 0, place, last).expand_as(reception.codes)
        return connection.quantizer.decode(reception.codes.gather(-1, source), erased.gather(-1, source))


class InterpolatedLatent(Concealment):
    """Lost frames lie on the line between the latents before and after; at either end the nearest is repeated.

    It looks ahead to the next frame received, which costs a live receiver that delay.
    """

    def __call__(self, connection: "Connection", reception: "Reception") -> Tensor:
        erased = reception.erased | reception.erased[:, :1]
        latents = connection.quantizer.decode(reception.codes, erased)
        good = ~erased[:, 0]  # [B, F]
        frames = good.shape[-1]
        place = torch.arange(frames, device=good.device).expand_as(good)
        before = torch.where(good, place, -1).cummax(-1).values
        after = torch.where(good, place, frames).flip(-1).cummin(-1).values.flip(-1)
        left = torch.where(before < 0, after, before).clamp_max(frames - 1)
        right = torch.where(after == frames, left, after)
        share = ((place - left) / (right - left).clamp_min(1)).clamp(0, 1)[:, None].to(latents.dtype)
        ends = [latents.gather(-1, end[:, None].expand_as(latents)) for end in (left, right)]
        mended = torch.lerp(ends[0], ends[1], share)
        known = good | ~good.any(-1, keepdim=True)  # nothing received at all: leave the zeros
        return torch.where(known[:, None], latents, mended)


class PosteriorMean(Concealment):
    """The expected latent given the bits' probabilities: the least mean squared error of soft decisions.

    With hard bits it is the plain latent; a lost bit averages over both its values (`Connection.code_probabilities`).

    Args:
        lost: conceals frames of which no bit arrived; None takes their mean as well.
    """

    def __init__(self, lost: Concealment | None = None) -> None:
        self.lost = lost

    def __call__(self, connection: "Connection", reception: "Reception") -> Tensor:
        mean = self._mean(connection, reception)
        if self.lost is None or not reception.bits.is_floating_point():
            return mean
        nothing = (reception.bits == 0.5).all(-1)[:, None]  # [B, 1, F]
        return torch.where(nothing, self.lost(connection, reception), mean)

    def _mean(self, connection: "Connection", reception: "Reception") -> Tensor:
        parts = [
            connection.quantizer.decode_mean(connection.code_probabilities(bits))
            for item in reception.bits.split(1)
            for bits in item.split(SOFT_FRAMES, 1)
        ]
        each = -(-reception.bits.shape[1] // SOFT_FRAMES)
        return torch.cat([torch.cat(parts[i : i + each], -1) for i in range(0, len(parts), each)])
