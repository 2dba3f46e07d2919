"""Concealment: which latents the decoder gets where codes were lost or are known by their probabilities only."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from codec.channels.receiving.priors import chain_posteriors
from codec.channels.receiving.reception import Receiver, Reception
from codec.errors import InvalidValue

SOFT_FRAMES = 64  # frames whose code probabilities are held at once: 16 bits make 65,536 of them a frame


class Concealment(ABC):
    """Makes latents from what was received.

    `RepeatLast` and `InterpolatedLatent` count a frame as lost if the code of its first codebook is lost, as if later
    codebooks only refined the first; a later code that is lost by itself contributes its mean. That is right for an RVQ
    trained with stage dropout; otherwise a later stage can matter more than the first.

    Attributes:
        delay_frames: frames of look-ahead; 0 where they depend on the reception.
    """

    delay_frames: int = 0

    @abstractmethod
    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        """Latents float32 `[B, D, F]` for the decoder."""

    def check(self, receiver: Receiver) -> None:  # noqa: B027 - most fit any receiver
        """Refuse a receiver that this concealment does not fit; called when a link is connected.

        Raises:
            InvalidValue: it does not fit.
        """

    def delay(self, receiver: Receiver) -> int:
        """Frames of look-ahead at this receiver; of a whole clip they are not counted."""
        return self.delay_frames


class MeanLatent(Concealment):
    """A lost code contributes its mean: under the link's prior, or of equally likely codes."""

    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        return receiver.decode(reception.codes, reception.erased)


class ZeroLatent(Concealment):
    """A lost code contributes zero before the quantizer's output projection; for FSQ that is level ⌊L/2⌋."""

    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        return receiver.quantizer.decode(reception.codes, reception.erased)


