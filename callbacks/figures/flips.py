"""Fixed-length against entropy-coded codes: scores behind flipped bits, and what one flipped bit makes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from callbacks.figures.panels import panels, set_title
from callbacks.figures.quality import COLOURS, MARKERS, logarithmic
from callbacks.metrics import SpeechMetric
from callbacks.scoring.flips import FlippedBit
from callbacks.scoring.scores import ChannelRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("-", (0, (6, 2)), "-.", (0, (3, 1.5)), ":", (0, (1, 1.2)))


def flip_figure(
    rows: Sequence[ChannelRow], metric: SpeechMetric, damages: Sequence[FlippedBit], *, title: str
) -> Figure:
    """One metric over the rate of a binary symmetric channel, and a bar for each system's damage by one flip.

    Systems whose names begin with the same word have one colour, and within it each its line.
    """
    groups = list(dict.fromkeys(damage.codec.partition(" ")[0] for damage in damages))
    looks = {}
    for group in groups:
        members = [damage.codec for damage in damages if damage.codec.partition(" ")[0] == group]
        for number, name in enumerate(members):
            looks[name] = (COLOURS[groups.index(group) % len(COLOURS)], number)
    columns = 2 if len(damages) > 4 else 1
    legend = 0.2 * -(-len(damages) // columns) + 0.1
    height = max(2.5, 0.3 * len(damages))
    figure, (left, right) = panels(1, 2, panel=(4.0, height), gaps=(2.6, 0), margins=(0.75, 0.3, 0.55 + legend, 0.65))
    _curves(left, [row for row in rows if row.metric == metric.name and row.family == "bsc"], damages, looks)
    left.set_ylabel(metric.label_with_unit)
    left.set_title(f"{metric.direction}, band: interval", fontsize=8, color="#555555")
    _bars(right, damages, looks)
    handles = left.get_legend_handles_labels()
    figure.legend(*handles, loc="lower center", ncols=columns, fontsize=8, frameon=False, handlelength=4)
    set_title(figure, title)
    return figure


def _curves(
    axis: Axes, rows: Sequence[ChannelRow], damages: Sequence[FlippedBit], looks: Mapping[str, tuple[str, int]]
) -> None:
    rates = sorted({row.bit_error_rate for row in rows})
    place = logarithmic(rates)
    for damage in damages:
        colour, number = looks[damage.codec]
        found = sorted((row for row in rows if row.codec == damage.codec), key=lambda row: row.bit_error_rate)
        x = [place(row.bit_error_rate) for row in found]
        style: dict[str, Any] = {"linestyle": STYLES[number % len(STYLES)], "marker": MARKERS[number % len(MARKERS)]}
        label = ", ".join([*[damage.codec] * bool(damage.codec), f"{damage.bit_rate / 1000:.3g} kbit/s"])
        axis.fill_between(x, [r.low for r in found], [r.high for r in found], color=colour, alpha=0.07, linewidth=0)
        axis.plot(x, [row.mean for row in found], **style, color=colour, markersize=4, linewidth=1.3, label=label)
    axis.set_xticks([place(rate) for rate in rates], [f"{100 * rate:.3g}" for rate in rates])
    axis.set_xlabel("bits flipped on the channel (%)")
    axis.grid(alpha=0.3)


def _bars(axis: Axes, damages: Sequence[FlippedBit], looks: Mapping[str, tuple[str, int]]) -> None:
    for height, damage in enumerate(damages):
        colour, number = looks[damage.codec]
        spread = [[damage.mean - damage.low], [damage.high - damage.mean]]
        axis.barh(height, damage.mean, color=colour, alpha=0.35 if number else 0.9, height=0.65)
        if damage.low == damage.low:
            axis.errorbar(damage.mean, height, xerr=spread, fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
        end = damage.high if damage.high == damage.high else damage.mean
        axis.text(end * 1.12, height, f"{damage.mean:.0f} ms", va="center", fontsize=8)
    axis.set_yticks(range(len(damages)), [damage.codec for damage in damages], fontsize=8)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlim(0.5 * min(damage.mean for damage in damages), axis.get_xlim()[1] * 2.5)
    axis.set_xlabel("speech whose codes one flipped bit makes wrong (ms)")
    axis.set_title("mean and its interval, logarithmic", fontsize=8, color="#555555")
    axis.grid(axis="x", alpha=0.3)
