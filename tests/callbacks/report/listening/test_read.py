"""Scores of listeners are read back: means, intervals, screening, exact tests, and files that do not fit."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from callbacks.report.__main__ import main
from callbacks.report.listening.key import Condition, Key, Trial, write_key
from callbacks.report.listening.summary import Summary, read_listening
from callbacks.scoring.bootstrap import bootstrap_means, two_factor_mean

REFERENCE, ANCHOR = Condition("reference"), Condition("anchor", "3.5 kHz")
A, B, NOISY = Condition("system", "A", "bsc-0"), Condition("system", "B", "bsc-0"), Condition("system", "B", "bsc-0.1")
CONDITIONS = [REFERENCE, ANCHOR, A, B, NOISY]
CLIPS = ["a", "b", "c", "d", "e", "f", "g"]


def mushra_key() -> Key:
    trials = [
        Trial(f"t{n}", clip, f"speaker {n % 2}", {f"s{n}{m}": c for m, c in enumerate(CONDITIONS)})
        for n, clip in enumerate(CLIPS)
    ]
    return Key("0123", "mushra", "A test", 7, {"levels": "as decoded"}, trials)


def abx_key() -> Key:
    pairs = [(A, REFERENCE), (NOISY, REFERENCE)]
    trials = [
        Trial(f"t{n}", clip, "", {f"s{n}0": pair[0], f"s{n}1": pair[1]})
        for n, (clip, pair) in enumerate((clip, pair) for clip in CLIPS for pair in pairs)
    ]
    return Key("abc", "abx", "A test", 7, {}, trials)


def rated(key: Key, name: str, rate: Callable[[Condition, int], int]) -> dict[str, Any]:
    """A file of results; `rate` gives the rating of a condition in the trial of a number."""
    trials = [
        {"trial": trial.trial, "place": n + 1, "order": sorted(trial.signals, reverse=True), "seconds": 9,
         "ratings": {signal: rate(condition, n) for signal, condition in trial.signals.items()}}
        for n, trial in enumerate(key.trials)
    ]  # fmt: skip
    return {"format": "listening-test-results/1", "test": key.test, "method": "mushra", "listener": name, "seed": 1,
            "comment": "", "trials": trials}  # fmt: skip


def told(key: Key, name: str, right: Callable[[Trial, int], bool]) -> dict[str, Any]:
    """A file of results of ABX; B is X in every other trial."""
    trials = []
    for n, trial in enumerate(key.trials):
        order = sorted(trial.signals)
        x = n % 2
        answer = "ab"[x if right(trial, n) else 1 - x]
        trials.append({"trial": trial.trial, "order": [*order, order[x]], "answer": answer})
    return {"format": "listening-test-results/1", "test": key.test, "method": "abx", "listener": name, "seed": 1,
            "comment": "", "trials": trials}  # fmt: skip


def read(folder: Path, key: Key, documents: Mapping[str, Any], **options: Any) -> Summary:
    write_key(folder / "test.key.json", key)
    files = []
    for name, document in documents.items():
        files.append(folder / f"{name}.json")
        files[-1].write_text(document if isinstance(document, str) else json.dumps(document))
    return read_listening(folder / "test.key.json", files, **options)


def panel(count: int, key: Key) -> tuple[dict[str, Any], np.ndarray]:
    """Files of some listeners who know the reference, and their ratings [conditions, listeners, clips]."""
    generator = np.random.default_rng(0)
    values = generator.integers(20, 80, size=(len(CONDITIONS), count, len(CLIPS)))
    values[0] = 100
    documents = {}
    for who in range(count):
        ratings = values[:, who]
        name = f"listener {who:02d}"
        documents[name] = rated(key, name, lambda c, n, given=ratings: int(given[CONDITIONS.index(c), n]))
    return documents, values.astype(float)


def test_means_and_intervals_are_those_of_the_ratings(tmp_path: Path) -> None:
    key = mushra_key()
    documents, values = panel(9, key)
    summary = read(tmp_path, key, documents)
    assert {row.panel for row in summary.ratings} == {"screened", "all"} and len(summary.ratings) == 2 * len(CONDITIONS)
    over = bootstrap_means(values.mean(axis=2))
    for number, row in enumerate(row for row in summary.ratings if row.panel == "all"):
        assert Condition(row.role, row.system, row.channel) == CONDITIONS[number]
        assert (row.listeners, row.clips) == (9, len(CLIPS)) and row.mean == pytest.approx(values[number].mean())
        assert (row.low, row.high) == pytest.approx((over.low[number], over.high[number]))
        crossed = two_factor_mean(values[number], clusters=[trial.speaker for trial in key.trials])
        assert (row.low_clips, row.high_clips) == pytest.approx((crossed.low, crossed.high))
    gap = [row for row in summary.differences if row.panel == "all"]
    assert [(row.system, row.baseline, row.channel) for row in gap] == [("B", "A", "bsc-0")]
    difference = values[3] - values[2]
    assert gap[0].mean == pytest.approx(difference.mean())
    assert gap[0].low == pytest.approx(bootstrap_means(difference.mean(axis=1)[None]).low[0])
    assert "9 listeners: the intervals mean little" in summary.text()
    turned = read(tmp_path, key, documents, baseline="B").differences
    assert turned[0].system == "A" and turned[0].mean == pytest.approx(-difference.mean())


@pytest.mark.parametrize(("misses", "kept"), [(1, True), (2, False)])
def test_who_misses_the_hidden_reference_is_excluded_beside_the_means_of_all(
    tmp_path: Path, misses: int, kept: bool
) -> None:
    """One of seven trials is 14 %, two are 29 %; a rating of 90 is no miss."""
    key = mushra_key()

    def deaf(condition: Condition, n: int) -> int:
        return (89 if n < misses else 90) if condition == REFERENCE else 0

    documents = {"x": rated(key, "good", lambda c, n: 100 if c == REFERENCE else 50), "y": rated(key, "deaf", deaf)}
    summary = read(tmp_path, key, documents)
    means = {row.panel: (row.listeners, row.mean) for row in summary.ratings if row.system == "A"}
    assert means["all"] == (2, 25) and means["screened"] == ((2, 25) if kept else (1, 50))
    excluded = next(note for note in summary.notes if note.startswith("Screening"))
    assert excluded.endswith("none." if kept else "deaf (29 %).")
    assert ("rating (all)" in summary.text()) != kept


def test_one_listener_has_means_and_no_interval_over_listeners(tmp_path: Path) -> None:
    documents, values = panel(1, mushra_key())
    summary = read(tmp_path, mushra_key(), documents)
    row = summary.ratings[2]
    assert row.mean == pytest.approx(values[2].mean())
    assert np.isnan([row.low, row.high, row.low_clips, row.high_clips]).all()
    assert "1 listener: there is no interval over listeners." in summary.text()


def test_a_panel_that_misses_the_reference_leaves_the_means_of_all(tmp_path: Path) -> None:
    summary = read(tmp_path, mushra_key(), {"x": rated(mushra_key(), "x", lambda c, n: 10)})
    assert {row.panel for row in summary.ratings} == {"all"} and "x (100 %)" in summary.text()
    summary.write(tmp_path / "listening.csv")


def test_equal_ratings_have_an_interval_of_no_width(tmp_path: Path) -> None:
    key = mushra_key()
    documents = {name: rated(key, name, lambda c, n: 100) for name in "vwxyz"}
    summary = read(tmp_path, key, documents)
    assert all((row.mean, row.low, row.high) == (100, 100, 100) for row in summary.ratings)
    assert all((row.mean, row.low, row.high) == (0, 0, 0) for row in summary.differences)


def test_who_has_not_finished_is_named_with_the_clips_and_does_not_count(tmp_path: Path) -> None:
    key = mushra_key()
    documents, _ = panel(3, key)
    first, second = (documents[name] for name in list(documents)[:2])
    first["trials"][1]["ratings"].pop("s10")
    first["trials"][4]["ratings"]["s42"] = None
    del second["trials"][6]
    summary = read(tmp_path, key, documents)
    assert summary.listeners == ["listener 02"]
    finished = [row.finished for row in summary.answers]
    assert (sum(finished), len(finished)) == (7 * 5, (5 + 6 + 7) * 5)
    assert summary.notes[:2] == [
        "Left out: listener 00 (listener 00.json), with 2 of 7 trials not finished (clips b, e).",
        "Left out: listener 01 (listener 01.json), with 1 of 7 trials not finished (clips g).",
    ]
    with pytest.raises(ValueError, match=r"No listener has finished the test: Left out: listener 00 .*clips b, e"):
        read(tmp_path, key, {"listener 00": first})


def test_abx_counts_right_answers_with_exact_test_and_interval(tmp_path: Path) -> None:
    key = abx_key()
    documents = {
        "x": told(key, "x", lambda trial, n: NOISY in trial.signals.values() or n % 4 == 0),
        "y": told(key, "y", lambda trial, n: NOISY in trial.signals.values()),
    }
    summary = read(tmp_path, key, documents)
    rows = {(row.channel, row.listener): row for row in summary.choices}
    assert {key: (row.correct, row.trials) for key, row in rows.items()} == {
        ("bsc-0", "all"): (4, 14), ("bsc-0", "x"): (4, 7), ("bsc-0", "y"): (0, 7),
        ("bsc-0.1", "all"): (14, 14), ("bsc-0.1", "x"): (7, 7), ("bsc-0.1", "y"): (7, 7),
    }  # fmt: skip
    noisy, clean = rows["bsc-0.1", "all"], rows["bsc-0", "x"]
    assert noisy.p_value == pytest.approx(2.0**-14) and (noisy.system, noisy.standard) == ("B", "original")
    assert (noisy.low, noisy.high) == pytest.approx((0.025 ** (1 / 14), 1))  # Clopper and Pearson with no failure
    assert clean.p_value == pytest.approx(sum(comb(7, k) for k in range(4, 8)) / 2**7)
    assert "compare p with 0.025 (Bonferroni)" in summary.text()


def test_the_command_prints_and_writes_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = mushra_key()
    documents, values = panel(7, key)
    next(iter(documents.values()))["comment"] = "Clip c is odd."
    summary = read(tmp_path, key, documents)
    output = tmp_path / "listening.csv"
    files = [str(tmp_path / f"{name}.json") for name in documents]
    main(["--read-listening", str(tmp_path / "test.key.json"), *files, "-o", str(output)])
    assert capsys.readouterr().out == summary.text() + "\n"
    assert "listener 00 writes: Clip c is odd." in summary.text()
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(summary.ratings) and float(rows[2]["mean"]) == pytest.approx(values[2].mean())
    document = json.loads(output.with_suffix(".json").read_text())
    assert document["test"] == "0123" and document["differences"][0]["system"] == "B"
    assert len(document["ratings"]) == len(rows) and document["listeners"] == list(documents)
    with (tmp_path / "listening_answers.csv").open() as file:
        answers = list(csv.DictReader(file))
    assert len(answers) == values.size and all(row["finished"] == "True" for row in answers)
    found = [
        int(r["answer"]) for r in answers if (r["listener"], r["system"], r["channel"]) == ("listener 03", "A", "bsc-0")
    ]
    assert found == values[2, 3].tolist()
    assert (tmp_path / "listening_differences.csv").read_text().count("\n") == 3
    assert output.with_suffix(".svg").read_text().count("<svg") == 1


def test_abx_results_are_written(tmp_path: Path) -> None:
    read(tmp_path, abx_key(), {"x": told(abx_key(), "x", lambda *_: True)}).write(tmp_path / "abx.csv")
    assert len((tmp_path / "abx.csv").read_text().splitlines()) == 1 + 2 * 2
    answers = (tmp_path / "abx_answers.csv").read_text().splitlines()
    assert answers[1:3] == ["x,True,a,,system,A,bsc-0,1", "x,True,a,,system,B,bsc-0.1,1"] and len(answers) == 1 + 14
    assert {path.suffix for path in tmp_path.glob("abx.*")} == {".csv", ".json", ".svg"}


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    document = rated(mushra_key(), "x", lambda c, n: 95)
    change(document)
    return document


@pytest.mark.parametrize(("document", "match"), [
    ("{", "x.json is no file of results"),
    ("[]", "x.json is no file of results"),
    (changed(lambda d: d.update(format="other")), "its format is 'other'"),
    (changed(lambda d: d.update(test="4567")), "x.json is of test 4567 and the key of 0123: give the key"),
    (changed(lambda d: d.update(method="abx")), "its method is 'abx'"),
    (changed(lambda d: d.update(listener=" ")), "it names no listener"),
    (changed(lambda d: d.pop("trials")), "missing 'trials'"),
    (changed(lambda d: d["trials"].append(d["trials"][0])), "it has a trial twice"),
    (changed(lambda d: d["trials"][0].update(trial="t9")), "trial 't9' is not in the key"),
    (changed(lambda d: d["trials"][0]["order"].pop()), "trial t0 has other signals than the key"),
    (changed(lambda d: d["trials"][0]["ratings"].update(s99=3)), "trial t0 rates 's99', which is not among"),
    (changed(lambda d: d["trials"][0]["ratings"].update(s00=101)), "the rating 101, not a whole number from 0 to 100"),
    (changed(lambda d: d["trials"][0]["ratings"].update(s00=-1)), "the rating -1, not"),
    (changed(lambda d: d["trials"][0]["ratings"].update(s00=99.5)), "the rating 99.5, not"),
    (changed(lambda d: d["trials"][0]["ratings"].update(s00=True)), "the rating True, not"),
    (changed(lambda d: d["trials"][0]["ratings"].update(s00="90")), "the rating '90', not"),
], ids=lambda value: re.sub(r"\W+", "-", value)[:40] if isinstance(value, str) else "")  # fmt: skip
def test_a_file_that_was_changed_or_is_of_another_test_is_refused(
    tmp_path: Path, document: Any, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=match):
        read(tmp_path, mushra_key(), {"x": document})
    with pytest.raises(SystemExit) as end:
        main(["--read-listening", str(tmp_path / "test.key.json"), str(tmp_path / "x.json")])
    assert end.value.code == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("change", "match"), [
    (lambda trial: trial.update(answer="x"), "has the answer 'x', not a or b"),
    (lambda trial: trial["order"].__setitem__(2, "s10"), "trial t0 has other signals than the key"),
    (lambda trial: trial["order"].pop(), "is no file of results"),
], ids=["answer", "x", "order"])  # fmt: skip
def test_an_abx_file_that_was_changed_is_refused(tmp_path: Path, change: Any, match: str) -> None:
    document = told(abx_key(), "x", lambda *_: True)
    change(document["trials"][0])
    with pytest.raises(ValueError, match=match):
        read(tmp_path, abx_key(), {"x": document})


def test_a_listener_in_two_files_a_wrong_key_and_an_unknown_baseline_are_refused(tmp_path: Path) -> None:
    document = changed(lambda d: None)
    with pytest.raises(ValueError, match=r"listener 'x' is in 2 files \(.*one.json, .*two.json\)"):
        read(tmp_path, mushra_key(), {"one": document, "two": document})
    with pytest.raises(ValueError, match="baseline 'C' must be one of A, B"):
        read(tmp_path, mushra_key(), {"one": document}, baseline="C")
    with pytest.raises(ValueError, match=r"one\.json is no key of a listening test .*give the \.key\.json"):
        read_listening(tmp_path / "one.json", [tmp_path / "one.json"])
    with pytest.raises(ValueError, match=r"none\.json is no file of results .*No such file"):
        read_listening(tmp_path / "test.key.json", [tmp_path / "none.json"])
