"""Comparison of checkpoints from the command line: same clips, same draws, each codec encoded once, rates stated."""

import csv
import json

import numpy as np
import pytest
import yaml

from codec import NeuralCodec, load_codec
from codec.training.comparison_module import ComparisonModule, System
from tests.support.command_line import CODEC, run, small
from tests.support.paths import CONFIGS


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, recordings):
    """A tiny FSQ and a tiny RVQ run, as the quickstart-sized configurations make them."""
    folder = tmp_path_factory.mktemp("runs")
    words = [CODEC + ".encoder.init_args.width", "16", CODEC + ".decoder.init_args.backbone.init_args.depth", "1"]
    for name, overlays in (("fsq", []), ("rvq", ["--config", CONFIGS / "small/quickstart_rvq.yaml"])):
        options = ["--config", CONFIGS / "quickstart.yaml", *overlays, "--config", CONFIGS / "overlays/debug.yaml"]
        options += [*small(recordings, folder), *words, "--trainer.max_steps", "2", "--channels.fit_clips", "0"]
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.chdir(folder)
            run(monkeypatch, "fit", *options, "--trainer.logger.init_args.name", name)
    return {name: str(folder / name / "checkpoints" / "last.ckpt") for name in ("fsq", "rvq")}


def compare(monkeypatch, tmp_path, speech, systems, *words):
    overlay = tmp_path / "systems.yaml"
    overlay.write_text(yaml.safe_dump({"model": {"init_args": {"systems": systems}}}))
    options = ["--config", CONFIGS / "evaluate/compare.yaml", "--config", overlay]
    options += ["--data.test", "data.FolderSource", "--data.test.init_args.root", speech]
    options += ["--channels.num_workers", "0", "--channels.metrics", '[{"class_path": "callbacks.STOI"}]']
    options += ["--trainer.enable_progress_bar", "false", "--trainer.logger.init_args.save_dir", tmp_path]
    run(monkeypatch, "test", *options, *words)
    with (tmp_path / "compare" / "channel.csv").open() as file:
        return list(csv.DictReader(file))


def test_codecs_and_links_compare_on_the_same_draws(monkeypatch, tmp_path, speech, checkpoints, capsys):
    systems = [
        {"name": "FSQ", "checkpoint": checkpoints["fsq"]},
        {"name": "again", "checkpoint": checkpoints["fsq"]},
        {"name": "Gray", "checkpoint": checkpoints["fsq"], "link": {"index_map": {"class_path": "codec.GrayMap"}}},
        {"name": "RVQ", "checkpoint": checkpoints["rvq"]},
        {
            "name": "FSQ coded",
            "checkpoint": checkpoints["fsq"],
            "link": {"code": {"class_path": "codec.Repetition", "init_args": {"times": 3}}, "protected_bits": 8},
        },
    ]
    encoded = []
    encode = NeuralCodec.encode
    monkeypatch.setattr(NeuralCodec, "encode", lambda self, *given: encoded.append(self) or encode(self, *given))
    channels = '[{"class_path": "codec.FrameErasureChannel", "init_args": {"frame_erasure_rate": 0.2}}]'
    words = ["--channels.bit_error_rates", "[0.0, 0.1]", "--channels.channels", channels]
    rows = compare(monkeypatch, tmp_path, speech, systems, *words)
    assert len(encoded) == 6 * 2  # six clips, two codecs: links share their codec's codes
    found = {(row["codec"], row["channel"]): row for row in rows}
    assert len(found) == 5 * 3
    for channel in ("bsc-0", "bsc-0.1", "frame-erasure-0.2"):
        assert found["FSQ", channel]["mean"] == found["again", channel]["mean"]
    assert found["FSQ", "bsc-0"]["mean"] == found["Gray", "bsc-0"]["mean"] == found["FSQ coded", "bsc-0"]["mean"]
    assert found["FSQ", "bsc-0.1"]["mean"] != found["Gray", "bsc-0.1"]["mean"]
    errors = {found[name, "bsc-0.1"]["measured_bit_error_rate"] for name in ("FSQ", "Gray", "RVQ")}
    assert len(errors) == 1  # equally many bits: the very same flips
    coded = found["FSQ coded", "bsc-0.1"]
    assert float(coded["measured_bit_error_rate"]) < 0.9 * float(errors.pop())
    assert {float(found[name, "bsc-0.1"]["bit_rate"]) for name in ("FSQ", "RVQ")} == {800.0}
    assert float(coded["bit_rate"]) == 50 * (8 * 3 + 8)
    text = capsys.readouterr().out
    assert "Bit rates differ, from 0.8 to 1.6 kbit/s" in text
    assert "FSQ (1.6 : 0.8)" in text and "the bit rates in kbit/s differ" in text
    document = json.loads((tmp_path / "compare" / "channel.json").read_text())
    assert document["codecs"]["Gray"]["index_map"] == "Gray"
    assert len(document["clips"]) == 5 * 6
    names = {path.name for path in (tmp_path / "compare" / "channel").iterdir()}
    assert {"quality_bsc.svg", "quality_frame-erasure.png"} <= names


