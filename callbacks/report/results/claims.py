"""The paper's claims, each with a rule that knows no numbers of its own, and the numbers that decide."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from callbacks.report.results.logged import Evaluation, Gap, Logged
from callbacks.report.results.markdown import Table, change, figure, percent

YES, NO, UNTESTED = "reproduced", "not reproduced", "not tested"
MARGIN = 0.02  # STOI: what counts as equally good
STABLE = 0.1  # STOI: what a codec may lose and still count as stable
FAR = 0.1  # STOI: how much less a codec must lose to survive far better


class Verdict(NamedTuple):
    """A claim, the rule by which it counts as reproduced, the mark, and the numbers."""

    claim: str
    rule: str
    mark: str
    numbers: str


def claims(logged: Logged) -> Table:
    """The paper's claims, one a row."""
    verdicts = [
        *_students(logged),
        *_channel(logged.links),
        _quality(logged.codecs),
        Verdict(
            "Speech stays intelligible up to 10 % of flipped bits",
            "word error rates, which need a recogniser",
            UNTESTED,
            "STOI is in section 2; no recogniser was run",
        ),
        Verdict(
            "A 24 kHz decoder trained under the frozen encoder loses nothing",
            "needs speech above 8 kHz to train on",
            UNTESTED,
            "the training data ends at 8 kHz",
        ),
        _divergence(logged),
    ]
    return Table(["claim", "counts as reproduced if", "mark", "numbers"], [list(verdict) for verdict in verdicts])


def _mark(holds: bool, *numbers: float) -> str:
    """The mark, given whether a rule holds and the numbers that it looks at; without one of them it is not tested."""
    return UNTESTED if not all(map(math.isfinite, numbers)) else YES if holds else NO


def _absent(claim: str) -> list[Verdict]:
    return [Verdict(claim, "–", UNTESTED, "no run of it in this folder")]


def _clean_gap(student: dict[str, Any]) -> Gap:
    """Student minus teacher in STOI without errors; NaN where it was not scored."""
    rows = [r for r in student["differences"] if r["metric"] == "stoi" and r["channel"] == "bsc-0"]
    return rows[0]["gap"] if rows else Gap(math.nan, math.nan, math.nan, 0, 0)


def _students(logged: Logged) -> list[Verdict]:
    if not logged.students:
        return _absent("Two encoders learn vastly different codes and reconstruct equally well")
    verdicts = []
    for name, found in logged.students.items():
        exact = next(row for row in found["agreement"] if row["figure"] == "exact code")
        gap = _clean_gap(found)
        verdicts += [
            Verdict(
                f"Two encoders learn vastly different codes for the same audio ({name})",
                "fewer than half of the codes are equal",
                _mark(exact["measured"] < 0.5, exact["measured"]),
                f"{percent(exact['measured'])} equal, by chance {percent(exact['chance'])}; paper 2 %",
            ),
            Verdict(
                f"They reconstruct equally well through the same quantizer and decoder ({name})",
                f"the interval of student minus teacher lies within ±{MARGIN} STOI",
                _mark(gap.low >= -MARGIN and gap.high <= MARGIN, *gap[:3]),
                f"STOI {change(gap)}; paper +0.01",
            ),
        ]
    return verdicts


def _channel(links: Evaluation | None) -> list[Verdict]:
    rates = {c.error_rate: c.name for c in links.channels if c.curve == "bsc"} if links else {}
    if links is None or not {"FSQ natural", "RVQ natural"} <= set(links.systems) or not {0.0, 0.01, 0.1} <= set(rates):
        return _absent("FSQ codes survive bit errors far better than RVQ codes")
    mild, harsh = (
        links.fragility("RVQ natural", "FSQ natural", channel=rates[rate], metric="stoi") for rate in (0.01, 0.1)
    )
    fsq, rvq = (
        [rows[rates[rate], "stoi"].mean for rate in (0.0, 0.01, 0.1)]
        for rows in map(links.rows, ("FSQ natural", "RVQ natural"))
    )
    return [
        Verdict(
            "FSQ codes survive bit errors far better than RVQ codes",
            "RVQ loses more STOI than FSQ from 0 to 1 %, and from 0 to 10 % of flipped bits at least "
            f"{FAR} more, with the intervals",
            _mark(mild.high < 0 and harsh.high <= -FAR, *mild[:3], *harsh[:3]),
            f"RVQ's change minus FSQ's: at 1 % {change(mild)}, at 10 % {change(harsh)}",
        ),
        Verdict(
            "RVQ drops sharply above 1 %",
            f"RVQ loses more than {STABLE} STOI from 1 to 10 %",
            _mark(rvq[1] - rvq[2] > STABLE, *rvq[1:]),
            f"{figure(rvq[1])} at 1 %, {figure(rvq[2])} at 10 %",
        ),
        Verdict(
            "FSQ stays fairly stable up to 10 %",
            f"FSQ loses at most {STABLE} STOI from 0 to 10 %",
            _mark(fsq[0] - fsq[2] <= STABLE, fsq[0], fsq[2]),
            f"{figure(fsq[0])} at 0, {figure(fsq[2])} at 10 %",
        ),
    ]


def _divergence(logged: Logged) -> Verdict:
    claim = "Distilling from the first step diverges"
    rule = f"the student of such a run (`student_from_0`) loses more than {STABLE} STOI against the teacher"
    if "student_from_0" not in logged.students:
        return Verdict(claim, rule, UNTESTED, "no run of it in this folder")
    student = logged.students["student_from_0"]
    gap = _clean_gap(student)
    numbers = f"STOI {change(gap)}" + (f"; {student['note']}" if student["note"] else "")
    return Verdict(claim, rule, _mark(gap.high < -STABLE, *gap[:3]), numbers)


def _quality(codecs: Evaluation) -> Verdict:
    first = next(iter(codecs.systems))
    rows = codecs.rows(first)
    stoi, pesq = (rows[codecs.clean.name, metric].mean for metric in ("stoi", "pesq_wb"))
    return Verdict(
        "0.8 kbit/s reach STOI 0.90 and PESQ 2.06 (paper, its teacher at 16 kHz)",
        "both are reached",
        _mark(stoi >= 0.90 and pesq >= 2.06, stoi, pesq),
        f"{first}: STOI {figure(stoi)}, PESQ-WB {figure(pesq)}, at this size and training",
    )
