"""A channel that deletes and inserts bits, and a receiver that finds their places (Davey and MacKay 2001)."""

import torch
from torch import Tensor

from codec.channels.base import Channel, check_frames, check_share, uncertain
from codec.channels.timing.drift import DriftModel, bit_posteriors
from codec.channels.timing.markers import Markers
from codec.errors import InvalidValue


class InsertionDeletionChannel(Channel):
    """Deletes, inserts and flips bits; the receiver returns the posterior probability of every payload bit.

    The bits of a clip `[F, n]`, in row order, are one message, with the markers among them if there are any. At each
    bit sent, payload or marker, random bits are inserted before it and it is deleted, or arrives and may be flipped, as
    `DriftModel` states. The receiver knows the probabilities, the markers and their places in what was sent, and the
    payload's length; it runs the exact forward-backward algorithm over the drift (`bit_posteriors`), of which it
    considers at least six standard deviations. Receptions outside, one in some hundred million, return all of the clip
    as lost. It looks at the whole clip; this look-ahead is not counted in `delay_frames`, as that of
    `ConvolutionalCode` is not: behind a marker or two, later bits change little.

    Realisations are nested over the rates: the same bits are deleted, flipped and inserted before, and more.
    `error_rate` is the expected number of insertions, deletions and flips for each bit sent, before resynchronisation
    (at most 1): after it, payload bits are wrong less often or more, which no closed form gives.

    >>> channel = InsertionDeletionChannel(0.01, 0.01, markers=Markers([0, 1], spacing=8))
    >>> channel.channel_bits(frames=10, frame_bits=16), round(channel.error_rate, 4)
    (200, 0.02)

    Args:
        deletion_rate: p_d, probability that a bit is deleted.
        insertion_rate: p_i, probability that a random bit is inserted before a bit (and then another one).
        flip_rate: p_s, probability that a bit that arrives is flipped.
        markers: known bits among the payload; None for none.
        most_insertions: insertions before a bit at most.
        max_drift: the receiver considers drifts of at most so many bits either way; None for what the rates and the
            clip's length ask for.
        known_length: the receiver knows where the clip ends in what it receives; otherwise random bits go on behind it.

    Raises:
        InvalidValue: a rate is outside [0, 1], p_d is 1, or a number is below 1; when called, bits without a frame
            axis.
    """

    family = "insertion-deletion"

    def __init__(
        self,
        deletion_rate: float,
        insertion_rate: float,
        *,
        flip_rate: float = 0.0,
        markers: Markers | None = None,
        most_insertions: int = 1,
        max_drift: int | None = None,
        known_length: bool = True,
    ) -> None:
        for option, rate in (("deletion_rate", deletion_rate), ("insertion_rate", insertion_rate)):
            check_share(option, rate)
        check_share("flip_rate", flip_rate)
        if deletion_rate == 1:
            raise InvalidValue("deletion_rate", deletion_rate, "leaves nothing to receive", "take 0.01")
        if not 1 <= most_insertions <= 100:
            raise InvalidValue("most_insertions", most_insertions, "must be from 1 to 100", "take 1")
        if max_drift is not None and max_drift < 1:
            raise InvalidValue("max_drift", max_drift, "must be at least 1 bit, or null")
        self.model = DriftModel(deletion_rate, insertion_rate, flip_rate, most_insertions)
        self.markers, self.max_drift, self.known_length = markers, max_drift, known_length
        events = self.model.mean_insertions + deletion_rate + (1 - deletion_rate) * flip_rate
        self.error_rate = min(1.0, events)
        self._kind = self.family + ("" if markers is None else f"-markers{markers.name}")
        self._kind += f"-most{most_insertions}" if most_insertions > 1 else ""
        self._kind += "" if known_length else "-open"
        self._kind += "" if max_drift is None else f"-drift{max_drift}"
        self.name = f"{self._kind}-{deletion_rate:g}-{insertion_rate:g}-{flip_rate:g}"

    @property
    def curve(self) -> str:
        return self._kind

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits sent for `frames` frames of `frame_bits` each, markers included."""
        length = frames * frame_bits
        return length if self.markers is None else self.markers.sent_bits(length)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """Transmit uint8 `[..., F, n]`; each clip of F frames is a message of its own.

        Returns:
            The same shape, float32 probabilities of a one: exactly 0 or 1 only where nothing was deleted, inserted or
            flipped and the received length shows it; uint8 if all three rates are 0.
        """
        check_frames(bits)
        if not bits.numel() or self.error_rate == 0.0:
            return bits.clone()
        clips = bits.flatten(-2).reshape(-1, bits.shape[-1] * bits.shape[-2]).cpu()
        found = [self._transmit(clip, generator) for clip in clips]
        return torch.stack(found).view(bits.shape).to(bits.device)

    def damage(self, sent: Tensor, generator: torch.Generator) -> Tensor:
        """What arrives of uint8 `[N]`: uint8 `[R]`, in which deleted bits are missing and inserted ones stand."""
        model, length = self.model, len(sent)

        def draw(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, dtype=torch.float64)

        deleted = draw(length) < model.deletion
        flipped = draw(length) < model.flip
        inserted = (draw(model.most_insertions, length) < model.insertion).cumprod(0).bool()  # each allows the next
        values = (draw(model.most_insertions, length) < 0.5).to(torch.uint8)
        events = torch.cat([values, (sent ^ flipped.to(torch.uint8))[None]]).T  # [N, I + 1]
        return events[torch.cat([inserted, ~deleted[None]]).T]

    def _transmit(self, payload: Tensor, generator: torch.Generator) -> Tensor:
        """Send uint8 `[N]` and resynchronise: float32 probabilities of a one, `[N]`."""
        sent = payload if self.markers is None else self.markers.insert(payload)
        received = self.damage(sent, generator)
        model, certain = self.model, len(received) == len(sent) and self.known_length
        if certain and model.flip == 0.0 and 0.0 in (model.deletion, model.insertion):
            return payload.float()  # none was deleted, as none can have been inserted, or the reverse
        low, high = model.drift_limits(len(sent))
        if self.max_drift is not None:
            low, high = max(low, -self.max_drift), min(high, self.max_drift)
        if not self.known_length:
            following = max(0, len(sent) + high - len(received))
            most = len(sent) * (1 + model.most_insertions)  # as many draws whatever arrived, for common random numbers
            tail = torch.rand(most, generator=generator, dtype=torch.float64)[:following] < 0.5
            received = torch.cat([received, tail.to(torch.uint8)])
        layout = torch.full((len(sent),), -1) if self.markers is None else self.markers.layout(len(payload))
        ones = torch.where(layout < 0, 0.5, layout.double()).numpy()
        found = bit_posteriors(received.numpy(), ones, model, (low, high), known_length=self.known_length)
        if found is None:
            return torch.full((len(payload),), 0.5)
        return uncertain(torch.from_numpy(found[0][(layout < 0).numpy()]).float())
