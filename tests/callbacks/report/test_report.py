"""The listening page holds every sound, score and setting of the runs, whatever their names, and needs nothing else."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.metrics import SISDR, STOI
from callbacks.report.__main__ import main
from callbacks.report.page import build
from callbacks.report.runs import read_runs
from codec.channels import FrameErasureChannel
from codec.training.comparison_module import ComparisonModule, System
from tests.support.codec_fakes import CountingModule, clip, loader, tiny_codec, trainer
from tests.support.speech import speech_like

EVIL = "<script>alert('$1')</script> & \"b\""
CLIPS = [clip(name, speech_like(n, 0.8 + 0.1 * n)) for n, name in enumerate(["a", f"voice/{EVIL}", "c"])]
SHORT = clip("short", speech_like(9, 0.2))  # too short for STOI


def evaluate(folder: Path, module: Any, clips: list[dict[str, Any]], **options: Any) -> Path:
    settings = {"bit_error_rates": (0.0, 0.1), "metrics": [STOI(), SISDR()], "num_workers": 0, "audio_clips": 3}
    trainer(folder, [ChannelEvaluation(**{**settings, **options})]).test(module, loader(clips), verbose=False)
    (folder / "config.yaml").write_text(f"seed_everything: 0  # {EVIL}\n")
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two codecs, one with codewords that name no code, on three clips, one of them too short for STOI; three draws."""
    torch.manual_seed(0)
    module = ComparisonModule([System(EVIL, codec=tiny_codec()), System("B", codec=tiny_codec((5, 5, 5)))])
    return evaluate(tmp_path_factory.mktemp("pair"), module, [*CLIPS[:2], SHORT], repeats=3)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One codec on other clips, metrics and channels: two clips are those of `pair`."""
    torch.manual_seed(1)
    return evaluate(
        tmp_path_factory.mktemp("single"), CountingModule(tiny_codec()), CLIPS, metrics=[SISDR()], repeats=2,
        channels=[FrameErasureChannel(0.5)], audio_channels=2,
    )  # fmt: skip


@pytest.fixture
def other(single: Path, tmp_path: Path) -> Path:
    """A copy of `single` to damage."""
    return Path(shutil.copytree(single, tmp_path / "other"))


class Page(HTMLParser):
    """Every start tag with its attributes, and the text outside styles and scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for found, attributes in self.tags if found == tag]


def document(run: Path) -> dict[str, Any]:
    return json.loads((run / "channel.json").read_text())


def test_scores_and_differences_of_one_run_are_its_own(pair: Path) -> None:
    runs = read_runs([pair])
    rows = [row._asdict() for row in runs.rows()]
    key = ("channel", "codec", "metric")
    order = {tuple(row[k] for k in key): row for row in rows}
    for stated in document(pair)["rows"]:
        found = order.pop(tuple(stated[k] for k in key))
        assert {k: None if v != v else v for k, v in found.items()} == stated
    assert not order
    with (pair / "differences.csv").open() as file:
        stated = list(csv.DictReader(file))
    found = [{k: str(v) for k, v in row._asdict().items()} for row in runs.differences(runs.rows())]
    assert found == stated and len(found) == 4


def test_every_audio_file_is_there_and_plays_to_its_end(pair: Path) -> None:
    page = Page(build(read_runs([pair])))
    stated = {entry["id"]: entry["files"] for entry in document(pair)["audio"]}
    names = ["original", *(f"{codec}, {channel}" for codec in (EVIL, "B") for channel in ("bsc-0", "bsc-0.1"))]
    wavs = [soundfile.read(pair / stated[clip_id][name])[0] for clip_id in sorted(stated) for name in names]
    assert len(wavs) == len(page.all("audio")) == 3 * 5
    for place, audio in enumerate(page.all("audio")):
        head, data = audio["src"].split(",")
        assert head == "data:audio/mpeg;base64" and audio["aria-label"]
        signal, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert rate == 16_000 and len(signal) == len(wavs[place])
        likeness = [np.corrcoef(signal, wav)[0, 1] if len(wav) == len(signal) else 0.0 for wav in wavs]
        assert int(np.argmax(likeness)) == place and likeness[place] > 0.9


def test_the_page_needs_no_network_and_can_be_read_by_all(pair: Path, single: Path) -> None:
    html = build(read_runs([pair, single]))
    page = Page(html)
    links = [attributes.get(name, "#") for _, attributes in page.tags for name in ("src", "href", "xlink:href")]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not page.all("link") and "@import" not in html and "default-src 'none'" in html
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link[0] == "#" and link != "#"} <= set(ids)
    assert all(button["aria-label"] and button["type"] == "button" for button in page.all("button"))
    assert len(page.all("button")) == len(page.all("audio"))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert page.all("text") and "bits wrong or lost on the channel" in page.text
    assert len(page.all("caption")) == len(page.all("table")) and all("scope" in head for head in page.all("th"))
    assert page.all("html") == [{"lang": "en"}]


