"""Any manifest: the clips that it lists, or a DataError that names the file."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import DataError, ManifestSource
from tests.fuzz.limits import bounded_memory, fuzzed, unhurried

WORD = st.one_of(
    st.sampled_from(["path", "audio", "duration", "seconds", "speaker", "split", "a.wav", "/a.wav", "", "1.5", "nan"]),
    st.sampled_from(["1e999", "-3", "../..", "\x00", "x" * 300, "x" * 200_000, "\ud800", "\u2028", "ä\r", '"', "null"]),
    st.text(max_size=12),
)
TABLES = st.lists(st.lists(WORD, max_size=5).map("\t".join), max_size=6).map("\n".join)
HEADED = TABLES.map(lambda table: f"path\tduration\tspeaker\tsplit\n{table}")
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORD), lambda inner: st.lists(inner, max_size=3)
)
OBJECTS = st.dictionaries(WORD, VALUES, max_size=5).map(json.dumps)
ODD_LINES = st.sampled_from(["{", "3", "[" * 100_000, '{"path": ' + "9" * 5000 + "}", '{"path": "a.wav"} x', " "])
LINES = st.lists(st.one_of(OBJECTS, ODD_LINES), max_size=6).map("\n".join)
TEXTS = st.one_of(TABLES, HEADED, LINES).map(lambda text: text.encode("utf-8", "surrogatepass"))
FILE_NAMES = st.sampled_from(["list.tsv", "list.jsonl"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the audio file that half of the manifests name."""
    made = tmp_path_factory.mktemp("corpus")
    (made / "a.wav").touch()
    return made


@unhurried
@fuzzed
@given(content=st.one_of(TEXTS, st.binary(max_size=200)), file=FILE_NAMES, split=st.sampled_from([None, "train"]))
def test_a_manifest_is_read_or_refused(folder: Path, content: bytes, file: str, split: str | None) -> None:
    (folder / file).write_bytes(content)
    try:
        with bounded_memory():
            clips = ManifestSource(str(folder / file), split).clips()
    except DataError as refusal:
        assert str(folder) in str(refusal), refusal
        assert len(str(refusal)) < 2000
        return
    assert clips
    for clip in clips:
        assert clip.path and clip.id
        assert clip.seconds is None or (math.isfinite(clip.seconds) and clip.seconds > 0)


NAME = st.text(st.characters(codec="utf-8", exclude_characters="\x00/\\"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
ROWS = st.lists(st.tuples(NAME, st.floats(0.01, 1e6), NAME), min_size=1, max_size=5)


def as_lines(rows: list[tuple[str, float, str]]) -> str:
    """JSONL as written with non-ASCII characters kept."""
    return "\n".join(
        json.dumps({"path": path, "duration": seconds, "speaker": speaker}, ensure_ascii=False)
        for path, seconds, speaker in rows
    )


def as_table(rows: list[tuple[str, float, str]]) -> str:
    """TSV."""
    return "path\tduration\tspeaker\n" + "\n".join(f"{path}\t{seconds!r}\t{speaker}" for path, seconds, speaker in rows)


@unhurried
@fuzzed
@given(rows=ROWS, form=st.sampled_from([as_lines, as_table]))
def test_what_was_written_is_read(folder: Path, rows: list[tuple[str, float, str]], form: Callable[..., str]) -> None:
    if form is as_table:  # whose fields cannot hold a tab or a line's end
        rows = [(*map(str, ("a" + p.translate(GAPS), s, "a" + w.translate(GAPS))),) for p, s, w in rows]  # type: ignore
        rows = [(p, float(s), w) for p, s, w in rows]
    file = folder / ("rows.jsonl" if form is as_lines else "rows.tsv")
    file.write_text(form([*rows, ("a.wav", 1.0, "x")]), encoding="utf-8", newline="")
    clips = ManifestSource(str(file)).clips()[:-1]
    assert [(Path(clip.path).name, clip.seconds, clip.speaker) for clip in clips] == [*rows]


GAPS = {ord(character): " " for character in "\t\r\n"}
