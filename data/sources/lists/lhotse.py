"""Lhotse's manifests in JSON lines (Żelasko et al., 2021): cuts of recordings, and recordings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.sources.lists.entry import Entry, refusal
from data.sources.lists.fields import check_id, first_text

SAME_TIMES = {"Resample"}  # transforms after which a recording's seconds are those of its file
TOLERANCE = 1e-3  # in seconds: Lhotse rounds durations to whole samples


def is_lhotse(row: dict) -> bool:
    """Whether an object is a cut or a recording of Lhotse."""
    return str(row.get("type", "")).endswith("Cut") or isinstance(row.get("sources"), list) or "recording" in row


def lhotse_entry(file: Path, line: int, row: dict, text: tuple[str, ...] = ()) -> Entry:
    """The entry of a cut or a recording. Raises DataError for what is not a piece of one audio file.

    `text` names the keys of a supervision of which the first that is not empty is what is said.
    """
    try:
        return _recording(file, line, row) if isinstance(row.get("sources"), list) else _cut(file, line, row, text)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        problem = f"is no cut or recording of Lhotse ({type(error).__name__}: {str(error)[:80]})"
        raise refusal(file, line, problem, "write it with Lhotse") from None


def _recording(file: Path, line: int, row: dict) -> Entry:
    id = str(row["id"])
    check_id(file, line, id)
    return Entry(line, _path(file, line, row, None), float(row["duration"]), None, id)


def _cut(file: Path, line: int, row: dict, text: tuple[str, ...]) -> Entry:
    kind = row.get("type", "MonoCut")
    save = "save its audio with `cuts.save_audios` and list that"
    if kind not in ("MonoCut", "MultiCut"):
        raise refusal(file, line, f"is a {str(kind)[:40]}, which is no piece of one file", save)
    recording = row.get("recording")
    if not recording:
        raise refusal(file, line, "is a cut without a recording, of features alone", "list cuts of recordings")
    id, start, seconds = str(row["id"]), float(row["start"]), float(row["duration"])
    check_id(file, line, id)
    if not 0 <= start < float("inf") or not 0 < seconds < float("inf"):
        raise refusal(file, line, f"is a cut from {start:g} s on of {seconds:g} s", "correct start and duration")
    path = _path(file, line, recording, row.get("channel"))
    whole = start == 0 and seconds >= float(recording["duration"]) - TOLERANCE
    supervisions = row.get("supervisions") or ()
    speakers = {str(each["speaker"]) for each in supervisions if each.get("speaker")}
    speaker = speakers.pop() if len(speakers) == 1 else None
    said = _said(supervisions, seconds, text)
    return Entry(line, path, seconds, None if whole else start, id, speaker, text=said)


def _said(supervisions: Sequence[dict], seconds: float, text: tuple[str, ...]) -> str | None:
    """The texts of a cut's supervisions in the order of their starts, which count from the cut's own.

    None where one has no text, or reaches out of the cut: more or less would be written than is heard.
    """
    texts = []
    if not all({"start", "duration"} <= each.keys() for each in supervisions):
        return None
    for each in sorted(supervisions, key=lambda each: float(each["start"])) if text else ():
        start, length = float(each["start"]), float(each["duration"])
        said = first_text([each.get(name) for name in text], range(len(text)))
        if said is None or start < -TOLERANCE or start + length > seconds + TOLERANCE:
            return None
        texts.append(said)
    return " ".join(texts) or None


def _path(file: Path, line: int, recording: dict, channel: Any) -> str:
    """The audio file of a recording; of the cut's `channel` where each channel has a file. Raises DataError."""
    save = "save the audio with `cuts.save_audios` and list that"
    names = [str(each.get("name", each)) for each in recording.get("transforms") or ()]
    changed = [name for name in names if name not in SAME_TIMES]
    if changed:
        raise refusal(file, line, f"has the transform {changed[0][:40]}, which is not applied here", save)
    wanted = None if channel is None else set(channel if isinstance(channel, list) else [channel])
    sources = [each for each in recording["sources"] if wanted is None or wanted & set(each["channels"])]
    if len(sources) != 1:
        problem = f"has its channels in {len(sources)} files"
        raise refusal(file, line, problem, save if sources else "correct the cut's channel")
    source = sources[0]
    if wanted is not None and wanted < set(source["channels"]):
        problem = f"is channel {str(channel)[:40]} of a file with {len(source['channels'])} channels"
        raise refusal(file, line, problem, f"{save}, or list the recordings and set the data's channel")
    if source["type"] != "file":
        raise refusal(file, line, f"has audio of the type {str(source['type'])[:40]!r}, not in a file", save)
    return str(source["source"])
