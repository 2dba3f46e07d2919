"""The sentences at the top of RESULTS.md, each from the logged numbers; one whose runs are missing is left out."""

from __future__ import annotations

from callbacks.report.results.assignment import FSQ, FSQ_BEST, RVQ_BEST, has_controls, parts
from callbacks.report.results.evaluation import Evaluation
from callbacks.report.results.logged import Logged
from callbacks.report.results.markdown import change, estimate, figure, percent
from callbacks.report.results.sections import CONTINUED, FLIPS, tuned

RATES = (0.01, 0.05, 0.1)


def summary(logged: Logged) -> dict[str, str]:
    """Sentences by name, the most important first; README and the manual quote them by these names."""
    assignment = _assignment(logged.maps)
    found = {
        "level": _level(logged.codecs),
        "assignment": assignment[0] if assignment else "",
        "optimised": assignment[1] if len(assignment) > 1 else "",
        "coding": _coding(logged.links),
        "receivers": _receivers(logged.receivers),
        "fine_tuning": _fine_tuning(logged.fine_tuning),
    }
    return {name: sentence for name, sentence in found.items() if sentence}


def _level(codecs: Evaluation) -> str:
    first = next(iter(codecs.systems))
    system, clean = codecs.systems[first], codecs.clean.name
    stoi, pesq = (codecs.level(first, channel=clean, metric=metric) for metric in ("stoi", "pesq_wb"))
    text = (
        f"**Level.** Small codecs of {system.facts['parameters'] / 1e6:.1f} M parameters, trained for hours on one CPU "
        f"core: {first} reaches STOI {estimate(stoi)} and PESQ-WB {estimate(pesq)} without errors on "
        f"{codecs.over}"
    )
    if "level" in {metric.name for metric in system.metrics}:
        shift = codecs.level(first, channel=clean, metric="level").mean
        text += f"; its output is {abs(shift):.1f} dB {'quieter' if shift < 0 else 'louder'} than the input"
    return f"{text}."


def _assignment(maps: Evaluation | None) -> list[str]:
    found = [(rate, channel) for rate in RATES if (channel := maps.channel(rate))] if maps else []
    if maps is None or not has_controls(maps) or not found:
        return []
    scores, losses = ([parts(maps, name, lost=lost) for _, name in found] for lost in (False, True))
    rates = _listed([percent(rate) for rate, _ in found])
    advantage = _listed([change(part.advantage) for part in scores])
    shares = [sorted((score.share, loss.share)) for score, loss in zip(scores, losses, strict=True)]
    sentences = [
        f"**FSQ against RVQ**, equal but for the quantizer. At {rates} of bits flipped FSQ's STOI minus RVQ's, whose "
        f"codewords are random, is {advantage}. With random codewords of 8 bits for FSQ too, "
        f"{_listed([change(part.quantizer) for part in scores])} of it is left; of what the flips take away, as they "
        f"start apart, {_listed([change(part.quantizer) for part in losses])}. So by this control the index assignment "
        f"makes {_listed([_range(*share) for share in shares])} of the advantage, and the quantizer the rest."
    ]
    if maps.seeds(RVQ_BEST):
        gaps = _listed([change(maps.gap(FSQ, RVQ_BEST, channel=name, metric="stoi")) for _, name in found])
        sentences.append(
            "**With the best index assignment** found for each, after training and at no cost in rate, FSQ's STOI "
            f"minus RVQ's is {gaps} at {rates} of bits flipped{_of_fsq(maps, found[-1][1])}."
        )
    return sentences


def _of_fsq(maps: Evaluation, channel: str) -> str:
    """What the search found for FSQ."""
    if not maps.seeds(FSQ_BEST):
        return ""
    gap = maps.gap(FSQ_BEST, FSQ, channel=channel, metric="stoi")
    if gap.mean == gap.low == gap.high == 0.0:
        return "; for FSQ it is the natural one"
    return f"; for FSQ it is {change(gap)} to the natural one"


def _listed(texts: list[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


def _range(low: float, high: float) -> str:
    """Two shares as whole percentages, "75 to 91 %"; one where they are equal."""
    shown = [f"{100 * share:.0f}".replace("-", "−") for share in (low, high)]
    return f"{' to '.join(dict.fromkeys(shown))} %"


def _coding(links: Evaluation | None) -> str:
    coded, plain = "FSQ conv 1/2 over 16 frames", "FSQ prior"
    if links is None or not {coded, plain} <= set(links.systems):
        return ""
    curve = next((c.curve for c in links.channels if c.curve.startswith("frame")), "")
    texts = []
    for rate in (0.2, 0.5):
        if channel := links.channel(rate, curve):
            texts.append(f"{change(links.change(coded, channel=channel))} STOI at {percent(rate)} of frames lost")
            plainly = change(links.change(plain, channel=channel))
            texts[-1] += f" ({plainly} without)"
    delay = links.rows(coded)[links.clean.name, "stoi"].delay_ms
    lead = f"**Error correction** at twice the rate, a convolutional code over 16 frames ({delay:.0f} ms)"
    return f"{lead}: {', '.join(texts)}."


def _receivers(receivers: Evaluation | None) -> str:
    kinds = ("mean latent", "posterior mean", "prior")
    needed = {f"{codec} {kind}" for codec in ("FSQ", "RVQ") for kind in kinds}
    if receivers is None or not needed <= set(receivers.systems):
        return ""
    names = {c.name: c for c in receivers.channels}
    hard, soft = "awgn-0dB-hard", "awgn-0dB-soft"
    if not {hard, soft} <= set(names):
        return ""
    parts = [
        f"{codec} {figure(receivers.level(f'{codec} mean latent', channel=hard).mean)} by hard decisions, "
        f"{figure(receivers.level(f'{codec} posterior mean', channel=soft).mean)} by soft ones, "
        f"{figure(receivers.level(f'{codec} prior', channel=soft).mean)} with measured probabilities of the codes"
        for codec in ("FSQ", "RVQ")
    ]
    return f"**Receivers.** BPSK at Es/N0 0 dB, STOI: {'; '.join(parts)}."


def _fine_tuning(run: Evaluation | None) -> str:
    channel = run.channel(0.1) if run else None
    if run is None or channel is None or not tuned(run):
        return ""
    texts = [
        f"{name} {change(run.gap(name + FLIPS, name + CONTINUED, channel=channel, metric='stoi'))}"
        for name in tuned(run)
    ]
    return (
        "**Training through the channel** against fine-tuning as long without it, STOI at 10 % of bits flipped: "
        f"{', '.join(texts)} (for these checkpoints)."
    )
