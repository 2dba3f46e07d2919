"""Batches of clips of unequal lengths: where each ends, and parts run such that what lies beyond changes nothing."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.errors import InvalidValue

Lengths = Tensor | Sequence[int]  # of the clips of a batch, one whole number each


class Extents:
    """How far each clip of a padded batch reaches along the axis of time.

    Attributes:
        counts: positions of each clip, known on the host, so that nothing waits for a GPU.
        outside: bool `[B, T]` on the batch's device, True beyond a clip's end.
    """

    def __init__(self, counts: Sequence[int], outside: Tensor) -> None:
        self.counts, self.outside = tuple(counts), outside

    @classmethod
    def of(cls, counts: Sequence[int], size: int, device: torch.device) -> "Extents":
        """The extents of clips of `counts` positions in a batch of `size` positions."""
        ends = torch.tensor(counts).to(device, non_blocking=True)
        return cls(counts, torch.arange(size, device=device) >= ends[:, None])

    def strided(self, stride: int) -> "Extents":
        """The same at a rate lower by `stride`, of which all counts must be multiples."""
        return Extents([count // stride for count in self.counts], self.outside[:, ::stride])

    def repeated(self, times: int) -> "Extents":
        """The same at a rate `times` as high."""
        counts = [count * times for count in self.counts]
        return Extents(counts, self.outside.repeat_interleave(times, dim=1))

    def silence(self, x: Tensor) -> Tensor:
        """`[B, C, T]` with zeros beyond each clip's end, whatever was there."""
        return x.masked_fill(self.outside[:, None, : x.shape[-1]], 0)

    def fit(self, x: Tensor) -> Tensor:
        """`[B, C, n]` with T positions, and zeros beyond each clip's end."""
        return self.silence(F.pad(x, (0, self.outside.shape[1] - x.shape[-1])))

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the time of each clip: float `[B, C, T]` to `[B, C, 1]`."""
        lengths = (~self.outside).sum(-1).to(x.dtype)
        return self.silence(x).sum(-1, keepdim=True) / lengths[:, None, None]


def silenced(x: Tensor, extents: Extents | None) -> Tensor:
    """`Extents.silence` of `[B, C, T]`, as a convolution with zero padding needs it; without extents `x` itself."""
    return x if extents is None else extents.silence(x)


def run_padded(
    part: nn.Module, x: Tensor, counts: Sequence[int], *, hops: tuple[int, int] = (1, 1), time: int = -1
) -> Tensor:
    """Run an encoder, a backbone or a decoder on clips of unequal lengths, each as if it were alone.

    A part with `takes_extents` masks what lies beyond each end in its own `forward(x, extents)`. One with a bounded
    `receptive_field` runs on the whole batch, and again on the clips' last frames, as far as they see beyond the end;
    clips too short for that run beside those of their length. Any other part runs on groups of equal length.

    Args:
        part: maps `[B, C, F * hops[0]]` to F · hops[1] positions, along axis `time` of its output.
        x: `[B, C, T]`, with silence or zeros beyond each clip's end.
        counts: positions of each clip, 1 to T.
        hops: positions of input and of output in a frame.
        time: axis of time of the output, the last by default.

    Returns:
        The outputs, with anything beyond each clip's own.
    """
    if getattr(part, "takes_extents", False):
        return part(x, Extents.of(counts, x.shape[-1], x.device))
    if len(set(counts)) == 1:
        return part(x[..., : counts[0]])
    field: Any = part.receptive_field
    if field is None or any(count % hops[0] for count in counts):
        return _by_length(part, x, counts, range(len(counts)), None, time)
    before, after = field
    longest, tail = max(counts), before + after
    y = part(x[..., :longest])
    if after == 0:
        return y
    ends = [row for row, count in enumerate(counts) if tail * hops[0] < count < longest]
    if ends:
        starts = [counts[row] - tail * hops[0] for row in ends]
        cuts = torch.stack([x[row, :, start : counts[row]] for row, start in zip(ends, starts, strict=True)])
        last = part(cuts).movedim(time, -1)[..., before * hops[1] :]  # [R, C', after * hops[1]]
        stops = [counts[row] // hops[0] * hops[1] for row in ends]
        rows, stops_there = torch.tensor([ends, stops])[..., None].to(x.device, non_blocking=True)
        places = stops_there + torch.arange(-after * hops[1], 0, device=x.device)
        y = y.movedim(time, -1).clone()
        y[rows, :, places] = last.movedim(-1, 1).to(y.dtype)
        y = y.movedim(-1, time)
    short = [row for row, count in enumerate(counts) if count <= tail * hops[0] and count < longest]
    return _by_length(part, x, counts, short, y.clone(), time) if short else y


def _by_length(
    part: nn.Module, x: Tensor, counts: Sequence[int], rows: Sequence[int], into: Tensor | None, time: int
) -> Tensor:
    """The outputs of some rows, those of one length at a time, written over `into` or a new batch of zeros."""
    found = into
    for count in sorted({counts[row] for row in rows}, reverse=True):
        same = [row for row in rows if counts[row] == count]
        y = part(torch.stack([x[row, :, :count] for row in same])).movedim(time, -1)
        if found is None:
            found = y.new_zeros(len(counts), *y.shape[1:]).movedim(-1, time)
        for row, clip in zip(same, y, strict=True):
            found.movedim(time, -1)[row, :, : clip.shape[-1]] = clip
    assert found is not None
    return found


def batch_extents(batch: Tensor, lengths: Any, *, unit: str) -> Extents:
    """The extents of clips of given lengths in a batch.

    Args:
        batch: `[B, C, T]`.
        lengths: a sequence of whole numbers, or a tensor of them; one on a GPU is waited for.
        unit: of the lengths, in messages.

    Raises:
        InvalidValue: not one whole number for each clip, or one outside 1 … T.
    """
    clips, longest = batch.shape[0], batch.shape[-1]
    if isinstance(lengths, Tensor) and (
        lengths.is_floating_point() or lengths.ndim != 1 or lengths.dtype == torch.bool
    ):
        found = f"{str(lengths.dtype).removeprefix('torch.')} of shape {list(lengths.shape)}"
        raise InvalidValue("lengths", found, f"must be one whole number of {unit} for each clip")
    if not isinstance(lengths, (Tensor, Sequence)) or isinstance(lengths, str):
        allowed = f"must be one whole number of {unit} for each clip"
        raise InvalidValue("lengths", repr(lengths)[:60], allowed, f"give a list of {clips}")
    counts = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    if len(counts) != clips or not all(isinstance(count, int) and 1 <= count <= longest for count in counts):
        raise InvalidValue("lengths", counts, f"must be {clips} numbers of {unit}, each from 1 to {longest}")
    return Extents.of(counts, longest, batch.device)
