"""Any manifest: the clips that it lists, or a DataError that names the file."""

import gzip
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
    st.sampled_from(["offset", "start", "end", "stop", "id", "wav", "duration_ms", "spk", "Cut", "0", "a", "a.wav |"]),
    st.sampled_from(["1e999", "-3", "../..", "\x00", "x" * 300, "x" * 200_000, "\ud800", "\u2028", "ä\r", '"', "null"]),
    st.text(max_size=12),
)
SEPARATORS = st.sampled_from(["\t", ",", "|", " ", ";"])
TABLES = st.builds(
    lambda rows, separator: "\n".join(map(separator.join, rows)),
    st.lists(st.lists(WORD, max_size=5), max_size=6),
    SEPARATORS,
)
HEADED = st.builds(
    lambda table, offset: f"path\tduration\tspeaker\tsplit\t{offset}\n{table}",
    TABLES,
    st.sampled_from(["", "offset"]),
)
CUT = {"id": "c", "type": "MonoCut", "start": 0.5, "duration": 1, "channel": 0}
SOURCE = {"type": "file", "channels": [0], "source": "a.wav"}
RECORDING = {"id": "r", "sources": [SOURCE], "sampling_rate": 8, "num_samples": 16, "duration": 2.0}
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORD), lambda inner: st.lists(inner, max_size=3)
)
CHANGES = st.dictionaries(st.sampled_from([*CUT, *RECORDING]), VALUES, max_size=2)
CUTS = st.builds(
    lambda cut, recording: {**CUT, "recording": {**RECORDING, **recording}, **cut},
    st.one_of(st.just({}), CHANGES),
    st.one_of(st.just({}), CHANGES),
)
OBJECTS = st.one_of(st.dictionaries(WORD, VALUES, max_size=5), CUTS, CHANGES).map(json.dumps)
ODD_LINES = st.sampled_from(["{", "3", "[" * 100_000, '{"path": ' + "9" * 5000 + "}", '{"path": "a.wav"} x', " "])
LINES = st.lists(st.one_of(OBJECTS, ODD_LINES), max_size=6).map("\n".join)
TEXTS = st.one_of(TABLES, HEADED, LINES).map(lambda text: text.encode("utf-8", "surrogatepass"))
FILE_NAMES = st.sampled_from(
    ["list.tsv", "list.jsonl", "list.csv", "list.txt", "wav.scp", "list.jsonl.gz", "list.json"]
)


UTTERANCES = st.lists(st.lists(WORD, max_size=5).map(" ".join), max_size=6).map("\n".join)


@unhurried
@fuzzed
@given(segments=UTTERANCES, speakers=UTTERANCES, known=st.booleans())
def test_a_kaldi_folder_is_read_or_refused(folder: Path, segments: str, speakers: str, known: bool) -> None:
    kaldi = folder / "kaldi"
    kaldi.mkdir(exist_ok=True)
    (kaldi / "a.wav").touch()
    first = "u a 0.5 1.5\n" * known
    for name, text in (("wav.scp", "a a.wav\n"), ("segments", first + segments), ("utt2spk", speakers)):
        (kaldi / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        with bounded_memory():
            clips = ManifestSource(str(kaldi)).clips()
    except DataError as refusal:
        assert str(kaldi) in str(refusal) and len(str(refusal)) < 2000
        return
    assert all(clip.start is None or clip.start >= 0 for clip in clips)


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
    (folder / file).write_bytes(gzip.compress(content) if file.endswith(".gz") else content)
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
        assert clip.start is None or (math.isfinite(clip.start) and clip.start >= 0)


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