def test_names_and_settings_from_files_stay_text(pair: Path) -> None:
    html = build(read_runs([pair]))
    page = Page(html)
    assert len(page.all("script")) == 1 and "<script>alert" not in html
    assert f"seed_everything: 0  # {EVIL}" in page.text and f"voice/{EVIL}" in page.text
    assert any(button["aria-label"].startswith(f"{EVIL}, 10 % of bits flipped, STOI ") for button in page.all("button"))


def test_what_could_not_be_scored_stands_beside_the_scores(pair: Path) -> None:
    text = Page(build(read_runs([pair]))).text
    assert "3 unscored" in text and "3 unpaired" in text and "STOI unscored" in text
    reason = "STOI: too few frames with speech (3)."
    assert f"B, 10 %: 3 of 9 draws could not be scored and count as 0.000: {reason}" in text
    assert f"B minus {EVIL} (0.35 : 0.4 kbit/s)" in text and "of 9 draws lack a score and count as 0.000." in text


def test_runs_meet_on_their_common_clips_channels_and_draws(pair: Path, single: Path) -> None:
    runs = read_runs([pair, single])
    assert runs.clips == runs.audio_clips == sorted(batch["id"][0] for batch in CLIPS[:2])
    assert [system.name for system in runs.systems] == [EVIL, "B", single.name]
    assert len(runs.notes) == 2
    assert [channel.name for channel in runs.channels] == ["bsc-0", "bsc-0.1", "frame-erasure-0.5"]
    rows = runs.rows()
    entries = {entry["id"]: entry["channels"]["bsc-0.1"]["scores"]["si_sdr"] for entry in document(single)["clips"]}
    row = next(row for row in rows if row.codec == single.name and row.channel == "bsc-0.1")
    assert row.mean == pytest.approx(np.mean([entries[name] for name in runs.clips])) and row.clips == 2
    gaps = runs.differences(rows)
    assert {gap.metric for gap in gaps} == {"si_sdr"} and {gap.channel for gap in gaps} == {"bsc-0", "bsc-0.1"}
    assert {(gap.pairs, gap.draws, gap.unpaired) for gap in gaps} == {(2, 4, 0)}
    text = Page(build(runs)).text
    assert f"another run lacks it: {pair.name} has scores of short." in text
    assert f"another run lacks it: {single.name} has scores of c." in text
    assert "frame-erasure-0.5: no test" in text and "10 %: no audio" in text


def test_systems_of_one_name_are_told_apart_by_their_run(pair: Path, single: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pair, tmp_path / "copy"))
    assert [s.name for s in read_runs([pair, copy]).systems] == [
        f"{run}: {name}" for run in (pair.name, "copy") for name in (EVIL, "B")
    ]
    again = Path(shutil.copytree(single, tmp_path / "deep" / single.name))
    assert [system.name for system in read_runs([single, again]).systems] == [str(single), str(again)]


def test_the_command_writes_the_page_and_says_its_size(
    single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(single), "-o", str(tmp_path / "report.html")])
    size = (tmp_path / "report.html").stat().st_size
    assert f"{size / 1e6:.2f} MB, 3 clips to hear of 3 scored, systems: 1" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text() == build(read_runs([single]))


def rewrite(run: Path, **changes: Any) -> None:
    (run / "channel.json").write_text(json.dumps({**document(run), **changes}))


def renamed(run: Path, key: str, names: dict[str, str]) -> list[dict[str, Any]]:
    return [{**entry, "id": names.get(entry["id"], entry["id"])} for entry in document(run)[key]]


def break_common(run: Path) -> None:
    names = {batch["id"][0]: f"new {number}" for number, batch in enumerate(CLIPS)}
    rewrite(run, clips=renamed(run, "clips", names), audio=renamed(run, "audio", names))


def break_length(run: Path) -> None:
    rewrite(run, clips=[{**entry, "seconds": 7.5} for entry in document(run)["clips"]])


