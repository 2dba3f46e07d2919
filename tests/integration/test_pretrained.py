"""The configurations of the pretrained codecs: any folder is scored and coded, without training or network."""

import csv
import json

import numpy as np
import pytest
import soundfile

from codec import load_codec
from tests.support.command_line import run
from tests.support.paths import CONFIGS
from tests.support.speech import write_speech

CODECS = ["FSQ", "RVQ", "FSQ aware", "RVQ aware", "Student", "Student aware"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the codecs are found by their names
    write_speech(tmp_path / "speech", (1.0, 1.0))
    return tmp_path


@pytest.mark.parametrize(("config", "systems", "name"), [
    ("evaluate/pretrained.yaml", CODECS, "codecs"),
    ("evaluate/field.yaml", CODECS, "field"),
    ("evaluate/pretrained_maps.yaml", ["FSQ natural", "FSQ permuted in halves seed 4", "RVQ optimised"], "maps"),
    ("evaluate/pretrained_links.yaml", ["FSQ", "FSQ prior", "RVQ conv 1/2 over 16 frames"], "links"),
    pytest.param(
        "evaluate/protection.yaml", ["FSQ equal", "FSQ unequal for 5 %", "FSQ unequal for 10 %"], "protection",
        marks=pytest.mark.slow,
    ),
    ("evaluate/pretrained_receivers.yaml", ["FSQ repeat last", "RVQ prior"], "receivers"),
    ("evaluate/operating_curve.yaml", ["FSQ repeat", "FSQ unequal 1.5 over 8 frames"], "operating_curve"),
    ("evaluate/concealment.yaml", ["FSQ repeat last", "FSQ learned", "FSQ learned 2 ahead"], "concealment"),
    ("evaluate/classical.yaml", ["Student", "Opus 6 kbit/s", "Codec 2 3200", "Codec 2 1300"], "classical"),
    ("evaluate/rate.yaml", ["FSQ fixed length", "FSQ adaptive, one stream", "RVQ measured, 0.1 s"], "rate"),
])  # fmt: skip
def test_any_folder_is_scored(folder, monkeypatch, config, systems, name):
    if name == "rate":
        pytest.importorskip("constriction")
    if name == "classical":
        pytest.importorskip("av")
        pytest.importorskip("pycodec2")
    run(
        monkeypatch, "test", "--config", CONFIGS / config, "--data.test", "data.FolderSource",
        "--data.test.init_args.root", "speech", "--data.num_workers", "0", "--channels.num_workers", "0",
        "--channels.bit_error_rates", "[0.0, 0.1]", "--channels.channels", "[]", "--channels.audio_clips", "0",
        "--channels.metrics", '[{"class_path": "callbacks.STOI"}]', "--trainer.enable_progress_bar", "false",
    )  # fmt: skip
    document = json.loads((folder / "runs" / "pretrained" / name / "channel.json").read_text())
    assert set(systems) <= set(document["codecs"])
    means = {(row["codec"], row["channel"]): row["mean"] for row in document["rows"]}
    assert all(means[system, "bsc-0"] > 0.3 for system in systems), "trained codecs"
    if name == "operating_curve":
        with (folder / "runs/pretrained/operating_curve/operating_curve.csv").open() as file:
            chosen = list(csv.DictReader(file))
        assert {row["channel"] for row in chosen} == {"bsc-0", "bsc-0.1"}
        assert all(float(row["delay_ms"]) <= 500 == float(row["delay_limit_ms"]) for row in chosen)
        unprotected = [
            means[name, "bsc-0.1"] for name in document["codecs"] if " over " not in name and " of " not in name
        ]
        first = next(row for row in chosen if row["channel"] == "bsc-0.1")
        assert float(first["mean"]) == pytest.approx(max(unprotected)) and float(first["bit_rate"]) == 800
        assert (folder / "runs/pretrained/operating_curve/channel/operating_curve.svg").is_file()
    if name == "rate":
        check_rate(folder / "runs/pretrained/rate", document, means)


def check_rate(run, document, means):
    """One flip: one frame of fixed length, on average half a stream, part of a packet; without errors all are equal."""
    with (run / "flips.csv").open() as file:
        flips = {
            row["codec"]: {k: float(v) for k, v in row.items() if k != "codec" and v} for row in csv.DictReader(file)
        }
    rates = {row["codec"]: row["bit_rate"] for row in document["rows"]}
    assert {name: row["bit_rate"] for name, row in flips.items()} == rates
    for codec in ("FSQ", "RVQ"):
        fixed, stream, packets = (
            f"{codec} {kind}" for kind in ("fixed length", "measured, one stream", "measured, 0.1 s")
        )
        assert flips[fixed]["frames"] == 1 and flips[fixed]["mean"] == 20 == flips[fixed]["longest"]
        assert 1 < flips[packets]["frames"] < 5 and flips[packets]["longest"] <= 100
        assert 10 < flips[stream]["frames"] < 45 and flips[stream]["wrong_codes"] > 0.2
        assert rates[stream] < rates[packets] <= 870 and rates[fixed] == 800
        assert means[fixed, "bsc-0"] == means[stream, "bsc-0"] == means[packets, "bsc-0"]
        assert means[fixed, "bsc-0.1"] > means[stream, "bsc-0.1"]
    assert (run / "channel/flips.svg").is_file()


def test_a_folder_is_coded_by_each_of_them(folder, monkeypatch):
    run(
        monkeypatch, "predict", "--config", CONFIGS / "evaluate/pretrained.yaml", "--data.predict_from", "speech",
        "--predictions.output_dir", "out", "--data.num_workers", "0", "--trainer.enable_progress_bar", "false",
    )  # fmt: skip
    assert {path.name for path in (folder / "out").iterdir()} == {name.replace(" ", "_") for name in CODECS}
    stored = np.load(folder / "out" / "Student_aware" / "1.codes.npz")
    assert stored["codes"].shape == (1, 50)
    assert stored["codes"].max() < load_codec("small_student_aware").quantizer.codebook_sizes[0]
    audio, rate = soundfile.read(folder / "out" / "RVQ" / "0.wav")
    assert (len(audio), rate) == (16_000, 16_000)


def score_text(folder, monkeypatch, text, name, *words):
    """The document of a comparison whose configuration is `text`, on the folder of speech."""
    (folder / "given.yaml").write_text(text)
    run(
        monkeypatch, "test", "--config", "given.yaml", "--data.test", "data.FolderSource",
        "--data.test.init_args.root", "speech", "--data.num_workers", "0", "--channels.num_workers", "0",
        "--channels.repeats", "1", "--trainer.enable_progress_bar", "false", *words,
    )  # fmt: skip
    return json.loads((folder / "runs" / "pretrained" / name / "channel.json").read_text())


def test_fine_tuned_codecs_are_set_against_the_pretrained_ones(folder, monkeypatch):
    """With the pretrained files in place of the runs that `make fine-tuning` trains."""
    text = (CONFIGS / "evaluate/fine_tuning.yaml").read_text()
    for codec in ("fsq", "rvq", "student"):
        for kind in ("continued", "flips"):
            text = text.replace(f"runs/small_{codec}_{kind}/checkpoints/last.ckpt", f"small_{codec}_aware")
    document = score_text(folder, monkeypatch, text, "fine_tuning", "--channels.bit_error_rates", "[0.0, 0.1]")
    assert {"FSQ", "FSQ continued", "FSQ through flips", "Student through flips"} <= set(document["codecs"])


def test_soft_decisions_are_set_against_hard_ones(folder, monkeypatch):
    """With the pretrained codec in place of the runs."""
    text = (CONFIGS / "evaluate/soft.yaml").read_text()
    for kind in ("continued", "soft", "soft_untold", "hard"):
        text = text.replace(f"runs/small_fsq_{kind}/checkpoints/last.ckpt", "small_fsq")
    metrics = '[{"class_path": "callbacks.STOI"}]'
    document = score_text(folder, monkeypatch, text, "soft", "--channels.metrics", metrics)
    means = {(row["codec"], row["channel"]): row["mean"] for row in document["rows"]}
    soft, hard = (means[f"pretrained, {kind}", "awgn-0dB-soft"] for kind in ("soft", "hard"))
    assert soft > hard
    assert means["pretrained, soft", "bsc-0"] == means["pretrained, hard", "bsc-0"]
