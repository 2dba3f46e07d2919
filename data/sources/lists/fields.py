"""The columns that lists of the field have, by their many names: a row {column: text} becomes an `Entry`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

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
SHARD_COLUMNS = {"shard", "offset", "size", "sha256"}  # of the manifests that data.prepare writes


def plain_name(column: str) -> str:
    """A column's name in lower case, with "_" for spaces and hyphens."""
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def plain_names(columns: Iterable[str]) -> list[str]:
    """The plain name of each column; of two with the same one, that which is written so keeps it."""
    columns = list(columns)
    return [column if plain_name(column) in columns else plain_name(column) for column in columns]


def has_path(columns: Iterable[str]) -> bool:
    """Whether one of the columns, by their plain names, is known to hold paths."""
    return not set(PATH_COLUMNS).isdisjoint(columns)


def entry_of(file: Path, line: int, row: Mapping[str, str]) -> Entry:
    """The entry of a row, whose columns have their plain names and whose fields are not empty. Raises DataError."""
    path = first_value(row, PATH_COLUMNS)
    if path is None:
        known = f"{', '.join(PATH_COLUMNS[:6])} or the like"
        raise refusal(file, line, "has no path", f"give one of the columns {known}")
    seconds = _seconds(file, line, row)
    start = None
    text = first_value(row, START_COLUMNS)
    if text is not None:
        start, seconds = _segment(file, line, row, text, seconds)
    elif seconds is not None and seconds <= 0:
        seconds = None
    id = None if text is None else first_value(row, ID_COLUMNS)
    if id is not None:
        check_id(file, line, id)
    return Entry(line, path, seconds, start, id, first_value(row, SPEAKER_COLUMNS), first_value(row, SPLIT_COLUMNS))


def check_id(file: Path, line: int, id: str) -> None:
    """Raise DataError unless an id is a relative path, as files are named after it."""
    if id.startswith("/") or "\0" in id or ".." in id.split("/"):
        raise refusal(file, line, f"has the id {id[:80]!r}, which no file can be named after", "give a relative path")


def first_value(row: Mapping[str, str], columns: Iterable[str]) -> str | None:
    """The text in the first of `columns` that is not empty."""
    for column in columns:
        if value := row.get(column):
            return value
    return None


def _seconds(file: Path, line: int, row: Mapping[str, str]) -> float | None:
    text = first_value(row, SECONDS_COLUMNS)
    milliseconds = None if text else first_value(row, MILLISECONDS_COLUMNS)
    try:
        if milliseconds is not None:
            return float(stated_number(milliseconds) or 0.0) / 1000
        return stated_number(text)
    except ValueError:
        problem = f"has the duration {str(text or milliseconds)[:40]!r}, which is not a number"
        raise refusal(file, line, problem, "give seconds, or leave it empty") from None


def _segment(
    file: Path, line: int, row: Mapping[str, str], text: str, seconds: float | None
) -> tuple[float | None, float | None]:
    """(start, seconds) of a row whose start is `text`; the start is None where that is 0 and no end is stated."""
    try:
        start = float(stated_number(text) or 0.0)
    except ValueError:
        start = -1.0
    if start < 0:
        problem = f"has the offset {text[:40]!r}, which is not a number of seconds from 0 on"
        raise refusal(file, line, problem, "give seconds from the file's start, or leave it empty")
    if "stop" in row and not row.get("offset"):
        remedy = "name them offset and duration, in seconds"
        raise refusal(file, line, "has the columns start and stop, which are samples in some lists", remedy)
    end = None if seconds is not None else first_value(row, END_COLUMNS)
    if end is not None:
        try:
            seconds = float(stated_number(end) or 0.0) - start
        except ValueError:
            raise refusal(file, line, f"has the end {end[:40]!r}, which is not a number", "give seconds") from None
    if seconds is not None and seconds <= 0:
        remedy = "give seconds above 0, or leave the end out for a segment to the end of the file"
        raise refusal(file, line, f"has a segment at {start:g} s with the duration {seconds:g} s", remedy)
    return (None if start == 0 and seconds is None else start), seconds
