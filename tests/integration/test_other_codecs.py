"""Codecs of other packages in every evaluation: comparison, prediction, cost, sensitivity; the manual's examples."""

import csv
import json

import numpy as np
import pytest
import torch

from callbacks import STOI, BitSensitivity, ChannelEvaluation, CostReport, ErrorSpread
from codec import ComparisonModule, ExternalCodec, FrameErasureChannel, System
from tests.codec.hub.test_external import Levels
from tests.integration.test_documentation import blocks
from tests.support.codec_fakes import CountingModule, clip, loader, tiny_codec, trainer
from tests.support.paths import ROOT
from tests.support.speech import speech_like

EXAMPLES = {text.split("class ")[1].split("(")[0]: text
            for text in blocks(ROOT / "docs/other_codecs.md", "python")}  # fmt: skip
CLIPS = [clip(f"voice/clip_{number}", speech_like(number, 0.9)) for number in range(2)]


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_comparison_scores_it_beside_a_codec_of_ours(tmp_path):
    module = ComparisonModule([System("Levels", codec=Levels()), System("tiny", codec=tiny_codec())])
    evaluation = ChannelEvaluation(
        bit_error_rates=(0.0, 0.1), channels=[FrameErasureChannel(0.2)], metrics=[STOI()], num_workers=0, audio_clips=0
    )
    cost = CostReport(seconds=0.1, repeats=1)
    trainer(tmp_path, [evaluation, cost]).test(module, loader(CLIPS), verbose=False)
    (file,) = tmp_path.rglob("channel.csv")
    means = {(row["codec"], row["channel"]): float(row["mean"]) for row in rows(file)}
    assert means["Levels", "bsc-0"] > 0.6 > means["Levels", "bsc-0.1"] > 0.1
    assert means["Levels", "frame-erasure-0.2"] > means["Levels", "bsc-0.1"]
    facts = json.loads(next(tmp_path.rglob("channel.json")).read_text())["codecs"]["Levels"]
    assert (facts["bit_rate"], facts["parameters"]) == (48_000, 9)
    costs = json.loads(next(tmp_path.rglob("costs.json")).read_text())["costs"]
    assert len(costs) == 8
    assert [line["macs_per_second"] for line in costs if line["codec"] == "Levels"] == [None] * 4
    prediction = module.predict_step(CLIPS[0], 0)["systems"]["Levels"]
    np.testing.assert_allclose(prediction["audio"][0, 0], CLIPS[0]["audio"][0, 0], atol=0.3)


def test_analyses_of_one_codec_take_it(tmp_path):
    sensitivity = BitSensitivity(clips=1, metrics=[STOI()], num_workers=0)
    spread = ErrorSpread(clips=1, frames=4)
    trainer(tmp_path, [sensitivity, spread]).test(CountingModule(Levels(8)), loader(CLIPS), verbose=False)
    lines = rows(next(tmp_path.rglob("sensitivity.csv")))
    losses = {line["part"]: float(line["loss"]) for line in lines}
    assert losses["codebook 0"] > losses["bit 7"]
    assert all(np.isnan(float(line["displacement"] or "nan")) for line in lines)
    assert spread.results["share_in_the_frame"] == pytest.approx(1)


def test_the_manual_has_the_examples():
    assert set(EXAMPLES) == {"SNAC", "EnCodec", "DAC", "BigCodec", "DualCodec"}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_of_the_manual_is_short_and_whole(name):
    lines = [line for line in EXAMPLES[name].splitlines() if line.strip()]
    assert len(lines) <= 18
    package = {"SNAC": "snac", "EnCodec": "encodec", "BigCodec": "bigcodec"}.get(name, name.lower())
    code = compile(EXAMPLES[name], name, "exec")
    pytest.importorskip({"DAC": "dac", "DualCodec": "dualcodec"}.get(name, package))
    names = {}
    exec(code, names)
    assert issubclass(names[name], ExternalCodec) and not names[name].__abstractmethods__


def test_the_snac_of_the_manual_runs(monkeypatch):
    snac = pytest.importorskip("snac")
    torch.manual_seed(0)
    small = snac.SNAC(
        sampling_rate=24_000, encoder_dim=4, encoder_rates=[2, 4, 8, 8], decoder_dim=32, decoder_rates=[8, 8, 4, 2],
        attn_window_size=None, codebook_size=4096, vq_strides=[4, 2, 1],
    )  # fmt: skip
    monkeypatch.setattr(snac.SNAC, "from_pretrained", lambda source: small)
    names = {}
    exec(EXAMPLES["SNAC"], names)
    codec = names["SNAC"]()
    assert round(codec.bit_rate) == 984
    codes = codec.encode(torch.from_numpy(speech_like(0, 0.5))[None, None])
    assert codes.unique().numel() > 5
    assert torch.equal(codec.decode(codes), codec.decode(codes))
