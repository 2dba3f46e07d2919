"""Kaldi's data folders (Povey et al., 2011): wav.scp, and beside it segments, utt2spk, utt2dur, reco2dur and text."""

import re
from collections.abc import Iterator
from pathlib import Path

from data.sources.lists.entry import Entry, read_lines, refusal, stated_number
from data.sources.lists.fields import check_id

WAV_SCP = "wav.scp"  # names it; a file of that name is a list in any case
KALDI_FILES = ("segments", "utt2spk", "utt2dur", "reco2dur", "text")  # read along with wav.scp


def kaldi_entries(scp: Path, text: tuple[str, ...] = ()) -> Iterator[Entry]:
    """The utterances of the folder of a wav.scp, in the order of `segments`, else of wav.scp. Raises DataError.

    Without segments each recording is an utterance. Pipes and places in Kaldi's archives are refused. The first name
    of `text` is that of the file of transcripts, such as "text"; with none they are not read.
    """
    speakers, texts = _Beside(scp.parent / "utt2spk"), _Beside(scp.parent / text[0] if text else None)
    if (scp.parent / "segments").is_file():
        yield from _segments(scp, speakers, texts)
        return
    utterance_seconds, recording_seconds = _Beside(scp.parent / "utt2dur"), _Beside(scp.parent / "reco2dur")
    for line, recording, path in _recordings(scp):
        check_id(scp, line, recording)
        seconds = utterance_seconds.number(recording) or recording_seconds.number(recording)
        yield Entry(line, path, seconds, None, recording, speakers.text(recording), text=texts.text(recording))


def _segments(scp: Path, speakers: "_Beside", texts: "_Beside") -> Iterator[Entry]:
    paths = {recording: path for _, recording, path in _recordings(scp)}
    file = scp.parent / "segments"
    for line, text in enumerate(read_lines(file), start=1):
        fields = text.split()
        if not fields:
            continue
        try:
            utterance, recording, begin, finish = fields
            start, end = float(stated_number(begin) or 0), float(stated_number(finish) or 0)
        except ValueError:
            problem = f"is {text[:80].strip()!r}, not `utterance recording start end`"
            raise refusal(file, line, problem, "give the start and the end in seconds") from None
        if recording not in paths:
            problem = f"names the recording {recording[:80]!r}, which wav.scp lacks"
            raise refusal(file, line, problem, "add it there, or leave the segment out")
        if start < 0 or (end <= start and end != -1):
            problem = f"is a segment from {start:g} s to {end:g} s"
            raise refusal(file, line, problem, "the end has to be after the start, or -1 for the file's end")
        check_id(file, line, utterance)
        seconds = None if end == -1 else end - start
        begin_at = None if start == 0 and seconds is None else start
        said = texts.text(utterance)
        yield Entry(line, paths[recording], seconds, begin_at, utterance, speakers.text(utterance), text=said)


def _recordings(scp: Path) -> Iterator[tuple[int, str, str]]:
    """(line, recording, path) of each line of wav.scp."""
    for line, text in enumerate(read_lines(scp), start=1):
        if not text.strip():
            continue
        recording, path = (*text.strip().split(maxsplit=1), "")[:2]
        if path.endswith("|") or path.startswith("|"):
            problem = f"is a command with a pipe ({path[:60]}), which is not run here"
            raise refusal(scp, line, problem, "write the audio to files and list those")
        if re.search(r"\.ark:\d+$", path):
            raise refusal(scp, line, f"is a place in a Kaldi archive ({path[-60:]})", "list audio files")
        if not path:
            raise refusal(
                scp, line, f"is {text[:80].strip()!r}, not `recording path`", "give both, separated by a space"
            )
        yield line, recording, path


class _Beside:
    """A file with "key value" a line beside a list: read along with it where both are in the same order, else whole."""

    def __init__(self, file: Path | None) -> None:
        self._file = file if file is not None and file.is_file() else None
        self._lines = read_lines(self._file) if self._file else iter(())
        self._all: dict[str, str | None] | None = None

    def text(self, key: str) -> str | None:
        """The value of `key`; None where the file or the key is missing."""
        if self._all is None:
            found, value = self._parse(next(self._lines, ""))
            if found == key:
                return value
            self._all = dict(map(self._parse, read_lines(self._file))) if self._file else {}
        return self._all.get(key)

    def number(self, key: str) -> float | None:
        """The value of `key` where it is a number above 0."""
        try:
            value = stated_number(self.text(key))
        except ValueError:
            return None
        return value if value and value > 0 else None

    @staticmethod
    def _parse(line: str) -> tuple[str, str | None]:
        key, value = (*line.strip().split(maxsplit=1), "", "")[:2]
        return key, value or None
