"""Concealment: which latents the decoder gets where codes were lost or are known by their probabilities only."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from codec.channels.reception import Receiver, Reception

SOFT_FRAMES = 64  # frames whose code probabilities are held at once: 16 bits make 65,536 of them a frame


class Concealment(ABC):
    """Makes latents from what was received.

    A frame counts as lost if the code of its first codebook is lost, because later codebooks only refine the first. A
    later code that is lost by itself adds nothing to the latent.
    """

    @abstractmethod
    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        """Latents float32 `[B, D, F]` for the decoder."""


class ZeroLatent(Concealment):
    """A lost code contributes zero before the quantizer's output projection; for FSQ that is the middle level."""

    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        return receiver.quantizer.decode(reception.codes, reception.erased)


class RepeatLast(Concealment):
    """A lost frame repeats the codes of the last frame received; before the first, it is zero as in `ZeroLatent`."""

    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        erased = reception.erased | reception.erased[:, :1]
        received = ~erased[:, :1]  # [B, 1, F]
        frame = torch.arange(received.shape[-1], device=received.device).expand_as(received)
        last = torch.where(received, frame, -1).cummax(-1).values
        source = torch.where(last < 0, frame, last).expand_as(reception.codes)  # [B, K, F]
        return receiver.quantizer.decode(reception.codes.gather(-1, source), erased.gather(-1, source))


class InterpolatedLatent(Concealment):
    """Lost frames are interpolated linearly between the latents before and after the loss.

    A loss at the start or end of the clip repeats the nearest latent; if no frame was received, all are zero as in
    `ZeroLatent`. The method looks ahead to the next frame received, which delays a live receiver.
    """

    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        erased = reception.erased | reception.erased[:, :1]
        latents = receiver.quantizer.decode(reception.codes, erased)  # [B, D, F]
        received = ~erased[:, 0]  # [B, F]
        frames = received.shape[-1]
        frame = torch.arange(frames, device=received.device).expand_as(received)
        before = torch.where(received, frame, -1).cummax(-1).values
        after = torch.where(received, frame, frames).flip(-1).cummin(-1).values.flip(-1)
        left = torch.where(before < 0, after, before).clamp_max(frames - 1)
        right = torch.where(after == frames, left, after)
        share = ((frame - left) / (right - left).clamp_min(1)).clamp(0, 1)[:, None].to(latents.dtype)
        ends = [latents.gather(-1, end[:, None].expand_as(latents)) for end in (left, right)]
        interpolated = torch.lerp(ends[0], ends[1], share)
        keep = received | ~received.any(-1, keepdim=True)  # a clip of which nothing was received keeps its zeros
        return torch.where(keep[:, None], latents, interpolated)


class PosteriorMean(Concealment):
    """The expected latent E[z | bits] = Σ P(code | bits) · z(code), which minimises the mean squared error.

    With hard decisions it is the latent of the codes received; a lost bit averages over both its values. The
    probabilities are those of `Connection.code_probabilities`.

    Args:
        lost: conceals frames of which no bit arrived; by default their latent is the mean over all codes.
    """

    def __init__(self, lost: Concealment | None = None) -> None:
        self.lost = lost

    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        mean = self._mean(receiver, reception.bits)
        if self.lost is None or not reception.bits.is_floating_point():
            return mean
        nothing = (reception.bits == 0.5).all(-1)[:, None]  # [B, 1, F]
        return torch.where(nothing, self.lost(receiver, reception), mean)

    def _mean(self, receiver: Receiver, bits: Tensor) -> Tensor:
        """Expected latents `[B, D, F]` of bits `[B, F, n]`, a clip and `SOFT_FRAMES` frames at a time."""
        clips = [
            [receiver.quantizer.decode_mean(receiver.code_probabilities(part)) for part in clip.split(SOFT_FRAMES, 1)]
            for clip in bits.split(1)
        ]
        return torch.cat([torch.cat(parts, -1) for parts in clips])
