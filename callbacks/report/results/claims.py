"""The paper's claims, each with the rule by which the measured numbers reproduce it, in part or not.

Rules are about intervals. Where the conditions are not the paper's, or a draw has no score or a silent output, a claim
is not tested. Claims about training rest on the training runs at hand, one for each codec, and say so.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from callbacks.report.results.evaluation import Evaluation, Gap
from callbacks.report.results.logged import Logged
from callbacks.report.results.markdown import Table, change, estimate, figure, percent, two_decimals

YES, PARTLY, NO, UNTESTED = "reproduced", "partly reproduced", "not reproduced", "not tested"
MARGIN = 0.02  # STOI: what counts as equally good
STABLE = 0.1  # STOI: the largest loss of a codec that counts as stable
FAR = 0.1  # STOI: how much less a codec must lose to survive far better
USABLE = 0.5  # STOI without errors: below, there is no speech left to lose
LEVEL = 0.05  # STOI without errors: how far apart codecs may be whose losses are compared
UNDERSTOOD = 0.5  # word error rate without errors: above, the recogniser understands too little of the codec's speech
INTELLIGIBLE = 0.1  # rise of the word error rate with which speech counts as staying intelligible
PAPER_CODES = {"exact code": 0.02, "same level": 0.53, "cosine of quantizer outputs": 0.73}  # arXiv 2509.09550
NO_RUN = "no run of it in this folder"
ONE_RUN = "for these checkpoints, one training run each"


class Verdict(NamedTuple):
    """A claim, the rule by which it counts as reproduced, the verdict, and the numbers."""

    claim: str
    rule: str
    verdict: str
    numbers: str


def claims(logged: Logged) -> Table:
    """The paper's claims, one a row."""
    verdicts = [*_channel(logged.maps), *_student(logged.students.get("student"))]
    verdicts += [_intelligible(logged.field), *_conditions(logged)]
    return Table(["claim", "counts as reproduced if", "verdict", "numbers"], [list(verdict) for verdict in verdicts])


def _absent(claim: str) -> Verdict:
    return Verdict(claim, "–", UNTESTED, NO_RUN)


def _channel(maps: Evaluation | None) -> list[Verdict]:
    claims = {
        "better": "FSQ codes survive bit errors far better than RVQ codes",
        "sharp": "RVQ drops sharply above 1 %",
        "stable": "FSQ stays fairly stable up to 10 %",
    }
    clean, mild, harsh = (maps.channel(rate) if maps else None for rate in (0.0, 0.01, 0.1))
    fsq, rvq = "FSQ natural", "RVQ natural"
    if maps is None or not {fsq, rvq} <= set(maps.systems) or None in (clean, mild, harsh):
        return [_absent(claim) for claim in claims.values()]
    assert mild is not None and harsh is not None
    faults = {s: maps.silent_or_unscored(s, channels=(clean, mild, harsh)) for s in (fsq, rvq)}
    gaps = [maps.fragility(rvq, fsq, channel=channel, metric="stoi") for channel in (mild, harsh)]
    drop = maps.change(rvq, channel=harsh, start=mild)
    loss = maps.change(fsq, channel=harsh)
    holds = [gaps[0].high < 0, gaps[1].high <= -FAR]
    starts = {system: maps.level(system, channel=maps.clean.name) for system in (fsq, rvq)}
    usable = {system: start.low >= USABLE for system, start in starts.items()}
    even = all(usable.values()) and abs(starts[fsq].mean - starts[rvq].mean) <= LEVEL
    condition = f"; tested where STOI without errors is {USABLE} or more, with the interval"
    return [
        Verdict(
            claims["better"],
            "RVQ loses more STOI than FSQ from 0 to 1 %, and from 0 to 10 % of flipped bits at least "
            f"{FAR} more, both with the intervals; partly, if one of them holds{condition}, and within {LEVEL} of each "
            "other",
            _verdict(YES if all(holds) else PARTLY if any(holds) else NO, gaps, sum(faults.values()) + (not even)),
            f"RVQ's change minus FSQ's: at 1 % {change(gaps[0])}, at 10 % {change(gaps[1])}; {ONE_RUN}",
        ),
        Verdict(
            claims["sharp"],
            f"RVQ loses more than {STABLE} STOI from 1 to 10 %, with the interval; partly, if the mean alone does"
            f"{condition}",
            _verdict(_below(drop, -STABLE), [drop], faults[rvq] + (not usable[rvq])),
            f"{change(drop)}",
        ),
        Verdict(
            claims["stable"],
            f"FSQ loses at most {STABLE} STOI from 0 to 10 %, with the interval; partly, if the mean alone does"
            f"{condition}",
            _verdict(
                YES if loss.low >= -STABLE else PARTLY if loss.mean >= -STABLE else NO,
                [loss],
                faults[fsq] + (not usable[fsq]),
            ),
            f"{change(loss)}",
        ),
    ]


