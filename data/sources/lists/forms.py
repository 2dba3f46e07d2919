"""Which form a list has: by its name, and where that says nothing by its first line."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from data.sources.lists.entry import Entry, plain_suffix, read_lines
from data.sources.lists.kaldi import KALDI_FILES, WAV_SCP, kaldi_entries
from data.sources.lists.objects import object_entries
from data.sources.lists.tables import TABLE_SUFFIXES, text_entries

OBJECT_SUFFIXES = {".jsonl", ".json", ".ndjson"}
LIST_SUFFIXES = OBJECT_SUFFIXES | TABLE_SUFFIXES | {".txt", ".lst", ".list", ".scp"}


def entries(file: Path, text: tuple[str, ...] = ()) -> Iterator[Entry]:
    """The clips that a list states, one by one, in bounded memory. Raises DataError, naming the line.

    `text` names the columns of which the first that is not empty is what is said; with none it is not read.
    """
    suffix = plain_suffix(file)
    if suffix in OBJECT_SUFFIXES:
        return object_entries(file, text)
    if suffix in TABLE_SUFFIXES:
        return text_entries(file, text)
    lines = (line.strip() for line in read_lines(file))
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if first.startswith("{"):
        return object_entries(file, text)
    return kaldi_entries(file, text) if is_kaldi(file, first) else text_entries(file, text)


def is_kaldi(file: Path, first: str) -> bool:
    """Whether a list is Kaldi's: named wav.scp, or a .scp file whose lines are `name path`."""
    fields = first.split(maxsplit=1)
    return file.name == WAV_SCP or (file.suffix.lower() == ".scp" and len(fields) == 2 and "." not in fields[0])


def files_of(file: Path, text: str | None = None) -> list[Path]:
    """The list, and what is read along with it; `text` names Kaldi's file of transcripts, where it is not "text"."""
    beside = dict.fromkeys((*KALDI_FILES, text or "text")) if file.suffix.lower() == ".scp" else ()
    return [file, *(file.parent / name for name in beside if (file.parent / name).is_file())]


def list_in(folder: Path, split: str | None) -> tuple[Path, str | None] | None:
    """The list of a folder, and the split to choose from it: None where the list is that of the split.

    Kaldi's wav.scp; a list named after the split, or metadata in a folder of that name; metadata of the folder.
    """
    named = [] if split is None else [split, f"{split}/metadata"]
    for stem, suffix in product(named, (".tsv", ".csv", ".jsonl")):
        for file in (folder / f"{stem}{suffix}", folder / f"{stem}{suffix}.gz"):
            if file.is_file():
                return file, None
    if split is not None and (folder / split / WAV_SCP).is_file():
        return folder / split / WAV_SCP, None
    found = [folder / name for name in (WAV_SCP, "metadata.csv", "metadata.jsonl") if (folder / name).is_file()]
    return (found[0], split) if found else None
