"""The contract of corpora: a source that lists clips; and functions on such lists."""

import copy
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple, overload

import numpy as np

from data.audio.files import Segment
from data.audio.reading import probe
from data.errors import AudioReadError, DataError


class Clip(NamedTuple):
    """One recording, or a segment of one.

    Attributes:
        path: its file, or its place in a shard.
        id: names it in results; the same on every machine.
        seconds: its length; None where the source does not state it.
        speaker: None where not known.
        start: where in the file the segment begins, in seconds; None for the whole file. A segment of unknown length
            reaches to the end of its file.
        text: what is said in all of it, as written; None where not known.
    """

    path: str
    id: str
    seconds: float | None = None
    speaker: str | None = None
    start: float | None = None
    text: str | None = None

    @property
    def segment(self) -> Segment | None:
        """What of its file is read; None for the whole file."""
        return None if self.start is None else Segment(self.start, self.seconds)

    @property
    def name(self) -> str:
        """The path, and for a segment where it begins: names it in the log."""
        return self.path if self.segment is None else self.segment.name(self.path)


class AudioSource(ABC):
    """A corpus. A new one implements `clips`; `prepare` too, if there is something to download or to make.

    Attributes:
        reads_text: whether `clips` finds out what is said; False in the copy of the source that lists for training.
    """

    reads_text = True

    def prepare(self) -> None:  # noqa: B027 - most corpora have nothing to prepare
        """Download or make the corpus. Called in one process on each machine, before `clips` in any process."""

    def probe(self, clip: Clip) -> float:
        """Length of a clip in seconds, by its file's header. Raises AudioReadError unless it can be opened."""
        info = probe(clip.path, clip.segment)
        return info.frames / info.rate

    @abstractmethod
    def clips(self) -> Sequence[Clip]:
        """All clips, in an order that is the same on every machine. Raises DataError when there are none."""

    def clips_without_text(self) -> Sequence[Clip]:
        """The same clips for training, which reads no transcripts: a list in memory holds none.

        They are those of `clips` of a copy of this source whose `reads_text` is False.
        """
        source = copy.copy(self)
        source.reads_text = False
        clips = source.clips()
        if isinstance(clips, ClipSequence) or all(clip.text is None for clip in clips):
            return clips
        return [clip._replace(text=None) for clip in clips]


class ClipSequence(Sequence[Clip]):
    """Clips that are not all in memory: each is made when it is asked for. A slice is another view, not a copy."""

    @abstractmethod
    def clip(self, number: int) -> Clip:
        """The clip with a number from 0 on."""

    @overload
    def __getitem__(self, place: int) -> Clip: ...
    @overload
    def __getitem__(self, place: slice) -> "SelectedClips": ...
    def __getitem__(self, place: int | slice) -> "Clip | SelectedClips":
        numbers = range(len(self))[place]
        return self.clip(numbers) if isinstance(numbers, int) else self.selected(numbers)

    def selected(self, numbers: Sequence[int] | np.ndarray) -> "SelectedClips":
        """The clips with these numbers, in this order."""
        return SelectedClips(self, numbers)

    def stated_seconds(self) -> Any:
        """The length of each clip: float64, and NaN where the source does not state it; an array, or sliced to one."""
        return stated_seconds(self)

    def known_unique(self) -> bool:
        """Whether an earlier run has found that no two of the clips have the same id."""
        return False

    def note_unique(self) -> None:
        """Keep for later runs that no two of the clips have the same id."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))


class SelectedClips(ClipSequence):
    """Some of the clips of a sequence."""

    def __init__(self, clips: Sequence[Clip], numbers: Sequence[int] | np.ndarray) -> None:
        self._clips, self._numbers = clips, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def clip(self, number: int) -> Clip:
        return self._clips[int(self._numbers[number])]


class JoinedClips(ClipSequence):
    """Several sequences, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Clip]]) -> None:
        self._parts, self._ends = parts, list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def clip(self, number: int) -> Clip:
        part = bisect_right(self._ends, number)
        return self._parts[part][number - self._ends[part] + len(self._parts[part])]

    def __iter__(self) -> Iterator[Clip]:
        return chain.from_iterable(self._parts)


def joined(parts: Sequence[Sequence[Clip]]) -> Sequence[Clip]:
    """The clips of all parts as one sequence: a list where all are lists."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, list) for part in parts):
        return list(chain.from_iterable(parts))
    return JoinedClips(parts)


def stated_seconds(clips: Sequence[Clip]) -> np.ndarray:
    """The length of each clip that its source states, float64, and NaN where it does not."""
    lengths = (np.nan if clip.seconds is None else clip.seconds for clip in clips)
    return np.fromiter(lengths, dtype=np.float64, count=len(clips))


def as_list(sources: AudioSource | Sequence[AudioSource] | None) -> list[AudioSource]:
    """No, one or several sources as a list."""
    if sources is None:
        return []
    found = [sources] if isinstance(sources, AudioSource | str) else list(sources)
    for source in found:
        if not isinstance(source, AudioSource):
            raise DataError("the source", repr(source), "must be a data.AudioSource", f"data.FolderSource({source!r})")
    return found


def unique_clips(clips: Sequence[Clip]) -> Sequence[Clip]:
    """The same clips. Raises DataError when two have the same id. Needs 8 bytes of memory for each."""
    if isinstance(clips, ClipSequence) and clips.known_unique():
        return clips
    hashes = np.sort(np.fromiter((hash(clip.id) for clip in clips), dtype=np.int64, count=len(clips)))
    suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    repeated = Counter(clip.id for clip in clips if hash(clip.id) in suspects) if suspects else Counter()
    several = [id for id, count in repeated.items() if count > 1]
    if several:
        problem = f"{len(several)} clip ids occur twice, such as {several[0]!r}"
        raise DataError(problem, remedy="give the sources different `name`s")
    if isinstance(clips, ClipSequence):
        clips.note_unique()
    return clips


def spread_clips(clips: Sequence[Clip], count: int | None) -> Sequence[Clip]:
    """`count` clips at even distances in the list; all of them where `count` is None or larger than the list."""
    if count is None or count >= len(clips):
        return clips
    numbers = np.arange(count) * len(clips) // count
    return (
        clips.selected(numbers) if isinstance(clips, ClipSequence) else [clips[number] for number in numbers.tolist()]
    )


def refuse_shortened(clip: Clip, seconds: float) -> None:
    """Raise AudioReadError if a file of `seconds` is clearly shorter than its source states.

    An Ogg file that was cut off still opens, as a shorter recording: only the stated length tells.
    """
    if clip.seconds is not None and seconds < 0.9 * clip.seconds - 0.2:
        raise AudioReadError(clip.name, f"truncated: {seconds:.2f} s of the {clip.seconds:.2f} s that its list states")


def printable(name: str) -> str:
    """A file name as text that can be written anywhere: a byte that is not UTF-8 becomes "\\udce9" or the like."""
    return name.encode("utf-8", "backslashreplace").decode()


def clip_id(path: str, name: str | None) -> str:
    """The id of a clip from its path inside the corpus, after the corpus's `name` if it has one."""
    return printable(f"{name}/{path}" if name else path)
