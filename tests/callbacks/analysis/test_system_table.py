"""The table of systems: rates, cost, latency and scores of each, from one test."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch

from callbacks import ChannelEvaluation, CostReport, SystemTable
from callbacks.metrics import STOI, MelDistance
from codec.channels import Repetition
from codec.channels.link import Link
from codec.errors import InvalidValue
from codec.training.comparison_module import ComparisonModule, System
from tests.support.causal_codecs import streaming_codec
from tests.support.codec_fakes import CountingModule, clip, loader, tiny_codec, trainer
from tests.support.speech import speech_like


def table_of(tmp_path: Path, systems: list[System], **options) -> tuple[SystemTable, ChannelEvaluation, CostReport]:
    table, costs = SystemTable(0.5, repeats=1), CostReport(0.5, repeats=0)
    evaluation = ChannelEvaluation(
        bit_error_rates=(0.1, 0.0), metrics=[STOI(), MelDistance()], num_workers=0, bootstrap=20, audio_clips=0
    )
    clips = [clip(f"clip {n}", speech_like(n, 0.8)) | {"speaker": [f"s{n}"]} for n in range(2)]
    run = trainer(tmp_path, [table, evaluation, costs])
    run.test(ComparisonModule(systems), loader(clips), verbose=False)
    return table, evaluation, costs


def test_a_line_for_each_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    first, second = tiny_codec(), tiny_codec()
    coded = Link(code=Repetition(3))
    systems = [System("A", codec=first), System("B | coded", codec=first, link=coded), System("C", codec=second)]
    table, evaluation, costs = table_of(tmp_path, systems)
    assert [fact.system for fact in table.facts] == ["A", "B | coded", "C"]
    for fact in table.facts:
        rows = [row for row in evaluation.results if row.codec == fact.system and row.channel == "bsc-0"]
        assert {row.bit_rate for row in rows} == {fact.bit_rate}
        assert fact.coded_bit_rate == rows[0].coded_bit_rate
    a, b, c = table.facts
    assert b.bit_rate == pytest.approx(3 * a.bit_rate) and a.parameters == b.parameters == c.parameters
    cost = {(found.codec, found.part): found for found in costs.costs}
    assert a.parameters == cost["A", "codec"].parameters
    macs = [cost["A", part].macs_per_second for part in ("encoder", "quantizer", "decoder")]
    assert (a.encoder_macs, a.decoder_macs) == (macs[0] + macs[1], macs[2])
    assert a.encoder_real_time > 0 and a.decoder_real_time > 0
    frame = 1000 / first.frame_rate
    for part, delay in ((first.encoder, a.encoder_latency_ms - frame), (first.decoder, a.decoder_latency_ms)):
        expected = math.inf if part.receptive_field is None else part.receptive_field[1] * frame
        assert delay == pytest.approx(expected)
    printed = capsys.readouterr().out
    assert (
        "Systems without channel errors, mean over 2 clips of 2 speakers" in printed and "latency dec (ms)" in printed
    )


def test_a_codec_that_streams_looks_parts_of_a_frame_ahead(tmp_path: Path) -> None:
    small = streaming_codec("small")
    table, _, _ = table_of(tmp_path, [System("live", codec=small)])
    (fact,) = table.facts
    assert (fact.encoder_latency_ms, fact.decoder_latency_ms) == (5.0, 2.5)
    assert small.decoder.receptive_field is not None and small.decoder.receptive_field[1] == 1


def test_the_files_hold_every_figure(tmp_path: Path) -> None:
    torch.manual_seed(0)
    table, evaluation, _ = table_of(tmp_path, [System("A | 1", codec=tiny_codec())])
    folder = next(tmp_path.rglob("systems.csv")).parent
    with (folder / "systems.csv").open(encoding="utf-8") as file:
        lines = {(line["system"], line["figure"]): line for line in csv.DictReader(file)}
    assert float(lines["A | 1", "bit_rate"]["value"]) == table.facts[0].bit_rate
    stoi = next(row for row in evaluation.results if (row.channel, row.metric) == ("bsc-0", "stoi"))
    line = lines["A | 1", "stoi"]
    assert [float(line[name]) for name in ("value", "low", "high")] == [stoi.mean, stoi.low, stoi.high]
    markdown = (folder / "systems.md").read_text(encoding="utf-8").splitlines()
    assert len(markdown) == 3 and {line.count("|") for line in markdown} == {14} and "A &#124; 1" in markdown[2]
    assert f"{stoi.mean:.3f}" in markdown[2]


def test_what_a_table_needs(tmp_path: Path) -> None:
    clips = loader([clip("a", speech_like(0, 0.6))])
    with pytest.raises(InvalidValue, match="needs a ChannelEvaluation"):
        trainer(tmp_path, [SystemTable()]).test(CountingModule(tiny_codec()), clips, verbose=False)
    harsh = ChannelEvaluation(bit_error_rates=(0.1,), metrics=[STOI()], num_workers=0)
    with pytest.raises(InvalidValue, match="hold none without errors"):
        trainer(tmp_path, [SystemTable(), harsh]).test(CountingModule(tiny_codec()), clips, verbose=False)
    with pytest.raises(InvalidValue, match="repeats"):
        SystemTable(repeats=-1)
