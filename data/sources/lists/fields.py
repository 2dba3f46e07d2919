"""The columns that lists of the field have, by their many names: the values of a row become an `Entry`."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from data.sources.lists.entry import Entry, refusal, stated_number

PATH_COLUMNS = (
    *("path", "audio", "file", "filename", "audio_filepath", "file_name", "audio_path", "audio_file", "filepath"),
    *("file_path", "wav", "wav_path", "wav_file", "wav_filename", "wav_filepath", "fname", "audio_filename"),
    *("audio_file_path", "audio_file_name", "wavpath", "wavfile", "audiopath", "clip", "location"),
)
SECONDS_COLUMNS = ("duration", "seconds", "dur", "duration_seconds", "duration_sec", "duration_s", "audio_duration")
MILLISECONDS_COLUMNS = ("duration_ms", "duration[ms]")
START_COLUMNS = ("offset", "start", "start_time", "start_seconds", "start_sec", "offset_seconds", "begin", "begin_time")
END_COLUMNS = ("end", "end_time", "end_seconds", "end_sec")
ID_COLUMNS = ("id", "utt", "utt_id", "uttid", "utterance", "utterance_id", "segment_id", "cut_id")
SPEAKER_COLUMNS = (
    *("speaker", "speaker_id", "client_id", "spk", "spk_id", "spkid", "speaker_name", "speaker_label", "reader_id"),
    "reader",
)
SPLIT_COLUMNS = ("split", "subset", "partition")
TEXT_COLUMNS = (  # "text" is also the file of Kaldi's folders, and the key of Lhotse's supervisions
    *("text", "transcript", "transcription", "sentence", "normalized_text", "text_normalized", "raw_text"),
    *("raw_transcription", "original_text", "text_original", "words", "wrd"),
)
SHARD_COLUMNS = {"shard", "offset", "size", "sha256"}  # of the manifests that data.prepare writes
Places = tuple[int, ...]


class Columns(NamedTuple):
    """At which places of a row each fact about a clip may stand, the first that is not empty counts."""

    path: Places
    seconds: Places
    milliseconds: Places
    start: Places
    end: Places
    id: Places
    speaker: Places
    split: Places
    text: Places
    samples: Places  # a start in samples, where "stop" stands beside "start"


@lru_cache(1024)
def columns_of(names: tuple[str, ...], text: tuple[str, ...] = ()) -> Columns:
    """The columns by their names, in upper or lower case, with "_", spaces or hyphens; `text` names those of a text."""
    place = {_plain(name): number for number, name in reversed(list(enumerate(names)))}
    place |= {name: number for number, name in enumerate(names)}  # a name that is written so comes first

    def places(known: Iterable[str]) -> Places:
        return tuple(place[name] for name in known if name in place)

    return Columns(
        places(PATH_COLUMNS),
        places(SECONDS_COLUMNS),
        places(MILLISECONDS_COLUMNS),
        places(START_COLUMNS),
        places(END_COLUMNS),
        places(ID_COLUMNS),
        places(SPEAKER_COLUMNS),
        places(SPLIT_COLUMNS),
        places(text),
        samples=places(("stop",)) if "offset" not in place else (),
    )


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def entry_of(file: Path, line: int, values: Sequence[Any], columns: Columns) -> Entry:
    """The entry of a row; an empty text or None is no value. Raises DataError."""
    path = first_value(values, columns.path)
    if path is None:
        known = f"{', '.join(PATH_COLUMNS[:6])} or the like"
        raise refusal(file, line, "has no path", f"give one of the columns {known}")
    seconds = _seconds(file, line, values, columns)
    start = id = None
    text = first_value(values, columns.start)
    if text is not None:
        start, seconds = _segment(file, line, values, columns, text=text, seconds=seconds)
        id = first_value(values, columns.id)
        if id is not None:
            check_id(file, line, id)
    elif seconds is not None and seconds <= 0:
        seconds = None
    speaker, split = first_value(values, columns.speaker), first_value(values, columns.split)
    return Entry(line, path, seconds, start, id, speaker, split, first_text(values, columns.text))


def check_id(file: Path, line: int, id: str) -> None:
    """Raise DataError unless an id is a relative path, as files are named after it."""
    if id.startswith("/") or "\0" in id or ".." in id.split("/"):
        raise refusal(file, line, f"has the id {id[:80]!r}, which no file can be named after", "give a relative path")


def first_value(values: Sequence[Any], places: Places) -> str | None:
    """The text of the first value at `places` that is not empty; {"path": ...} stands for the path in it."""
    for place in places:
        value = values[place] if place < len(values) else None
        if isinstance(value, dict):
            value = value.get("path")
        if value is not None and value != "":
            return str(value)
    return None


def first_text(values: Sequence[Any], places: Sequence[int]) -> str | None:
    """The first value at `places` that is a text, without the spaces around it; other values are no transcript."""
    found = (values[place] for place in places if place < len(values))
    return next((text for value in found if isinstance(value, str) and (text := value.strip())), None)


def _seconds(file: Path, line: int, values: Sequence[Any], columns: Columns) -> float | None:
    text = first_value(values, columns.seconds)
    milliseconds = None if text else first_value(values, columns.milliseconds)
    try:
        if milliseconds is not None:
            return float(stated_number(milliseconds) or 0.0) / 1000
        return stated_number(text)
    except ValueError:
        problem = f"has the duration {str(text or milliseconds)[:40]!r}, which is not a number"
        raise refusal(file, line, problem, "give seconds, or leave it empty") from None


def _segment(
    file: Path, line: int, values: Sequence[Any], columns: Columns, *, text: str, seconds: float | None
) -> tuple[float | None, float | None]:
    """(start, seconds) of a row whose start is `text`; the start is None where that is 0 and no end is stated."""
    try:
        start = float(stated_number(text) or 0.0)
    except ValueError:
        start = -1.0
    if start < 0:
        problem = f"has the offset {text[:40]!r}, which is not a number of seconds from 0 on"
        raise refusal(file, line, problem, "give seconds from the file's start, or leave it empty")
    if first_value(values, columns.samples) is not None:
        remedy = "name them offset and duration, in seconds"
        raise refusal(file, line, "has the columns start and stop, which are samples in some lists", remedy)
    end = None if seconds is not None else first_value(values, columns.end)
    if end is not None:
        try:
            seconds = float(stated_number(end) or 0.0) - start
        except ValueError:
            raise refusal(file, line, f"has the end {end[:40]!r}, which is not a number", "give seconds") from None
    if seconds is not None and seconds <= 0:
        remedy = "give seconds above 0, or leave the end out for a segment to the end of the file"
        raise refusal(file, line, f"has a segment at {start:g} s with the duration {seconds:g} s", remedy)
    return (None if start == 0 and seconds is None else start), seconds