@pytest.mark.parametrize(("damage", "match"), [
    (lambda run: (run / "channel.json").unlink(), "other has no channel.json: give the folder"),
    (lambda run: rewrite(run, audio=[]), "names no audio: test the run again, with `channels.audio_clips`"),
    (lambda run: (run / "channel.json").write_text('{"stage": "te'), "incomplete or not of an evaluation"),
    (lambda run: rewrite(run, metrics=None), "incomplete or not of an evaluation"),
    (lambda run: (run / "channel" / "audio_1_original.wav").unlink(), "audio_1_original.wav and 0 more audio files"),
    (lambda run: rewrite(run, settings={**document(run)["settings"], "seed": 5}), "seed 0 and other seed 5"),
    (break_common, r"no clip has scores in all runs: .* has scores of a, c, voice/.*; other has scores of new 0, "),
    (lambda run: rewrite(run, audio=renamed(run, "audio", {"a": "x", "c": "y", CLIPS[1]["id"][0]: "z"})),
     r"no clip has audio in all runs: .*; test them on the same clips, by the same ids: .*path below `root`.*Manifest"),
    (break_length, r"clip a lasts 0.800 s in .* and 7.500 s in other: not the same recording"),
])  # fmt: skip
def test_what_is_wrong_with_a_run_is_said_in_one_sentence(
    single: Path, other: Path, tmp_path: Path, damage: Any, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(other)
    with pytest.raises(ValueError, match=match):
        read_runs([single, other])
    with pytest.raises(SystemExit) as end:
        main([str(single), str(other), "-o", str(tmp_path / "report.html")])
    assert end.value.code == 2 and not (tmp_path / "report.html").exists()
    assert capsys.readouterr().err.count("\n") == 1


def altered(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    found = document(run)
    change(next(clip for clip in reversed(found["clips"]) if clip["id"] == "short")["channels"]["bsc-0.1"])
    rewrite(run, **found)


@pytest.mark.parametrize(("change", "match"), [
    (lambda draw: draw["scores"]["stoi"].__setitem__(1, "0.9"), "stoi {} '0.9' is no number"),
    (lambda draw: draw["scores"].pop("stoi"), "KeyError: 'stoi'"),
    (lambda draw: draw["scores"]["stoi"].pop(), "stoi {} is there for 2 of 3 draws"),
    (lambda draw: draw["unscorable"].clear(), "stoi {} is null without a reason"),
    (lambda draw: draw["unscorable"].update(stoi=[None] * 3), "stoi {} is null without a reason"),
    (lambda draw: draw.update(erased_codewords=["x"] * 3), "erased_codewords {} 'x' is no number"),
])  # fmt: skip
def test_scores_that_are_missing_or_no_numbers_are_named(pair: Path, tmp_path: Path, change: Any, match: str) -> None:
    damaged = Path(shutil.copytree(pair, tmp_path / "damaged"))
    altered(damaged, change)
    where = "of clip short behind bsc-0.1"
    with pytest.raises(
        ValueError, match=rf"channel\.json is incomplete .*{re.escape(match.format(where))}.*: test the run again"
    ):
        read_runs([damaged])


def test_systems_of_one_run_hold_the_same_clips(pair: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(pair, tmp_path / "damaged"))
    rewrite(damaged, clips=[clip for clip in document(pair)["clips"] if (clip["id"], clip["codec"]) != ("short", "B")])
    with pytest.raises(ValueError, match="clip short is not of all systems"):
        read_runs([damaged])
    rewrite(damaged, clips=[])
    with pytest.raises(ValueError, match="no clips are scored"):
        read_runs([damaged])


def sound_of(rate: int, channels: int, samples: int = 1000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((samples, channels)), rate, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize(("content", "match"), [
    (b"", "is damaged .*: test the run again"),
    (b"RIFF no sound", "is damaged .*: test the run again"),
    (sound_of(16_000, 1, 0), "holds no samples: test the run again"),
    (sound_of(16_000, 8), "has 8 channels at 16000 Hz, and the page's MP3 takes one or two at"),
    (sound_of(22_222, 1), "has 1 channels at 22222 Hz, and the page's MP3 takes"),
    (sound_of(96_000, 1), "has 1 channels at 96000 Hz, and the page's MP3 takes"),
])  # fmt: skip
def test_audio_that_cannot_be_put_on_the_page_is_one_sentence(
    other: Path, tmp_path: Path, content: bytes, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (other / "channel" / "audio_1_original.wav").write_bytes(content)
    with pytest.raises(SystemExit) as end:
        main([str(other), "-o", str(tmp_path / "report.html")])
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1
    assert re.search(rf"audio_1_original\.wav {match}", error)


def test_a_run_given_twice_is_refused(single: Path) -> None:
    with pytest.raises(ValueError, match="given more than once"):
        read_runs([single, single / ".." / single.name])
