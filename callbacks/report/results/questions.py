"""Questions beyond the paper's claims, each with the rule that answers it, written down before the runs were scored."""

from __future__ import annotations

from typing import NamedTuple

from callbacks.report.results.claims import LEVEL, MARGIN, NO_RUN, UNTESTED, USABLE
from callbacks.report.results.evaluation import Evaluation, Gap
from callbacks.report.results.logged import Logged
from callbacks.report.results.markdown import Table, change, figure

HARSH = 0.1  # share of bits flipped at which codecs are compared
UNDECIDED = "no difference shown"
ASSIGNMENTS = {  # question: the system of each quantizer that answers it
    "their best index assignments": {"FSQ": "FSQ natural", "RVQ": "RVQ optimised", "BSQ": "BSQ natural"},
    "natural binary codewords": {"FSQ": "FSQ natural", "RVQ": "RVQ natural", "BSQ": "BSQ natural"},
    "random codewords of 8 bits": {
        "FSQ": "FSQ permuted in halves", "RVQ": "RVQ permuted", "BSQ": "BSQ permuted in halves",
    },
}  # fmt: skip
PAIRS = ("FSQ", "RVQ"), ("BSQ", "RVQ"), ("BSQ", "FSQ")
RULES = {
    "losses": "the one whose loss of STOI from 0 to 10 % of bits flipped is smaller, if the interval of the difference "
    f"leaves out 0; tested where STOI without errors is {USABLE} or more, with the interval, and within {LEVEL} of one "
    "another",
    "runs": "the same over at least 3 training runs of each, whose spread is in the interval (Student's t), and if "
    "each run of the one loses less in the mean than each of the other",
    "tuned": "yes or no, if the interval of STOI through flips minus STOI as long without them leaves out 0",
    "causal": f"yes, if the interval of its STOI minus FSQ's lies above −{MARGIN}; no, if it lies below",
    "rate": "yes or no, if the interval of the difference of STOI leaves out 0",
}


class Answer(NamedTuple):
    """A question, the answer, and the numbers."""

    question: str
    answer: str
    numbers: str


def questions(logged: Logged) -> list[tuple[str, Table]]:
    """Rules, and the questions that each answers, one a row."""
    by_rule = {
        "losses": [_assigned(logged.maps, name, pair) for name in ASSIGNMENTS for pair in PAIRS],
        "runs": [_trained(logged.seeds)],
        "tuned": _tuned(logged.fine_tuning),
        "causal": [_causal(logged.codecs)],
        "rate": [_rate(logged.codecs)],
    }
    return [
        (RULES[name], Table(["question", "answer", "numbers"], [list(answer) for answer in answers]))
        for name, answers in by_rule.items()
    ]


def _assigned(maps: Evaluation | None, assignment: str, pair: tuple[str, str]) -> Answer:
    """Which of two quantizers of equal bits loses less to flips under an index assignment."""
    one, other = pair
    question = f"Does {one} or {other} lose less to flips, with {assignment}?"
    return _compared(maps, question, pair, tuple(ASSIGNMENTS[assignment][name] for name in pair))


def _trained(seeds: Evaluation | None) -> Answer:
    """Whether one quantizer's advantage outlasts another training run."""
    question = "Does FSQ or RVQ lose less to flips in every training run of quickstart size, natural binary codewords?"
    pair = "FSQ", "RVQ"
    if seeds is None or min(len(seeds.seeds(name)) for name in pair) < 3:
        return Answer(question, UNTESTED, NO_RUN)
    answer = _compared(seeds, question, pair, pair)
    harsh = seeds.channel(HARSH)
    if answer.answer not in pair or harsh is None:
        return answer
    losses = {name: [seeds.change(run, channel=harsh).mean for run in seeds.seeds(name)] for name in pair}
    better = answer.answer
    worse = next(name for name in pair if name != better)
    every = min(losses[better]) > max(losses[worse])
    runs = "; ".join(f"{name} {', '.join(figure(loss, sign='+') for loss in losses[name])}" for name in pair)
    return answer._replace(answer=better if every else UNDECIDED, numbers=f"{answer.numbers}; losses by run: {runs}")


def _compared(run: Evaluation | None, question: str, pair: tuple[str, str], systems: tuple[str, ...]) -> Answer:
    """The answer about two systems' losses by flips."""
    one, other = systems
    harsh = None if run is None else run.channel(HARSH)
    if run is None or harsh is None or not (run.seeds(one) and run.seeds(other)):
        return Answer(question, UNTESTED, NO_RUN)
    starts = [run.level(system, channel=run.clean.name) for system in systems]
    gap = run.fragility(one, other, channel=harsh, metric="stoi")
    faults = sum(run.silent_or_unscored(system, channels=(run.clean.name, harsh)) for system in systems)
    fair = min(start.low for start in starts) >= USABLE and abs(starts[0].mean - starts[1].mean) <= LEVEL
    return Answer(
        question,
        _decided(gap, pair) if fair and not faults else UNTESTED,
        f"{one}'s change minus {other}'s {change(gap)}; without errors {change(_difference(run, one, other))}",
    )


def _difference(run: Evaluation, one: str, other: str) -> Gap:
    return run.gap(one, other, channel=run.clean.name, metric="stoi")


def _decided(gap: Gap, pair: tuple[str, str]) -> str:
    """The one of a pair with the higher mean, where the interval leaves out 0."""
    if not gap.complete:
        return UNTESTED
    return pair[0] if gap.low > 0 else pair[1] if gap.high < 0 else UNDECIDED


def _tuned(run: Evaluation | None) -> list[Answer]:
    """Whether fine-tuning through flips helps, each codec against its control."""
    answers = []
    for name in ("FSQ", "RVQ", "BSQ", "Student", "Streaming"):
        question = f"{name}: does fine-tuning through flips help at 10 % of bits flipped?"
        tuned, control = f"{name} through flips", f"{name} continued"
        harsh = None if run is None else run.channel(HARSH)
        if run is None or harsh is None or not {tuned, control} <= set(run.systems):
            answers.append(Answer(question, UNTESTED, NO_RUN))
            continue
        gain = run.gap(tuned, control, channel=harsh, metric="stoi")
        cost = _difference(run, tuned, control)
        numbers = f"at 10 % {change(gain)}, without errors {change(cost)}"
        answers.append(Answer(question, _decided(gain, ("yes", "no")), numbers))
    return answers


def _causal(codecs: Evaluation) -> Answer:
    """What a codec without look-ahead costs."""
    question = "Is the causal codec as good as the FSQ codec without errors?"
    if not {"FSQ", "Streaming"} <= set(codecs.systems):
        return Answer(question, UNTESTED, NO_RUN)
    gap = _difference(codecs, "Streaming", "FSQ")
    answer = "yes" if gap.low > -MARGIN else "no" if gap.high < -MARGIN else UNDECIDED
    return Answer(question, answer if gap.complete else UNTESTED, change(gap))


def _rate(codecs: Evaluation) -> Answer:
    """What twice the rate gives without errors."""
    question = "Is the FSQ codec of 1.6 kbit/s better than that of 0.8 kbit/s without errors?"
    if not {"FSQ", "FSQ 1.6 kbit/s"} <= set(codecs.systems):
        return Answer(question, UNTESTED, NO_RUN)
    gap = _difference(codecs, "FSQ 1.6 kbit/s", "FSQ")
    return Answer(question, _decided(gap, ("yes", "no")), change(gap))
