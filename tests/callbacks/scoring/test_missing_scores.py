"""Failing never pays: of 44 clips, 15 silent or unscorable ones raise no mean, on any path to the reader."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from callbacks.channel.document import STATED
from callbacks.figures.quality import quality_figure
from callbacks.metrics import PESQ, SISDR, default_metrics
from callbacks.output.files import without_nan
from callbacks.report.systems import System, read_bootstrap, read_systems
from callbacks.report.tables import score_table
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.differences import Difference, compare
from callbacks.scoring.scores import ChannelRow, logged_values

CLIPS, FAILED = 44, 15
RATES = (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
SILENT = {"stoi": 0.0, "estoi": 0.0, "mel": 60.0}  # what a silent decoded signal scores; the rest have no score
METRICS = {metric.name: metric for metric in (*default_metrics(), SISDR()) if metric.name != "level"}


@cache
def scored_run() -> dict[str, Any]:
    """A `channel.json` of FSQ and RVQ: STOI falls with the error rate, PESQ rises where no speech is left."""
    generator = np.random.default_rng(0)
    channels = {f"bsc-{rate:g}": rate for rate in RATES}
    clips = []
    for codec, fragility in (("FSQ", 1.5), ("RVQ", 4.0)):
        ease = np.random.default_rng(1).normal(0.0, 0.05, CLIPS)  # of the clips, the same for both
        for number in range(CLIPS):
            draws = {}
            for channel, rate in channels.items():
                stoi = 0.8 * np.exp(-fragility * rate) + ease[number] + generator.normal(0.0, 0.01)
                scores = {
                    "pesq_wb": max(1.03, 4 * stoi - 2.2 if stoi > 0.5 else generator.gamma(2.0, 0.7)),
                    "pesq_nb": max(1.03, 4 * stoi - 1.9 if stoi > 0.5 else generator.gamma(2.0, 0.8)),
                    "stoi": stoi,
                    "estoi": stoi - 0.2 if rate < 0.5 else generator.normal(0.0, 0.03),
                    "si_sdr": generator.normal(-36.0, 5.0),
                    "mel": 14 - 10 * stoi + generator.normal(0.0, 0.1),
                }
                draws[channel] = {
                    "bit_error_rate": [rate],
                    "erased_codewords": [0],
                    "scores": {metric: [float(value)] for metric, value in scores.items()},
                    "unscorable": {},
                }
            facts = {"id": f"clip {number:02}", "codec": codec, "speaker": f"voice {number % 31}"}
            clips.append({**facts, "seconds": 4.0, "bits": 3200, "channels": draws})
    codec = {"bit_rate": 800.0, "bits_per_frame": 16, "codebook_sizes": [65536], "frame_rate": 50.0}
    rows = [
        {"channel": name, "family": "bsc", "bit_error_rate": rate, "curve": "bsc", "bit_rate": 800.0, "codec": system,
         "delay_ms": 40.0}
        for name, rate in channels.items()
        for system in ("FSQ", "RVQ")
    ]  # fmt: skip
    return {
        "stage": "test", "step": 0, "codecs": {"FSQ": codec, "RVQ": codec}, "audio": [], "rows": rows, "clips": clips,
        "settings": {"repeats": 1, "seed": 0, "bootstrap": 50, "confidence": 0.95},
        "metrics": without_nan([{name: getattr(m, name) for name in STATED} for m in METRICS.values()]),
    }  # fmt: skip


def failing(scores: dict[str, float], *, best: bool) -> dict[str, Any]:
    """A copy in which RVQ fails behind every channel on the clips with the best or the worst STOI without errors."""
    document = copy.deepcopy(scored_run())
    clips = [clip for clip in document["clips"] if clip["codec"] == "RVQ"]
    clips.sort(key=lambda clip: clip["channels"]["bsc-0"]["scores"]["stoi"][0], reverse=best)
    for clip in clips[:FAILED]:
        for draw in clip["channels"].values():
            for metric in METRICS:
                draw["scores"][metric] = [scores.get(metric)]
                draw["unscorable"][metric] = [] if metric in scores else ["degraded signal is silent"]
    return document


def systems_of(document: dict[str, Any]) -> list[System]:
    return read_systems(Path("run"), document, "run")


def results(document: dict[str, Any]) -> tuple[dict[tuple[str, str], ChannelRow], dict[tuple[str, str], Difference]]:
    """RVQ's rows and its differences from FSQ, by channel and metric."""
    systems = systems_of(document)
    channels, metrics = systems[0].channels, systems[0].metrics
    clips = {s.name: s.scores(sorted(s.clips), channels, repeats=1) for s in systems}
    rows, gaps = compare(clips, channels, metrics, repeats=1, bootstrap=Bootstrap(resamples=50))
    return (
        {(row.channel, row.metric): row for row in rows if row.codec == "RVQ"},
        {(gap.channel, gap.metric): gap for gap in gaps},
    )


def no_better(after: float, before: float, metric: str) -> bool:
    """Whether a value is not better than before; none at all is no better either."""
    if np.isnan(after):
        return True
    return after <= before + 1e-12 if METRICS[metric].higher_is_better else after >= before - 1e-12


