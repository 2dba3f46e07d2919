"""Tables as CSV and documents as JSON, in which NaN (no value) is an empty cell or null; endings of media files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Endings of media files, the same as `data.sources.tree.MEDIA_SUFFIXES`, which this package does not import.
AUDIO_SUFFIXES = frozenset(
    ".3g2 .3ga .3gp .8svx .aac .ac3 .adts .aif .aifc .aiff .alac .amr .ape .asf .au .avi .avr .awb .bwf .caf .dff .dsf"
    " .dts .eac3 .flac .flv .gsm .ircam .m2ts .m4a .m4b .m4r .m4v .mka .mkv .mov .mp1 .mp2 .mp3 .mp4 .mpa .mpc .mpeg"
    " .mpc2k .mpg .mpga .nist .oga .ogg .ogv .ogx .oma .opus .paf .pcm .pvf .qcp .ra .rf64 .rm .shn .sln .snd .spc .sph"
    " .spx .svx .tak .tta .ulaw .voc .vox .vqf .w64 .wav .wave .weba .webm .wma .wmv .wv .wve .xwma".split()
)


@contextmanager
def completed(path: Path) -> Iterator[Path]:
    """A path of the same ending to write to, renamed to `path` at the end; after an error the old file stays."""
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_csv(path: Path, rows: Sequence[NamedTuple], *, leave_out: Sequence[str] = ()) -> None:
    """One line per row; the columns are the rows' fields, empty where there is no value."""
    with completed(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [column for column in (rows[0]._fields if rows else ()) if column not in leave_out]
        writer.writerow(columns)
        for row in rows:
            cells = (without_nan(getattr(row, column)) for column in columns)
            writer.writerow("" if cell is None else cell for cell in cells)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """An indented document; NaN must have been replaced by `without_nan`."""
    with completed(path) as partial:
        partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def without_nan(value: Any) -> Any:
    """A value for JSON: None instead of NaN, and plain numbers, lists and dictionaries instead of NumPy's and rows."""
    if isinstance(value, np.ndarray | np.generic):
        return without_nan(value.tolist())
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return without_nan(value._asdict())
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