def _below(gap: Gap, bound: float) -> str:
    return YES if gap.high < bound else PARTLY if gap.mean < bound else NO


def _verdict(verdict: str, gaps: list[Gap], faults: int) -> str:
    """The verdict, unless a number is missing or a draw has no score or is silent."""
    return verdict if all(gap.complete for gap in gaps) and not faults else UNTESTED


def _student(found: dict[str, Any] | None) -> list[Verdict]:
    codes = "Two encoders learn vastly different codes for the same audio"
    equal = "They reconstruct equally well through the same quantizer and decoder"
    if found is None:
        return [_absent(codes), _absent(equal)]
    measured = {row["figure"]: row["measured"] for row in found["agreement"]}
    nearer = {name: measured[name] < (paper + 1) / 2 for name, paper in PAPER_CODES.items()}
    complete = all(math.isfinite(measured[name]) for name in PAPER_CODES)
    verdict = YES if all(nearer.values()) else PARTLY if nearer["exact code"] else NO
    rows = [r for r in found["differences"] if r["metric"] == "stoi" and r["channel"] == "bsc-0"]
    gap = rows[0]["gap"] if rows else Gap(math.nan, math.nan, math.nan, 0, 0)
    same = gap.low >= -MARGIN and gap.high <= MARGIN
    clean = [row for row in found["scores"] if row["metric"] == "stoi" and row["channel"] == "bsc-0"]
    faults = sum(row.get("silent", 1) + row["unscorable"] for row in clean) if clean else 1  # 1: not stated
    return [
        Verdict(
            codes,
            "equal codes, equal levels and the cosine are each nearer to the paper's figure than to identity; partly, "
            "if the codes are",
            verdict if complete else UNTESTED,
            f"equal codes {percent(measured['exact code'])} (paper 2 %), equal levels "
            f"{percent(measured['same level'])} (53 %), cosine "
            f"{two_decimals(measured['cosine of quantizer outputs'])} (0.73); {ONE_RUN}",
        ),
        Verdict(
            equal,
            f"the interval of student minus teacher lies within ±{MARGIN} STOI",
            _verdict(YES if same else NO, [gap], faults),
            f"STOI {change(gap)}; paper +0.01; {ONE_RUN}",
        ),
    ]


def _intelligible(field: Evaluation | None) -> Verdict:
    """By the words that a recogniser hears in the first codec's speech, against those that it hears in the original."""
    claim = "Speech stays intelligible up to 10 % of flipped bits"
    if field is None:
        return _absent(claim)
    first, harsh = next(iter(field.systems)), field.channel(0.1)
    metric = next((m for m in field.systems[first].metrics if m.name == "wer_original"), None)
    if metric is None or harsh is None:
        return _absent(claim)
    clean, rise = (
        field.level(first, channel=field.clean.name, metric=metric.name),
        field.change(first, channel=harsh, metric=metric.name),
    )
    verdict = YES if rise.high <= INTELLIGIBLE else PARTLY if rise.mean <= INTELLIGIBLE else NO
    return Verdict(
        claim,
        f"{metric.label} rises by at most {INTELLIGIBLE} from 0 to 10 %, with the interval; partly, if the mean alone "
        f"does; tested where it is {UNDERSTOOD} or less without errors, with the interval",
        _verdict(verdict, [clean, rise], not clean.high <= UNDERSTOOD),
        f"{first}: {estimate(clean)} without errors, {change(rise)} at 10 %; {ONE_RUN}",
    )


def _conditions(logged: Logged) -> list[Verdict]:
    """Claims whose conditions are not met here, with what was measured instead."""
    codecs = logged.codecs
    first = next(iter(codecs.systems))
    rows = codecs.rows(first)
    stoi, pesq = (rows[codecs.clean.name, metric].mean for metric in ("stoi", "pesq_wb"))
    size = codecs.systems[first].facts["parameters"]
    return [
        Verdict(
            "0.8 kbit/s reach STOI 0.90 and PESQ 2.06 (the paper's teacher at 16 kHz)",
            "a codec of the paper's size, data and training reaches both",
            UNTESTED,
            f"{first}, {size / 1e6:.1f} M parameters: STOI {figure(stoi)}, PESQ-WB {figure(pesq)}",
        ),
        Verdict(
            "Distilling from the first step diverges",
            "a student of the paper's size, with its discriminators, diverges",
            UNTESTED,
            "small students without discriminators do not (section 6)",
        ),
        Verdict(
            "A 24 kHz decoder trained under the frozen encoder loses nothing",
            "needs speech above 8 kHz to train on",
            UNTESTED,
            "the training data ends at 8 kHz",
        ),
    ]
