"""The paper's claims, each with a rule stated before the numbers are looked at, and the numbers that decide."""

from __future__ import annotations

from typing import NamedTuple

from callbacks.results.logged import Evaluation, Gap, Logged
from callbacks.results.markdown import change, figure, percent, table

YES, NO, UNTESTED = "reproduced", "not reproduced", "not tested"
MARGIN = 0.02  # STOI: what counts as equally good
STABLE = 0.1  # STOI: what a codec may lose and still count as stable


class Verdict(NamedTuple):
    """A claim, the rule by which it counts as reproduced, the mark, and the numbers."""

    claim: str
    rule: str
    mark: str
    numbers: str


def claims(logged: Logged) -> list[str]:
    """The section on the paper's claims."""
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
    lines = ["## The paper's claims", ""]
    return lines + table(["claim", "counts as reproduced if", "mark", "numbers"], [list(v) for v in verdicts])


def _absent(claim: str) -> list[Verdict]:
    return [Verdict(claim, "–", UNTESTED, "no run of it in this folder")]


def _students(logged: Logged) -> list[Verdict]:
    if not logged.students:
        return _absent("Two encoders learn vastly different codes and reconstruct equally well")
    verdicts = []
    for name, found in logged.students.items():
        exact = next(row for row in found["agreement"] if row["figure"] == "exact code")
        verdicts.append(
            Verdict(
                f"Two encoders learn vastly different codes for the same audio ({name})",
                "fewer than half of the codes are equal",
                YES if exact["measured"] < 0.5 else NO,
                f"{percent(exact['measured'])} equal, by chance {percent(exact['chance'])}; paper 2 %",
            )
        )
        gap = next(r for r in found["differences"] if r["metric"] == "stoi" and r["channel"] == "bsc-0")
        equal = gap["low"] >= -MARGIN
        verdicts.append(
            Verdict(
                f"They reconstruct equally well through the same quantizer and decoder ({name})",
                f"the interval of student minus teacher stays above −{MARGIN} STOI",
                YES if equal else NO,
                f"STOI {change(Gap(gap['difference'], gap['low'], gap['high'], gap['pairs']))}; paper +0.01",
            )
        )
    return verdicts


def _channel(links: Evaluation | None) -> list[Verdict]:
    names = {"FSQ natural", "RVQ natural"}
    rates = {c.error_rate: c.name for c in links.channels if c.curve == "bsc"} if links else {}
    if links is None or not names <= set(links.systems) or not {0.0, 0.01, 0.1} <= set(rates):
        return _absent("FSQ codes survive bit errors far better than RVQ codes")
    gaps = [links.gap("RVQ natural", "FSQ natural", channel=rates[rate], metric="stoi") for rate in (0.01, 0.1)]
    means = {name: [links.rows(name)[rates[rate], "stoi"].mean for rate in (0.0, 0.01, 0.1)] for name in sorted(names)}
    fallen = means["FSQ natural"][0] - means["FSQ natural"][2]
    sharp = means["RVQ natural"][1] - means["RVQ natural"][2]
    verdicts = [
        Verdict(
            "FSQ codes survive bit errors far better than RVQ codes",
            "RVQ minus FSQ in STOI lies below 0 with its interval, at 1 and at 10 % of flipped bits",
            YES if all(gap.high < 0 for gap in gaps) else NO,
            f"at 1 % {change(gaps[0])}, at 10 % {change(gaps[1])}",
        ),
        Verdict(
            "RVQ drops sharply above 1 %",
            f"RVQ loses more than {STABLE} STOI from 1 to 10 %",
            YES if sharp > STABLE else NO,
            f"{figure(means['RVQ natural'][1])} at 1 %, {figure(means['RVQ natural'][2])} at 10 %",
        ),
        Verdict(
            "FSQ stays fairly stable up to 10 %",
            f"FSQ loses at most {STABLE} STOI from 0 to 10 %",
            YES if fallen <= STABLE else NO,
            f"{figure(means['FSQ natural'][0])} at 0, {figure(means['FSQ natural'][2])} at 10 %",
        ),
    ]
    if "RVQ switched" in links.systems:
        gap = links.gap("RVQ switched", "FSQ natural", channel=rates[0.1], metric="stoi")
        verdicts.append(
            Verdict(
                "The advantage is the quantizer's own (not claimed as such; our control)",
                "RVQ with words chosen after training stays below FSQ with its interval at 10 %",
                YES if gap.high < 0 else NO,
                f"RVQ switched minus FSQ {change(gap)}",
            )
        )
    return verdicts


def _divergence(logged: Logged) -> Verdict:
    claim = "Distilling from the first step diverges"
    rule = f"the student of such a run (`student_from_0`) loses more than {STABLE} STOI against the teacher"
    if "student_from_0" not in logged.students:
        return Verdict(claim, rule, UNTESTED, "no run of it in this folder")
    gap = next(
        r for r in logged.students["student_from_0"]["differences"] if r["metric"] == "stoi" and r["channel"] == "bsc-0"
    )
    found = change(Gap(gap["difference"], gap["low"], gap["high"], gap["pairs"]))
    return Verdict(claim, rule, YES if gap["high"] < -STABLE else NO, f"STOI {found}")


def _quality(codecs: Evaluation) -> Verdict:
    first, clean = next(iter(codecs.systems)), codecs.channels[0].name
    rows = codecs.rows(first)
    stoi, pesq = rows[clean, "stoi"].mean, rows[clean, "pesq_wb"].mean
    return Verdict(
        "0.8 kbit/s reach STOI 0.90 and PESQ 2.06 (paper, its teacher at 16 kHz)",
        "both are reached",
        YES if stoi >= 0.90 and pesq >= 2.06 else NO,
        f"{first}: STOI {figure(stoi)}, PESQ-WB {figure(pesq)}, at this size and training",
    )
