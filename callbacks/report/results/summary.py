"""The sentences at the top of RESULTS.md, each from the logged numbers; one whose runs are missing is left out."""

from __future__ import annotations

from callbacks.report.results.assignment import FSQ, FSQ_CONTROL, RVQ, RVQ_CONTROL, parts
from callbacks.report.results.logged import Evaluation, Logged
from callbacks.report.results.markdown import change, estimate, figure, percent
from callbacks.scoring.scores import stated_clips

RATES = (0.01, 0.05, 0.1)


def summary(logged: Logged) -> dict[str, str]:
    """Sentences by name, the most important first; README and the manual quote them by these names."""
    assignment = _assignment(logged.maps)
    found = {
        "level": _level(logged.codecs),
        "assignment": assignment[0] if assignment else "",
        "optimised": assignment[1] if len(assignment) > 1 else "",
        "coding": "".join(_coding(logged.links)),
        "receivers": "".join(_receivers(logged.receivers)),
        "fine_tuning": "".join(_fine_tuning(logged.fine_tuning)),
    }
    return {name: sentence for name, sentence in found.items() if sentence}


def _level(codecs: Evaluation) -> str:
    first = next(iter(codecs.systems))
    system, clean = codecs.systems[first], codecs.clean.name
    stoi, pesq = (codecs.level(first, channel=clean, metric=metric) for metric in ("stoi", "pesq_wb"))
    speakers = len(set(codecs.speakers)) if all(codecs.speakers) else 0
    text = (
        f"**Level.** Small codecs of {system.facts['parameters'] / 1e6:.1f} M parameters, trained for hours on one CPU "
        f"core: {first} reaches STOI {estimate(stoi)} and PESQ-WB {estimate(pesq)} without errors on "
        f"{stated_clips(len(codecs.clips), speakers)}"
    )
    if "level" in {metric.name for metric in system.metrics}:
        shift = codecs.level(first, channel=clean, metric="level").mean
        text += f"; its output is {abs(shift):.1f} dB {'quieter' if shift < 0 else 'louder'} than the input"
    return f"{text}."


def _assignment(maps: Evaluation | None) -> list[str]:
    if maps is None or not all(maps.seeds(name) for name in (FSQ, RVQ, FSQ_CONTROL, RVQ_CONTROL)):
        return []
    found = [(rate, channel) for rate in RATES if (channel := maps.channel(rate))]
    advantage = ", ".join(
        f"{change(maps.gap(FSQ, RVQ, channel=name, metric='stoi'))} at {percent(rate)}" for rate, name in found
    )
    split = [(rate, parts(maps, name)) for rate, name in found]
    control = ", ".join(f"{change(part.quantizer)} at {percent(rate)}" for rate, part in split)
    shares = ", ".join(f"{percent(part.share)} at {percent(rate)}" for rate, part in split)
    sentences = [
        f"**FSQ against RVQ**, equal but for the quantizer: behind flipped bits FSQ's STOI minus RVQ's is {advantage}. "
        f"With random codewords of 8 bits for both it is {control}: {shares} of the advantage is the index assignment, "
        "the rest the quantizer's."
    ]
    if maps.seeds("RVQ optimised"):
        rate, name = found[-1]
        gap = maps.gap("RVQ optimised", FSQ, channel=name, metric="stoi")
        sentences.append(
            "**An optimised index assignment**, found after training at no cost in rate, brings RVQ at "
            f"{percent(rate)} of bits flipped to {change(gap)} of FSQ; for FSQ the natural one is hardly improved."
        )
    return sentences


def _coding(links: Evaluation | None) -> list[str]:
    coded, plain = "FSQ conv 1/2 over 16 frames", "FSQ"
    if links is None or not {coded, plain} <= set(links.systems):
        return []
    curve = next((c.curve for c in links.channels if c.curve.startswith("frame")), "")
    texts = []
    for rate in (0.2, 0.5):
        if channel := links.channel(rate, curve):
            texts.append(f"{change(links.change(coded, channel=channel))} STOI at {percent(rate)} of frames lost")
            plainly = change(links.change(plain, channel=channel))
            texts[-1] += f" ({plainly} without)"
    delay = links.rows(coded)[links.clean.name, "stoi"].delay_ms
    lead = f"**Error correction** at twice the rate, a convolutional code over 16 frames ({delay:.0f} ms)"
    return [f"{lead}: {', '.join(texts)}."]


def _receivers(receivers: Evaluation | None) -> list[str]:
    if receivers is None or not {"FSQ prior", "FSQ posterior mean", "RVQ prior"} <= set(receivers.systems):
        return []
    names = {c.name: c for c in receivers.channels}
    hard, soft = "awgn-0dB-hard", "awgn-0dB-soft"
    if not {hard, soft} <= set(names):
        return []
    parts = [
        f"{codec} {figure(receivers.level(f'{codec} mean latent', channel=hard).mean)} by hard decisions, "
        f"{figure(receivers.level(f'{codec} posterior mean', channel=soft).mean)} by soft ones, "
        f"{figure(receivers.level(f'{codec} prior', channel=soft).mean)} with measured probabilities of the codes"
        for codec in ("FSQ", "RVQ")
    ]
    return [f"**Receivers.** BPSK at Es/N0 0 dB, STOI: {'; '.join(parts)}."]


def _fine_tuning(run: Evaluation | None) -> list[str]:
    if run is None:
        return []
    channel, names = (
        run.channel(0.1),
        [n for n in run.systems if {f"{n} continued", f"{n} through flips"} <= set(run.systems)],
    )
    if channel is None or not names:
        return []
    texts = [
        f"{name} {change(run.gap(f'{name} through flips', f'{name} continued', channel=channel, metric='stoi'))}"
        for name in names
    ]
    return [
        "**Training through the channel** against fine-tuning as long without it, STOI at 10 % of bits flipped: "
        f"{', '.join(texts)} (for these checkpoints)."
    ]
