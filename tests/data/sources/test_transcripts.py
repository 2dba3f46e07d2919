"""What is said in a clip, as each source knows it; and that training lists hold none of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data import AudioSource, Clip, DataError, FolderSource, HuggingFaceSource, ManifestSource
from data.sources.columns import cache
from data.sources.columns.clip_list import ClipList
from data.sources.corpora import LibriSpeechSource, LibriTTSSource, VCTKSource
from data.sources.demo.corpus import DemoSource
from data.sources.lists.fields import TEXT_COLUMNS
from tests.data.sources.test_lists import put

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def texts(source: AudioSource) -> list[str | None]:
    """What `clips` knows; training knows the same clips without it."""
    clips, bare = source.clips(), source.clips_without_text()
    assert [clip._replace(text=None) for clip in clips] == list(bare) and source.reads_text
    return [clip.text for clip in clips]


def listed_texts(path: Path, **options: Any) -> list[str | None]:
    return texts(ManifestSource(str(path), **options))


@pytest.mark.parametrize("column", [*TEXT_COLUMNS, "Normalized Text"])
def test_columns_of_tables_and_json_lines(tmp_path: Path, column: str) -> None:
    table = put(tmp_path / "l.tsv", f'path\t{column}\na.wav\t Über "5", ja. \nb.wav\t  \n', "a.wav", "b.wav")
    assert listed_texts(table) == ['Über "5", ja.', None]
    assert listed_texts(put(tmp_path / "l.csv", f'{column},path\n"so, so",a.wav\n')) == ["so, so"]
    rows = [{"path": "a.wav", column: "one"}, {"path": "b.wav", column: ["no", "text"]}, {"path": "a.wav", column: 5}]
    assert listed_texts(put(tmp_path / "l.jsonl", "\n".join(map(json.dumps, rows)))) == ["one", None, None]


def test_first_column_that_is_not_empty(tmp_path: Path) -> None:
    table = "path\tsentence\ttext\tmine\na.wav\ts1\tt1\tm1\na.wav\ts2\t\t\n"
    path = put(tmp_path / "l.tsv", table, "a.wav")
    assert listed_texts(path) == ["t1", "s2"]
    assert listed_texts(path, text="mine") == ["m1", None]
    assert listed_texts(path, text="sentence") == ["s1", "s2"]


@pytest.mark.parametrize(("name", "row"), [("l.csv", "a.wav,unquoted, comma"), ("l.tsv", "a.wav\thi\tthere")])
def test_a_text_is_not_cut_at_a_delimiter(tmp_path: Path, name: str, row: str) -> None:
    between = "," if name == "l.csv" else "\t"
    source = ManifestSource(str(put(tmp_path / name, f"path{between}text\n{row}\n", "a.wav")))
    with pytest.raises(DataError, match="line 2 has 3 fields below 2 column names: put texts"):
        source.clips()
    assert len(source.clips_without_text()) == 1  # training does not look
    (tmp_path / name).write_text(f"path{between}text\na.wav{between}hi{between}\n")
    assert listed_texts(tmp_path / name) == ["hi"]


@pytest.mark.parametrize("name", ["l.tsv", "l.jsonl", "wav.scp"])
def test_a_named_text_that_no_row_has_is_refused(tmp_path: Path, name: str) -> None:
    contents = {"l.tsv": "path\ttext\na.wav\tx\n", "l.jsonl": '{"path": "a.wav", "text": "x"}', "wav.scp": "a a.wav\n"}
    source = ManifestSource(str(put(tmp_path / name, contents[name], "a.wav")), text="said")
    with pytest.raises(DataError, match="has no text in a column 'said': name another as `text`"):
        source.clips()
    assert len(source.clips_without_text()) == 1  # training does not look


def test_segments_have_their_own_texts(tmp_path: Path) -> None:
    path = put(tmp_path / "l.csv", "path,offset,duration,text\na.wav,1,2,one\na.wav,3,1,two\n", "a.wav")
    assert [(clip.start, clip.text) for clip in ManifestSource(str(path)).clips()] == [(1.0, "one"), (3.0, "two")]


def test_lines_with_bars(tmp_path: Path) -> None:
    audio = "wavs/LJ1.wav", "wavs/LJ2.wav"
    lines = "LJ1|He had 5|He had five\nLJ2|so|\n"
    assert listed_texts(put(tmp_path / "metadata.csv", lines, *audio)) == ["He had five", "so"]
    lines = "wavs/LJ1.wav|one, two\nwavs/LJ2.wav|3|with a speaker\nwavs/LJ2.wav\n"
    assert listed_texts(put(tmp_path / "filelist.txt", lines)) == ["one, two", None, None]


def test_kaldi_folder(tmp_path: Path) -> None:
    path = put(tmp_path / "wav.scp", "r1 a.wav\nr2 b.wav\n", "a.wav", "b.wav")
    assert listed_texts(path) == [None, None]
    put(tmp_path / "text", "r1 first words\nr2\n")
    put(tmp_path / "text_lower", "r2 the  second\n")
    assert listed_texts(path) == ["first words", None]
    assert listed_texts(path, text="text_lower") == [None, "the  second"]
    put(tmp_path / "segments", "u1 r1 0 1\nu2 r1 1 2\nu3 r2 0 1\n")
    put(tmp_path / "text", "u2 two\nu1 one\n")  # in another order
    assert listed_texts(path) == ["one", "two", None]


def supervision(start: float, duration: float, text: str | None, **more: Any) -> dict:
    return {"id": "s", "recording_id": "rec", "start": start, "duration": duration, "text": text, **more}


@pytest.mark.parametrize(
    ("supervisions", "text"),
    [
        ([supervision(0.0, 1.0, "all")], "all"),
        ([supervision(0.5, 0.5, "two"), supervision(0.0, 0.4, "one")], "one two"),
        ([supervision(0.0, 0.5, "one"), supervision(0.5, 0.5, None)], None),  # not all is written
        ([supervision(-0.5, 1.0, "begins before")], None),
        ([supervision(0.5, 1.0, "ends after")], None),
        ([{"speaker": "ann", "text": "nobody knows when"}], None),
        ([], None),
    ],
)
def test_lhotse_cuts(write: Write, tmp_path: Path, supervisions: list[dict], text: str | None) -> None:
    write("talk.wav", 3.0)
    source = {"type": "file", "channels": [0], "source": "talk.wav"}
    recording = {"id": "rec", "sources": [source], "sampling_rate": 16000, "num_samples": 48000, "duration": 3.0}
    cut = {"id": "c", "start": 0.5, "duration": 1.0, "channel": 0, "recording": recording, "type": "MonoCut"}
    path = put(tmp_path / "cuts.jsonl", json.dumps({**cut, "supervisions": supervisions}))
    assert listed_texts(path) == [text]


def test_lhotse_key(write: Write, tmp_path: Path) -> None:
    write("talk.wav", 1.0)
    source = {"type": "file", "channels": [0], "source": "talk.wav"}
    recording = {"id": "rec", "sources": [source], "sampling_rate": 16000, "num_samples": 16000, "duration": 1.0}
    cut = {"id": "c", "start": 0, "duration": 1.0, "channel": 0, "recording": recording, "type": "MonoCut"}
    row = {**cut, "supervisions": [supervision(0, 1.0, "THE TEXT", plain="the text")]}
    assert listed_texts(put(tmp_path / "cuts.jsonl", json.dumps(row)), text="plain") == ["the text"]


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_huggingface_columns(tmp_path: Path, form: str) -> None:
    pytest.importorskip("pyarrow")
    from tests.data.sources.test_huggingface import save, table, to_parquet

    content = table(sentence=[" one "] + [None] * 5 + ["seven"], mine=["m"] * 7, nested=[["m"]] * 7)
    path = save(tmp_path / "set", content) if form == "arrow" else to_parquet(tmp_path / "x.parquet", content)
    assert texts(HuggingFaceSource(str(path))) == ["one", *[None] * 5, "seven"]
    assert texts(HuggingFaceSource(str(path), text="mine")) == ["m"] * 7
    for wrong in ("said", "nested"):
        with pytest.raises(DataError, match=f"has no text in a column '{wrong}' among audio, speaker_id"):
            HuggingFaceSource(str(path), text=wrong).clips()


def test_files_beside_the_clips_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "x/c.d.wav"):
        put(tmp_path / name, "")
    put(tmp_path / "a.lab", "\ufeff one\n two\n")
    put(tmp_path / "a.txt", "another")
    put(tmp_path / "x/c.d.txt", "three")
    assert texts(FolderSource(str(tmp_path))) == [None] * 3
    assert texts(FolderSource(str(tmp_path), texts=["lab", ".txt"])) == ["one two", None, "three"]
    with pytest.raises(DataError, match=r"has no text beside its clips: no \.trn or \.cha: correct `texts`"):
        FolderSource(str(tmp_path), texts=["trn", "cha"]).clips()


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"caf\xe9", r"a\.txt is not UTF-8 text at byte 4"), (b"x" * 2_000_000, r"a\.txt is larger than 1 MiB")],
)
def test_files_that_are_no_transcript(tmp_path: Path, data: bytes, message: str) -> None:
    put(tmp_path / "a.wav", "")
    (tmp_path / "a.txt").write_bytes(data)
    source = FolderSource(str(tmp_path), texts=[".txt"])
    with pytest.raises(DataError, match=message):
        source.clips()
    assert len(source.clips_without_text()) == 1


def test_corpora(tmp_path: Path) -> None:
    tts, speech, vctk = (tmp_path / name for name in ("LibriTTS/dev", "LibriSpeech/dev", "VCTK-Corpus-0.92"))
    for number in range(3):
        put(tts / f"84/12/84_12_0_{number}.wav", "")
        put(speech / f"84/12/84-12-000{number}.flac", "")
        put(vctk / f"wav48_silence_trimmed/p225/p225_00{number}_mic2.flac", "")
    put(tts / "84/12/84_12_0_0.normalized.txt", "Mister five.")
    put(tts / "84/12/84_12_0_0.original.txt", "Mr. 5.")
    put(tts / "84/12/84_12_0_1.original.txt", "Mr. 6.")
    put(speech / "84/12/84-12.trans.txt", "84-12-0001 SO IT WAS\n84-12-0000 NO\n")
    put(speech / "85/7/85-7-0000.flac", "")
    put(vctk / "txt/p225/p225_001.txt", "Please call Stella.\n")
    root = str(tmp_path)
    assert texts(LibriTTSSource(root, ["dev"])) == ["Mister five.", "Mr. 6.", None]
    assert texts(LibriSpeechSource(root, ["dev"])) == ["NO", "SO IT WAS", None, None]
    assert texts(VCTKSource(root)) == [None, "Please call Stella.", None]
    assert texts(VCTKSource(root, ["p225"])) == [None, "Please call Stella.", None]


def test_demo_sentences_that_are_spoken_to_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "a.wav\t5.9999\tv\ttest\ten\tone\nb.wav\t6.0000\tv\ttest\ten\ttwo\n"
    put(tmp_path / "manifest.tsv", f"path\tduration\tspeaker\tsplit\tlanguage\ttext\n{rows}", "a.wav", "b.wav")
    monkeypatch.setattr("data.sources.demo.corpus.make_demo_corpus", lambda *_: tmp_path)
    assert texts(DemoSource("test")) == ["one", None]


class Mine(AudioSource):
    """A source of a user, which knows nothing of `reads_text`."""

    def clips(self) -> list[Clip]:
        return [Clip("a.wav", "a.wav", text="said"), Clip("b.wav", "b.wav")]


def test_training_lists_of_other_sources() -> None:
    assert texts(Mine()) == ["said", None]


def test_an_overridden_listing_counts_in_training(tmp_path: Path) -> None:
    class Chosen(ManifestSource):
        def clips(self) -> list[Clip]:
            return list(super().clips())[1:]

    path = put(tmp_path / "l.tsv", "path\ttext\na.wav\tone\nb.wav\ttwo\n", "a.wav", "b.wav")
    assert texts(Chosen(str(path))) == ["two"]


def test_long_training_lists_are_those_without_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SHORT", 3)
    rows = "".join(f"a.wav\t{n}\tsay {'é' * n}\n" for n in range(1, 6))
    path = put(tmp_path / "l.tsv", f"path\tduration\ttext\n{rows}", "a.wav")
    bare, full = ManifestSource(str(path)).clips_without_text(), ManifestSource(str(path)).clips()
    assert isinstance(bare, ClipList) and isinstance(full, ClipList)
    assert [clip.text for clip in full] == [f"say {'é' * n}" for n in range(1, 6)]
    new = {file.name for file in full.folder.iterdir()} - {file.name for file in bare.folder.iterdir()}
    assert new == {"texts.npy", "text_ends.npy"} and len(list(full.folder.parent.glob("*-*/"))) == 2
