"""A corpus that is a list of audio files: a table, JSON lines, a plain list, Kaldi's wav.scp or Lhotse's cuts."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, product
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from data.audio.reading import probe
from data.errors import AudioReadError, DataError
from data.sources.base import AudioSource, Clip, clip_id
from data.sources.columns.cache import cached_clips
from data.sources.columns.origin import LocalFiles
from data.sources.lists.entry import Entry
from data.sources.lists.fields import TEXT_COLUMNS
from data.sources.lists.forms import entries, files_of, list_in
from data.sources.tree import MEDIA_SUFFIXES

VERSION = 1  # raise it when the same list gives other clips
TEXT_VERSION = 1  # raise it when it gives other texts
HEAD = 100  # entries that tell where the audio is
CHUNK = 1000  # entries whose files are looked at together, in threads
PROBE_THREADS = 8
WHOLE_SECONDS = 0.01  # a duration that is this near to a file's length, or above it, is the whole file
AUDIO_FOLDERS = ("", "clips", "wavs", "wav", "audio")  # beside a list: those of Common Voice, LJSpeech and others
GUESSED_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")  # of files that a list names without


class ManifestSource(AudioSource):
    """The clips that a list names, one a line; its form follows from its name and its first line.

    - a table (.tsv, .csv) with the names of the columns in its first line, or JSON lines (.jsonl), as NeMo, Common
      Voice, SpeechBrain, Hugging Face (metadata.csv, metadata.jsonl) and others write them. Columns: `path` (or
      `audio_filepath`, `file_name`, `wav` and so on), and where known `duration`, `offset`, `speaker`, `split` and
      `text` (what is said), by these and other usual names; others are ignored;
    - lines "name|text" as in LJSpeech, and plain lists of paths (.txt, .lst, .scp);
    - Kaldi's wav.scp, with `segments`, `utt2spk` and `text` in its folder;
    - Lhotse's cuts and recordings (.jsonl); of a cut the texts of its supervisions.

    Each may be compressed (.gz). A row with an `offset` is a segment of its file, from there on for its `duration`, or
    to the end where none is stated. Audio is looked for beside the list, else in a folder clips, wavs, wav or audio
    there; that of Kaldi and Lhotse also from the folders above the list and the working folder on.

    Ids are the paths relative to `root`; those of segments end in the seconds of their start and end, as in
    `talk_1.200-2.200.wav`. In a row with an `offset` an explicit name (`id`, `utt`, `utterance_id`) comes first, as do
    the names of Kaldi's utterances and Lhotse's cuts. An offset of 0 with the length of the file is the whole file.

    Args:
        path: the list; or a folder with a wav.scp, metadata.csv or metadata.jsonl, or with a list named after `split`.
        split: only the rows of this split, or of the list of this name in the folder; None for all rows.
        root: the folder that paths are relative to; by default the list's.
        name: of the corpus, in front of the ids.
        text: the column of what is said, in Kaldi's folders the file; None for `text`, `transcript`, `transcription`,
            `sentence`, `normalized_text` and the like, the first that is not empty. Training does not read it.

    Raises:
        DataError: `clips` cannot use the list; with the line number where a row is the reason.
    """

    def __init__(
        self,
        path: str,
        split: str | None = None,
        *,
        root: str | None = None,
        name: str | None = None,
        text: str | None = None,
    ) -> None:
        self.path, self.split, self.name, self.text = Path(path).expanduser(), split, name, text
        if self.path.is_dir():
            self.path, self.split = list_in(self.path, split) or (self.path, split)
        self.root, self.root_is_given = Path(root).expanduser() if root else self.path.parent, bool(root)

    def clips(self) -> Sequence[Clip]:
        self._check_path()
        parse = type(self).iter_clips
        place = (self.split, str(self.root), self.root_is_given, self.name)
        options: tuple[Any, ...] = (parse.__module__, parse.__qualname__, VERSION, *place)
        if self.reads_text:  # else the list is that of the version before there were texts
            options += (TEXT_VERSION, self.text)
        files = LocalFiles(files_of(self.path, self.text))  # also for training: one folder keeps lists of one state
        return cached_clips(files, self.iter_clips, options=options, usable=_some_exist)

    def iter_clips(self) -> Iterator[Clip]:
        """The clips one by one, in bounded memory. Raises DataError, at the latest after the last one."""
        self._check_path()
        chosen = self._with_text(self._of_split(entries(self.path, self._text_columns)))
        head = list(islice(chosen, HEAD))
        if not head:
            raise DataError("the manifest", self.path, "lists no clips", "add a row for each audio file")
        place = self._place(head)
        with ThreadPoolExecutor(PROBE_THREADS) as pool:
            chunk = head
            while chunk:
                yield from pool.map(place.clip, chunk) if any(map(_may_be_whole, chunk)) else map(place.clip, chunk)
                chunk = list(islice(chosen, CHUNK))

    @property
    def _text_columns(self) -> tuple[str, ...]:
        """The columns to look for what is said in; none where it is not to be read."""
        named = TEXT_COLUMNS if self.text is None else (self.text,)
        return named if self.reads_text else ()

    def _with_text(self, chosen: Iterator[Entry]) -> Iterator[Entry]:
        """The same entries. Raises DataError after the last one where a text is named that none of them has."""
        known = self.text is None or not self.reads_text
        for entry in chosen:
            known = known or entry.text is not None
            yield entry
        if not known:
            remedy = f"name another as `text`, or leave it out for {', '.join(TEXT_COLUMNS[:4])} and the like"
            raise DataError("the manifest", self.path, f"has no text in a column {self.text!r}", remedy)

    def _check_path(self) -> None:
        if self.path.is_dir():
            problem = "has no wav.scp, metadata.csv or metadata.jsonl"
            raise DataError("the folder", self.path, problem, "give a list of audio files as `path`")
        if not self.path.is_file():
            raise DataError("the manifest", self.path, "does not exist", "give a list of audio files as `path`")

    def _of_split(self, found: Iterator[Entry]) -> Iterator[Entry]:
        if self.split is None:
            yield from found
            return
        splits, count = set(), 0
        for entry in found:
            if entry.split:
                splits.add(entry.split)
            if entry.split == self.split:
                count += 1
                yield entry
        if not count:
            listed = ", ".join(sorted(splits))[:200]
            remedy = f"choose from {listed}" if splits else "leave `split` out, or add such a column"
            raise DataError("the manifest", self.path, f"has no split {self.split!r}", remedy)

    def _place(self, head: list[Entry]) -> "_Place":
        """Where the audio is: the first of the usual places that has some of the first entries. Raises DataError."""
        bare = not any(PurePosixPath(entry.path).suffix.lower() in MEDIA_SUFFIXES for entry in head)
        suffixes = ("", *GUESSED_SUFFIXES) if bare else ("",)
        roots = [self.root]
        if not self.root_is_given and all(entry.id for entry in head):  # of Kaldi and Lhotse: where those ran
            roots += [*self.path.absolute().parents[1:4], Path.cwd()]
        for root, folder, suffix in product(roots, AUDIO_FOLDERS, suffixes):
            place = _Place(str(root), folder, suffix, self.name)
            if any(os.path.exists(place.path(entry)) for entry in head):
                return place
        first = _Place(str(self.root), "", "", self.name).path(head[0])
        problem = f"lists {first[:200]}, which does not exist"
        raise DataError("the manifest", self.path, problem, "set `root` to the audio folder")


def _some_exist(clips: Sequence[Clip]) -> bool:
    """Whether the audio is still where it was when the list was read."""
    return any(os.path.exists(clip.path) for clip in islice(clips, HEAD))


class _Place(NamedTuple):
    """Where the audio of a list is: in `folder` below `root`, in files whose names end in `suffix`."""

    root: str
    folder: str
    suffix: str
    name: str | None

    def clip(self, entry: Entry) -> Clip:
        """The clip of an entry; the file is opened where only its length tells whether it is a segment."""
        path, inside, start = self.path(entry), self.inside(entry), entry.start
        if start == 0 and _may_be_whole(entry) and _is_whole(path, entry.seconds):
            start = None
        id = entry.id or segment_name(_relative(inside, self.root), start, entry.seconds)
        return Clip(path, clip_id(id, self.name), entry.seconds, entry.speaker, start, entry.text)

    def path(self, entry: Entry) -> str:
        """The path of the file."""
        inside = self.inside(entry)
        return inside if inside.startswith("/") or self.root == "." else f"{self.root}/{inside}"

    def inside(self, entry: Entry) -> str:
        """The path below `root`, or an absolute one."""
        path = entry.path + self.suffix
        return f"{self.folder}/{path}" if self.folder and not path.startswith("/") else path


def segment_name(path: str, start: float | None, seconds: float | None) -> str:
    """The name of a segment of the file `path`: "a/talk_1.200-2.200.wav", or "a/talk_1.200-end.wav"."""
    if start is None:
        return path
    file = PurePosixPath(path)
    end = "end" if seconds is None else _decimals(start + seconds)
    return str(file.with_name(f"{file.stem}_{_decimals(start)}-{end}{file.suffix}"))


def _decimals(seconds: float) -> str:
    """To the microsecond, with three decimals at least."""
    whole, _, fraction = f"{seconds:.6f}".partition(".")
    return f"{whole}.{fraction.rstrip('0'):0<3}"


def _may_be_whole(entry: Entry) -> bool:
    """Whether a segment may be a whole file, which has the file's id."""
    return entry.start == 0 and entry.seconds is not None and entry.id is None


def _is_whole(path: str, seconds: float | None) -> bool:
    try:
        info = probe(path)
    except AudioReadError:  # the reader will name it
        return False
    return seconds is None or seconds >= info.frames / info.rate - WHOLE_SECONDS


def _relative(path: str, root: str) -> str:
    """The part of a path that is the same on all machines: relative to `root`; of one outside, the last three parts."""
    if not path.startswith("/"):
        plain = "//" not in path and "./" not in path and not path.endswith("/")
        return path if plain else PurePosixPath(path).as_posix()
    file, folder = PurePosixPath(path), PurePosixPath(root)
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else "/".join(file.parts[-3:])
