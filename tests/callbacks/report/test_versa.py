"""VERSA's lists of a run's audio, and its scores beside ours."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from callbacks import ChannelEvaluation
from callbacks.metrics import STOI
from callbacks.report.__main__ import main as report
from callbacks.report.versa import main
from codec.training.comparison_module import ComparisonModule, System
from tests.support.codec_fakes import RATE, CountingModule, clip, loader, tiny_codec, trainer
from tests.support.speech import speech_like

CLIPS = [
    clip(f"talk {n}.wav", speech_like(n, 0.8)) | {"speaker": [f"s{n}"], "text": [text]}
    for n, text in enumerate(["one two three", "four five"])
]


def evaluated_run(root: Path, *, module=None, **options) -> Path:
    torch.manual_seed(0)
    module = module or ComparisonModule([System("A", codec=tiny_codec()), System("B", codec=tiny_codec())])
    defaults = {"audio_clips": 2, "audio_channels": 2, "bootstrap": 20, "num_workers": 0, "metrics": [STOI()]}
    evaluation = ChannelEvaluation(bit_error_rates=(0.0, 0.1), **(defaults | options))
    trainer(root, [evaluation]).test(module, loader(CLIPS), verbose=False)
    return next(root.rglob("channel.json")).parent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluated_run(tmp_path_factory.mktemp("run"))


def scored(folder: Path, lists: int = 4) -> None:
    """What VERSA would write: numbers, counts of words, a text and a number that is none."""
    for number in range(1, lists + 1):
        lines = []
        for place, line in enumerate((folder / f"{number}.scp").read_text().splitlines()):
            counts = {"whisper_wer_delete": place, "whisper_wer_insert": 0, "whisper_wer_replace": 1,
                      "whisper_wer_equal": 2 + place}  # fmt: skip
            score = {"key": line.split()[0], "utmos": 3.0 + 0.1 * number + place, "whisper_hyp_text": "one"}
            lines.append(json.dumps(score | counts | {"mcd": float("nan") if place else 5.0}))
        (folder / f"{number}.jsonl").write_text("\n".join(lines) + "\n")


def test_the_lists_name_all_audio(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["write", str(run), "-o", str(tmp_path)])
    assert "4.scp: B, bsc-0.1" in capsys.readouterr().out
    originals = dict(line.split() for line in (tmp_path / "gt.scp").read_text().splitlines())
    assert list(originals) == ["talk_0.wav", "talk_1.wav"]
    assert (tmp_path / "text").read_text() == "talk_0.wav one two three\ntalk_1.wav four five\n"
    signals = {}
    for name in ("gt", "1", "2", "3", "4"):
        for line in (tmp_path / f"{name}.scp").read_text().splitlines():
            key, file = line.split()
            signals[name, key], rate = soundfile.read(file)
            assert rate == RATE and len(signals[name, key]) == len(signals["gt", key])
    assert np.abs(signals["gt", "talk_1.wav"] - CLIPS[1]["audio"][0, 0].numpy()).max() < 1e-4
    assert not np.array_equal(signals["1", "talk_0.wav"], signals["2", "talk_0.wav"])


def test_scores_stand_in_our_tables(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists, output = tmp_path / "lists", tmp_path / "new"
    main(["write", str(run), "-o", str(lists)])
    scored(lists)
    main(["read", str(run), str(lists), "-o", str(output)])
    said = capsys.readouterr().out
    assert "versa_utmos, versa_whisper_wer, versa_mcd (4 of 8 signals without a score)" in said
    again = refused(["read", str(output), str(lists), "-o", str(tmp_path / "twice")], capsys)
    assert "versa_utmos" in again and "is among its metrics already" in again
    before = json.loads((run / "channel.json").read_text())
    after = json.loads((output / "channel.json").read_text())
    rows = {(row["codec"], row["channel"], row["metric"]): row for row in after["rows"]}
    for row in before["rows"]:
        assert rows[row["codec"], row["channel"], "stoi"] == row
    assert rows["B", "bsc-0", "versa_utmos"]["mean"] == pytest.approx(3.8)
    word = rows["A", "bsc-0.1", "versa_whisper_wer"]
    assert word["mean"] == pytest.approx((1 + 2) / (3 + 5)) and word["unscorable"] == 0
    mcd = rows["A", "bsc-0", "versa_mcd"]
    assert (mcd["mean"], mcd["unscorable"], mcd["reasons"]) == (None, 1, {"VERSA gave no score": 1})
    stated = {metric["name"]: metric for metric in after["metrics"]}
    assert (stated["versa_mcd"]["higher_is_better"], stated["versa_utmos"]["higher_is_better"]) == (False, True)
    with (output / "differences.csv").open(encoding="utf-8") as file:
        gaps = {(row["channel"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(gaps["bsc-0.1", "versa_utmos"]["difference"]) == pytest.approx(0.2)
    report([str(output), "-o", str(tmp_path / "page.html")])
    assert "whisper_wer (VERSA)" in (tmp_path / "page.html").read_text()


def test_a_run_of_one_codec(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = evaluated_run(tmp_path / "run", module=CountingModule(tiny_codec()))
    main(["write", str(run), "-o", str(tmp_path / "lists")])
    scored(tmp_path / "lists", 2)
    main(["read", str(run), str(tmp_path / "lists"), "-o", str(tmp_path / "new")])
    after = json.loads((tmp_path / "new" / "channel.json").read_text())
    assert {row["codec"] for row in after["rows"]} == {""} and "codec" in after


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_what_cannot_be_used_is_one_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no channel.json" in refused(["write", str(tmp_path), "-o", str(tmp_path)], capsys)
    lists = tmp_path / "lists"
    main(["write", str(run), "-o", str(lists)])
    new = ["-o", str(tmp_path / "new")]
    assert "1.jsonl does not exist" in refused(["read", str(run), str(lists), *new], capsys)
    scored(lists)
    (lists / "1.jsonl").write_text('{"utmos": 1}\n')
    assert "1.jsonl, line 1 is no JSON object with a key" in refused(["read", str(run), str(lists), *new], capsys)
    for text, why in (
        ('{"key": "zz", "utmos": 1}', "line 1 is of zz, no clip of the lists"),
        ('{"key": "talk_0.wav", "utmos": 1}\n{"key": "talk_0.wav", "utmos": 2}', "line 2 is of talk_0.wav once more"),
        ("[1]", "line 1 is no JSON object"),
        ("{", "line 1 is no JSON object"),
    ):
        (lists / "1.jsonl").write_text(text + "\n")
        assert why in refused(["read", str(run), str(lists), *new], capsys)
    assert "is the run itself" in refused(["read", str(run), str(lists), "-o", str(run)], capsys)
    assert "has no index.json" in refused(["read", str(run), str(tmp_path), *new], capsys)
    for number in range(1, 5):
        (lists / f"{number}.jsonl").write_text('{"key": "talk_0.wav", "text": "one"}\n')
    assert "hold no numbers" in refused(["read", str(run), str(lists), *new], capsys)
    few = evaluated_run(tmp_path / "few", audio_clips=1)
    assert "lacks audio of 1 of 2 clips" in refused(["write", str(few), "-o", str(lists)], capsys)
    twice = evaluated_run(tmp_path / "twice", repeats=2)
    assert "repeats 2 has audio of the first draw alone" in refused(["read", str(twice), str(lists), *new], capsys)
    other = evaluated_run(tmp_path / "other", module=ComparisonModule([System("C", codec=tiny_codec())]))
    assert f"is not of {other}" in refused(["read", str(other), str(lists), *new], capsys)
