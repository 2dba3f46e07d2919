"""Evaluation clips of any length: long ones come in pieces, one after the other on one rank."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from torch.utils.data import Dataset, Sampler

from data.audio.pieces import LongClip, PieceReader
from data.datasets.crops import ClipDataset
from data.sampling import ShardSampler
from data.sources.base import Clip


class PieceDataset(Dataset[dict[str, Any]]):
    """The items of a `ClipDataset`, but for long clips their pieces, one after the other.

    A piece is what a clip is, {"audio", "id", "path", "speaker", "text"} and where they belong "target" and "gain_db",
    and further "piece", its number from 0 on, "pieces", how many there are, and "samples", of the whole clip. Its text
    is that of the whole clip.

    Args:
        whole: all clips, as wholes.
        clips: the same.
        reader: of pieces.
        long: the clips that come in pieces, by their number.
    """

    def __init__(
        self, whole: ClipDataset, clips: Sequence[Clip], *, reader: PieceReader, long: Mapping[int, LongClip]
    ) -> None:
        self._whole, self._clips, self._reader, self._long = whole, clips, reader, long
        self._numbers = sorted(long)
        self._added = list(accumulate((long[number].pieces - 1 for number in self._numbers), initial=0))  # items
        self._firsts = [number + more for number, more in zip(self._numbers, self._added, strict=False)]

    def __len__(self) -> int:
        return len(self._clips) + self._added[-1]

    @property
    def clip_count(self) -> int:
        return len(self._clips)

    def stands_alone(self, index: int) -> bool:
        """Whether an item shares no batch: it is a piece of a long clip."""
        return self._place(index)[0] in self._long

    def items(self, clips: Iterable[int]) -> Iterator[int]:
        """The numbers of the items of clips, in order."""
        for clip in clips:
            first = clip + self._added[bisect_left(self._numbers, clip)]
            yield from range(first, first + (self._long[clip].pieces if clip in self._long else 1))

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip, piece = self._place(index)
        if clip not in self._long:
            return self._whole[clip]
        long, listed = self._long[clip], self._clips[clip]
        waves = self._reader.read(listed.path, listed.segment, long, piece)
        item = self._whole.described(listed, waves, None if self._reader.loudness is None else long.gain_db)
        return {**item, "piece": piece, "pieces": long.pieces, "samples": long.samples}

    def _place(self, index: int) -> tuple[int, int]:
        """The clip of an item, and the piece of it."""
        k = bisect_right(self._firsts, index) - 1  # the last long clip that begins at or before the item
        if k < 0:
            return index, 0
        clip, piece = self._numbers[k], index - self._firsts[k]
        pieces = self._long[clip].pieces
        return (clip, piece) if piece < pieces else (clip + 1 + piece - pieces, 0)


class PieceSampler(Sampler[int]):
    """The items of the clips that another sampler chooses: each clip's pieces one after the other."""

    def __init__(self, dataset: PieceDataset, clips: ShardSampler) -> None:
        self._dataset, self._clips = dataset, clips

    def __iter__(self) -> Iterator[int]:
        return self._dataset.items(self._clips)

    def __len__(self) -> int:
        return sum(1 for _ in self)