def test_differences_are_those_of_the_clips(monkeypatch, tmp_path, speech, checkpoints):
    systems = [{"name": "FSQ", "checkpoint": checkpoints["fsq"]}, {"name": "RVQ", "checkpoint": checkpoints["rvq"]}]
    compare(monkeypatch, tmp_path, speech, systems, "--channels.bit_error_rates", "[0.0, 0.1]")
    clips = json.loads((tmp_path / "compare" / "channel.json").read_text())["clips"]
    scores = {
        name: {
            c["id"]: np.maximum(c["channels"]["bsc-0.1"]["scores"]["stoi"], 0).mean()
            for c in clips
            if c["codec"] == name
        }
        for name in ("FSQ", "RVQ")
    }
    gaps = [scores["RVQ"][clip] - scores["FSQ"][clip] for clip in scores["FSQ"]]
    with (tmp_path / "compare" / "differences.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["channel"] == "bsc-0.1")
    assert (row["codec"], row["baseline"], row["pairs"], row["equal_rate"]) == ("RVQ", "FSQ", "6", "True")
    assert float(row["difference"]) == pytest.approx(np.mean(gaps))
    assert float(row["low"]) <= np.mean(gaps) <= float(row["high"])


@pytest.mark.parametrize(("systems", "match"), [
    ([], "at least one"),
    ([System("a", "x"), System("a", "x")], "unique names"),
    ([System("a")], "either a checkpoint or a codec"),
    ([System("a", "nowhere.ckpt")], "no checkpoint nowhere.ckpt"),
])  # fmt: skip
def test_impossible_comparisons_are_refused(systems, match):
    with pytest.raises(ValueError, match=match):
        ComparisonModule(systems)


@pytest.mark.parametrize(("words", "sentence"), [
    (["--channels.link.index_map", "codec.GrayMap"], "give each of its systems a link of its own."),
    (["--model.init_args.systems", '[{"name": "a", "checkpoint": "CHECKPOINT", "link": {"protected_bits": 3}}]'],
     "need a code: name one, for example codec.ConvolutionalCode."),
    (["--trainer.callbacks", '[{"class_path": "callbacks.BitSensitivity"}]'],
     "BitSensitivity analyses one codec: test its checkpoint alone, without a comparison."),
])  # fmt: skip
def test_mistakes_end_a_comparison(monkeypatch, tmp_path, speech, checkpoints, capsys, words, sentence):
    systems = [{"name": name, "checkpoint": path} for name, path in checkpoints.items()]
    with pytest.raises(SystemExit):
        compare(monkeypatch, tmp_path, speech, systems, *(w.replace("CHECKPOINT", checkpoints["fsq"]) for w in words))
    assert capsys.readouterr().err.rstrip().endswith(sentence)


def test_a_codec_at_another_rate_is_resampled(checkpoints):
    """Scored at 24 kHz, a 16 kHz codec gets and gives audio of the clip's own length."""
    import torch

    from codec.training.comparison_module import decode_at, encode_at

    codec = load_codec(checkpoints["fsq"])
    audio = torch.randn(1, 1, 24_001) / 10
    codes = encode_at(codec, audio, 24_000)
    assert codes.shape[-1] == -(-16_001 // 320)
    assert decode_at(codec, codec.quantizer.decode(codes), 24_000, length=24_001).shape == (1, 1, 24_001)


@pytest.mark.slow
def test_third_party_codecs_compare_from_their_folders(monkeypatch, tmp_path, speech, checkpoints):
    """EnCodec at 24 kHz and X-Codec 2 at 16 kHz beside a run of ours: from codes to bits and back to audio."""
    third_party = pytest.importorskip("tests.codec.hub.test_transformers_codec")
    systems = [{"name": "FSQ", "checkpoint": checkpoints["fsq"]}]
    for family, options in (("encodec", {"codebooks": 2}), ("xcodec2", {})):
        third_party.small_model(family).save_pretrained(tmp_path / family)
        codec = {"class_path": "codec.TransformersCodec", "init_args": {"source": str(tmp_path / family), **options}}
        systems.append({"name": family, "codec": codec, "link": {"concealment": {"class_path": "codec.RepeatLast"}}})
    channels = '[{"class_path": "codec.FrameErasureChannel", "init_args": {"frame_erasure_rate": 0.2}}]'
    words = ["--channels.bit_error_rates", "[0.0, 0.1]", "--channels.channels", channels]
    rows = compare(monkeypatch, tmp_path, speech, systems, *words)
    rates = {row["codec"]: float(row["bit_rate"]) for row in rows}
    assert rates == {"FSQ": 800, "encodec": 75 * 2 * 5, "xcodec2": 800}
    assert {row["scored"] for row in rows} == {"18"}  # six clips, three draws
    found = {(row["codec"], row["channel"]): row["mean"] for row in rows}
    for name in rates:
        assert len({found[name, channel] for channel in ("bsc-0", "bsc-0.1", "frame-erasure-0.2")}) == 3