@pytest.mark.parametrize("scores", [SILENT, {}], ids=["silent", "unscorable"])
@pytest.mark.parametrize("best", [False, True], ids=["worst clips", "best clips"])
def test_no_mean_rises_by_failing(scores: dict[str, float], best: bool) -> None:
    (rows, gaps), (failed, failed_gaps) = results(scored_run()), results(failing(scores, best=best))
    assert len(rows) == len(failed) == len(failed_gaps) == 8 * 6
    for (channel, metric), row in failed.items():
        before = rows[channel, metric]
        assert no_better(row.mean, before.mean, metric) or before.withheld, (channel, metric)
        assert no_better(failed_gaps[channel, metric].difference, gaps[channel, metric].difference, metric)
        expected = 0 if metric in scores else FAILED
        assert (row.unscorable, row.scored + row.unscorable) == (expected, 44)
        assert failed_gaps[channel, metric].unpaired == expected
        if expected and METRICS[metric].worst is None:
            assert np.isnan([row.mean, row.low, row.high, failed_gaps[channel, metric].difference]).all()
            assert row.imputed == 0
        elif not row.withheld:
            assert np.isfinite([row.mean, row.low, row.high]).all() and row.imputed == expected
        assert not before.withheld or row.withheld  # a withheld mean does not come back
    assert failed["bsc-0", "stoi"].mean < rows["bsc-0", "stoi"].mean - 0.2
    assert failed["bsc-0", "pesq_wb"].withheld or failed["bsc-0", "pesq_wb"].mean < rows["bsc-0", "pesq_wb"].mean
    values, worse = (logged_values(list(found.values()), list(METRICS.values())) for found in (rows, failed))
    for key, row in zip(values, rows.values(), strict=True):
        assert no_better(worse[key], values[key], row.metric), key


def test_pesq_ends_where_speech_does() -> None:
    rows, gaps = results(scored_run())
    shown = [channel for (channel, metric), row in rows.items() if metric == "pesq_wb" and not row.withheld]
    assert shown == ["bsc-0", "bsc-0.001", "bsc-0.01", "bsc-0.02", "bsc-0.05", "bsc-0.1"]
    assert rows["bsc-0.1", "stoi"].mean > 0.4 > rows["bsc-0.2", "stoi"].mean
    assert np.isnan(gaps["bsc-0.2", "pesq_wb"].difference) and gaps["bsc-0.2", "pesq_wb"].withheld
    found = list(rows.values())
    table = score_table(found, PESQ())
    assert {channel: cells[0].value for channel, cells in table.rows}["20 %"] == "–"
    assert [note for note in table.notes if "PESQ says nothing" in note] == table.notes
    figure = quality_figure(found, [PESQ()], title="")
    (curve,) = figure.axes[0].get_lines()
    assert np.isfinite(curve.get_ydata()).tolist() == [True] * 6 + [False] * 2
    assert "PESQ says nothing" in figure.axes[0].get_title().replace("\n", " ")


def test_figures_and_the_page_count_what_is_missing() -> None:
    rows, _ = results(failing({}, best=False))
    found = list(rows.values())
    for name, counted in (("stoi", "counted as 0"), ("si_sdr", "no mean")):
        figure = quality_figure(found, [METRICS[name]], title="")
        assert counted in figure.axes[0].get_title()
        assert [text.get_text() for text in figure.axes[0].texts] == [f"{FAILED}/44"] * 8
    for name, counted, value in (("stoi", "count as 0.000", "0."), ("si_sdr", "leave no mean", "none")):
        table = score_table(found, METRICS[name])
        (cell,) = dict(table.rows)["clean"]
        assert cell.missing == f"{FAILED} unscored" and cell.value.startswith(value) and counted in table.notes[0]


def test_older_files_still_read() -> None:
    """Without speakers, delays, worst values and what a metric needs: what is missing leaves no mean."""
    document = failing({}, best=False)
    for metric in document["metrics"]:
        del metric["worst"], metric["needs"]
    for clip in document["clips"]:
        del clip["speaker"]
    document["rows"] = [{key: value for key, value in row.items() if key != "delay_ms"} for row in document["rows"]]
    fsq, rvq = systems_of(document)
    bootstrap = read_bootstrap(document)
    whole, lacking = (system.rows(sorted(system.clips), bootstrap) for system in (fsq, rvq))
    assert np.isfinite([row.mean for row in whole]).all() and np.isnan([row.mean for row in lacking]).all()
    assert {(row.speakers, row.delay_ms, row.withheld) for row in whole} == {(0, 0.0, "")}


def test_a_new_file_states_what_a_mean_needs() -> None:
    system = systems_of(scored_run())[0]
    assert [(m.worst, m.needs) for m in system.metrics] == [(m.worst, m.needs) for m in METRICS.values()]
    rows = system.rows(sorted(system.clips), Bootstrap(50))
    assert {(row.speakers, row.delay_ms) for row in rows} == {(31, 40.0)}