class RepeatLast(Concealment):
    """A lost frame repeats the codes of the last frame received; before the first, it is the mean (`MeanLatent`).

    If a frame has a single code of several digits and some of its bits arrived, as error correction can leave it, only
    the digits that lost a bit are repeated, each from the last frame in which it arrived.
    """

    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        several = [len(sizes) > 1 for sizes in receiver.quantizer.digits] == [True]
        digits = receiver.digit_decisions(reception.bits) if several else None
        if digits is not None and reception.bits.is_floating_point():
            return self._repeat_digits(receiver, digits[0])
        erased = reception.erased | reception.erased[:, :1]
        source = _last_received(~erased[:, :1]).expand_as(reception.codes)  # [B, K, F]
        return receiver.decode(reception.codes.gather(-1, source), erased.gather(-1, source))

    def _repeat_digits(self, receiver: Receiver, digits: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Latents of the code of each frame, put together from its digits' values `[B, F]` and where they are lost."""
        found = []
        for (values, lost), mean in zip(digits, receiver.digit_means(digits[0][0].device)[0], strict=True):
            source = _last_received(~lost)
            known = one_hot(values.gather(-1, source), mean.shape[-1]).to(mean)  # [B, F, L]
            found.append(torch.where(lost.gather(-1, source)[..., None], mean, known))
        return receiver.quantizer.decode_digits([found])


class InterpolatedLatent(Concealment):
    """Lost frames are interpolated linearly between the latents before and after the loss.

    A loss at the start or end of the clip repeats the nearest latent; if no frame was received, all are the mean
    as in `MeanLatent`. The method looks ahead to the next frame received, which delays a live receiver.
    """

    def check(self, receiver: Receiver) -> None:
        if not receiver.quantizer.averages:
            allowed = "needs latents, of which an external codec has none"
            raise InvalidValue(
                "InterpolatedLatent", None, allowed, "take codec.RepeatLast, or none for the codec's own"
            )

    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        erased = reception.erased | reception.erased[:, :1]
        latents = receiver.decode(reception.codes, erased)  # [B, D, F]
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
        keep = received | ~received.any(-1, keepdim=True)  # a clip of which nothing was received keeps its means
        return torch.where(keep[:, None], latents, interpolated)


class PosteriorMean(Concealment):
    """The expected latent E[z | received bits], which minimises the mean squared error.

    Without a prior in the link it is Σ P(code | bits) · z(code) of each frame by itself, with the probabilities of
    `Connection.code_probabilities`: with hard decisions the latent of the codes received; a lost bit averages over both
    its values, and the latent of a lost frame is the mean over all codes. With a prior, each digit of a code is a
    Markov chain over the frames, so that neighbouring frames count too, and lost frames are bridged (soft source
    decoding, Fingscheidt and Vary 2001). An index map whose codewords mix digits allows the prior's histograms only.

    Args:
        lost: conceals frames of which no bit arrived; by default they are treated as the others.
        lookahead: with a prior, frames after a frame that count for it, the delay of a live receiver; None for the
            whole clip.

    Raises:
        InvalidValue: `lookahead` is below 0.
    """

    def __init__(self, lost: Concealment | None = None, *, lookahead: int | None = None) -> None:
        if lookahead is not None and lookahead < 0:
            raise InvalidValue("lookahead", lookahead, "must be at least 0 frames, or null for the whole clip")
        self.lost, self.lookahead = lost, lookahead
        self.delay_frames = max(lookahead or 0, lost.delay_frames if lost else 0)

    def check(self, receiver: Receiver) -> None:
        if self.lookahead and receiver.prior is None:
            allowed = "needs a prior: without one, no frame counts for another"
            raise InvalidValue("lookahead", self.lookahead, allowed, "add codec.CodePrior to the link")
        if self.lost is not None:
            self.lost.check(receiver)

    def delay(self, receiver: Receiver) -> int:
        """0 of its own where the index map mixes digits, as then no frame counts for another."""
        own = (self.lookahead or 0) if receiver.keeps_digits_apart else 0
        return max(own, self.lost.delay(receiver) if self.lost is not None else 0)

    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        mean = self._mean(receiver, reception.bits)
        if self.lost is None or not reception.bits.is_floating_point():
            return mean
        nothing = (reception.bits == 0.5).all(-1)[:, None]  # [B, 1, F]
        return torch.where(nothing, self.lost(receiver, reception), mean)

    def _mean(self, receiver: Receiver, bits: Tensor) -> Tensor:
        """Expected latents `[B, D, F]` of bits `[B, F, n]`."""
        prior, likelihoods = receiver.prior, receiver.digit_likelihoods(bits)
        if likelihoods is None:
            return self._frame_by_frame(receiver, bits)
        if prior is None:
            equal = [[_normalised(digit).float() for digit in digits] for digits in likelihoods]
            return receiver.quantizer.decode_digits(equal)
        posteriors = [
            self._chains(*digits) for digits in zip(likelihoods, prior.histograms, prior.transitions, strict=True)
        ]
        return receiver.quantizer.decode_digits(posteriors)

    def _chains(
        self, likelihoods: Sequence[Tensor], histograms: Sequence[Tensor], transitions: Sequence[Tensor]
    ) -> list[Tensor]:
        """P(value | received bits), float32 `[B, F, L]`, of each digit of a codebook; digits of one size together."""
        found: dict[int, Tensor] = {}
        sizes = [len(histogram) for histogram in histograms]
        for size in set(sizes):
            alike = [i for i, other in enumerate(sizes) if other == size]
            stacked = torch.stack([likelihoods[i] for i in alike], 1)  # [B, G, F, L]
            first, chains = (torch.stack([part[i] for i in alike]) for part in (histograms, transitions))
            posteriors = chain_posteriors(stacked, first, chains, self.lookahead).float()
            found |= dict(zip(alike, posteriors.unbind(1), strict=True))
        return [found[i] for i in range(len(sizes))]

    def _frame_by_frame(self, receiver: Receiver, bits: Tensor) -> Tensor:
        """The same from each frame's bits alone, a clip and `SOFT_FRAMES` frames at a time."""
        clips = [
            [receiver.quantizer.decode_mean(receiver.code_probabilities(part)) for part in clip.split(SOFT_FRAMES, 1)]
            for clip in bits.split(1)
        ]
        return torch.cat([torch.cat(parts, -1) for parts in clips])


def _normalised(likelihoods: Tensor) -> Tensor:
    """P(value) `[B, F, L]` of likelihoods of equally likely values; equal where all of them are zero."""
    total = likelihoods.sum(-1, keepdim=True)
    return torch.where(
        total > 0, likelihoods / total.clamp_min(torch.finfo(total.dtype).tiny), 1 / likelihoods.shape[-1]
    )


def _last_received(received: Tensor) -> Tensor:
    """Index of the last True up to each place of bool `[..., F]`; of the place itself, where there is none."""
    frame = torch.arange(received.shape[-1], device=received.device).expand_as(received)
    last = torch.where(received, frame, -1).cummax(-1).values
    return torch.where(last < 0, frame, last)
