"""The contract of corpora: a source that lists clips; and functions on such lists."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from data.audio.files import Segment
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
    """

    path: str
    id: str
    seconds: float | None = None
    speaker: str | None = None
    start: float | None = None

    @property
    def segment(self) -> Segment | None:
        """What of its file is read; None for the whole file."""
        return None if self.start is None else Segment(self.start, self.seconds)

    @property
    def name(self) -> str:
        """The path, and for a segment where it begins: names it in the log."""
        return self.path if self.segment is None else self.segment.name(self.path)


class AudioSource(ABC):
    """A corpus. A new one implements `clips`; `prepare` too, if there is something to download or to make."""

    def prepare(self) -> None:  # noqa: B027 - most corpora have nothing to prepare
        """Download or make the corpus. Called in one process on each machine, before `clips` in any process."""

    @abstractmethod
    def clips(self) -> list[Clip]:
        """All clips, in an order that is the same on every machine. Raises DataError when there are none."""


def as_list(sources: AudioSource | Sequence[AudioSource] | None) -> list[AudioSource]:
    """No, one or several sources as a list."""
    if sources is None:
        return []
    return [sources] if isinstance(sources, AudioSource) else list(sources)


def unique_clips(clips: list[Clip]) -> list[Clip]:
    """The same clips. Raises DataError when two have the same id."""
    repeated = [id for id, count in Counter(clip.id for clip in clips).items() if count > 1]
    if repeated:
        problem = f"{len(repeated)} clip ids occur twice, such as {repeated[0]!r}"
        raise DataError(problem, remedy="give the sources different `name`s")
    return clips


def spread_clips(clips: list[Clip], count: int | None) -> list[Clip]:
    """`count` clips at even distances in the list; all of them where `count` is None or larger than the list."""
    if count is None or count >= len(clips):
        return clips
    return [clips[i * len(clips) // count] for i in range(count)]


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
