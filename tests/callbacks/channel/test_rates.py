"""Every evaluation states what its codes would need after entropy coding, in its tables and files."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.channel.rates import code_rates, coded_bit_rate, format_rates, rates_of
from callbacks.channel.tables import format_table
from callbacks.metrics import STOI
from callbacks.report.runs import read_runs
from callbacks.report.tables import fact_table
from codec.channels.entropy_coding import adaptive_bits
from tests.support.codec_fakes import CountingModule, clip, loader, trainer
from tests.support.speech import speech_like

CLIPS = [clip(f"voice/clip_{number}", speech_like(number, 0.8 + 0.1 * number)) for number in range(3)]


@pytest.fixture
def evaluated(tmp_path: Path, module: CountingModule) -> ChannelEvaluation:
    callback = ChannelEvaluation(bit_error_rates=(0.0, 0.1), metrics=[STOI()], num_workers=0, audio_clips=1)
    trainer(tmp_path, [callback]).test(module, loader(CLIPS), verbose=False)
    return callback


def test_the_coded_rate_is_in_rows_and_files(
    tmp_path: Path, module: CountingModule, evaluated: ChannelEvaluation
) -> None:
    codec = module.codec
    codes = [codec.encode(batch["audio"])[0].numpy() for batch in CLIPS]
    frames = sum(one.shape[1] for one in codes)
    rates = [coded_bit_rate(one, codec.quantizer.digits, codec.frame_rate) for one in codes]
    seconds = [batch["audio"].shape[-1] / codec.sample_rate for batch in CLIPS]
    mean = float(np.average(rates, weights=seconds))
    assert [row.coded_bit_rate for row in evaluated.results] == pytest.approx([mean] * 2, abs=0.001)
    with (tmp_path / "channel.csv").open() as file:
        assert {float(row["coded_bit_rate"]) for row in csv.DictReader(file)} == {evaluated.results[0].coded_bit_rate}
    document = json.loads((tmp_path / "channel.json").read_text())
    assert [entry["coded_bit_rate"] for entry in document["clips"]] == pytest.approx(rates)
    stated = document["codec"]
    assert stated["long_run_bit_rate"] == pytest.approx(
        adaptive_bits(codes, codec.quantizer.digits) * codec.frame_rate / frames
    )
    assert stated["code_rates"]["frames"] == frames
    assert {(row["part"], row["order"]) for row in stated["code_rates"]["entropies"]} >= {("frame", 0), ("frame", 1)}
    assert format_rates(rates_of(evaluated.systems, {"": evaluated.clip_scores})).startswith(
        f"Rate of the codes in kbit/s, without error correction, over {frames} frames:"
    )


def test_a_test_prints_them(tmp_path: Path, module: CountingModule, capsys: pytest.CaptureFixture[str]) -> None:
    callback = ChannelEvaluation(bit_error_rates=(0.0,), metrics=[STOI()], num_workers=0, audio_clips=0)
    trainer(tmp_path, [callback]).test(module, loader(CLIPS[:1]), verbose=False)
    assert "Rate of the codes in kbit/s" in capsys.readouterr().out


def test_the_listening_page_states_them_and_older_files_have_a_dash(
    tmp_path: Path, evaluated: ChannelEvaluation
) -> None:
    def cells() -> dict[str, str]:
        runs = read_runs([tmp_path])
        return {head: row[0].value for head, row in fact_table(runs.systems).rows}

    path = tmp_path / "channel.json"
    document = json.loads(path.read_text())
    assert cells()["coded bits/s, each clip"] == f"{document['codec']['coded_bit_rate']:,g}"
    for key in ("coded_bit_rate", "long_run_bit_rate", "code_rates"):
        del document["codec"][key]
    for entry in document["clips"]:
        del entry["coded_bit_rate"]
    path.write_text(json.dumps(document))
    assert cells()["coded bits/s, each clip"] == cells()["coded bits/s, long run"] == "–"
    rows = read_runs([tmp_path]).rows()
    assert all(math.isnan(row.coded_bit_rate) for row in rows)


def test_the_table_of_several_systems_has_a_column(evaluated: ChannelEvaluation) -> None:
    rows = [row._replace(codec=name) for name in ("A", "B") for row in evaluated.results]
    head = format_table(rows, evaluated.metrics, confidence=0.95).splitlines()[1].split("  ")
    columns = [column.strip() for column in head if column]
    assert columns[columns.index("kbit/s") + 1] == "coded"
    old = [row._replace(coded_bit_rate=math.nan) for row in rows]
    assert "coded" not in format_table(old, evaluated.metrics, confidence=0.95)
    mixed = format_table(rows[:2] + old[2:], evaluated.metrics, confidence=0.95)
    assert mixed.count("–") == 2


def test_systems_alike_share_a_line_and_bounds_stand_for_too_few_frames() -> None:
    codes = [np.random.default_rng(0).integers(0, 256, (1, 100))]
    one = code_rates(codes, [[4] * 4], bits_per_frame=8, frame_rate=50)
    other = code_rates([codes[0] % 2], [[4] * 4], bits_per_frame=8, frame_rate=50)
    lines = format_rates({"A": one, "B": one, "C": other}).splitlines()
    assert [line.split("  ")[0] for line in lines[3:5]] == ["A and 1 more", "C"]
    assert " to 0." in lines[3] and lines[-1].startswith("a to b: too few frames")
    assert " to " not in format_rates({"": other}).splitlines()[3]
