"""How a trace loses packets, beside the loss models fitted to it; `python -m codec.channels.packets FILE` prints it."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codec.channels.packets.fits import fit_gilbert, fit_gilbert_elliott, fit_three_state
from codec.channels.packets.loss_models import GilbertElliottLossChannel, LossChain, ThreeStateLossChannel
from codec.channels.packets.trace_files import PacketTrace
from codec.errors import InvalidValue

BURSTS = ((1, 1), (2, 2), (3, 3), (4, 7), (8, 15), (16, None))  # lengths that a line of the table holds
GAPS = ((1, 1), (2, 3), (4, 15), (16, 63), (64, None))  # 16 is RFC 3611's shortest gap between bursts
OPTIONS = {
    GilbertElliottLossChannel: ("to_bad", "to_good", "good_loss", "bad_loss"),
    ThreeStateLossChannel: ("gap_to_lost", "lost_to_gap", "lost_to_burst", "burst_to_lost"),
}


class LossStatistics(NamedTuple):
    """Of a trace. Runs at its ends count as they are.

    Attributes:
        packets: N.
        loss_share: share of packets lost.
        bursts: int64, number of bursts (runs of lost packets) of 1, 2, … packets.
        gaps: int64, number of gaps (runs of received packets) of 1, 2, … packets.
    """

    packets: int
    loss_share: float
    bursts: NDArray[np.int64]
    gaps: NDArray[np.int64]

    @property
    def mean_burst(self) -> float:
        """Mean length of a burst in packets; NaN without one."""
        return _mean_length(self.bursts)

    @property
    def mean_gap(self) -> float:
        """Mean length of a gap in packets; NaN without one."""
        return _mean_length(self.gaps)


def loss_statistics(lost: ArrayLike) -> LossStatistics:
    """Count the bursts and gaps of a pattern of losses, bool `[N]`, N at least 1.

    >>> loss_statistics([False, True, True, False, False, True]).bursts.tolist()
    [1, 1]
    """
    pattern = np.asarray(lost, dtype=bool)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(pattern)) + 1])
    lengths = np.diff(np.append(starts, len(pattern)))
    bursts, gaps = (np.bincount(lengths[pattern[starts] == value])[1:] for value in (True, False))
    return LossStatistics(len(pattern), float(pattern.mean()), bursts, gaps)


def report(trace: PacketTrace, *, buffer_seconds: float | None = None, shortest_gap: int | None = None) -> str:
    """Tables of a trace beside Gilbert's, the Gilbert-Elliott and the three-state model, and their lines for YAML.

    Args:
        trace: with lost and received packets.
        buffer_seconds: also count as lost what a playout buffer of this length loses; None to leave delays out.
        shortest_gap: as in `fit_three_state`.

    Raises:
        InvalidValue: all packets are lost or all received, so that no model can be fitted.
        UnreadableFile: a buffer is asked for, and the trace has no delays.
    """
    if buffer_seconds is not None and not 0 <= buffer_seconds < math.inf:
        raise InvalidValue("buffer_seconds", buffer_seconds, "must be a finite number of 0 or more")
    lost = trace.lost if buffer_seconds is None else trace.late(buffer_seconds)
    models: dict[str, GilbertElliottLossChannel | ThreeStateLossChannel] = {
        "Gilbert": fit_gilbert(lost),
        "Gilbert-Elliott": fit_gilbert_elliott(lost),
        "three states": fit_three_state(lost, shortest_gap=shortest_gap),
    }
    found = loss_statistics(lost)
    chains = [model.chain for model in models.values()]
    length = "" if trace.packet_seconds is None else f" of {1000 * trace.packet_seconds:g} ms"
    lines = [
        f"{found.packets} packets{length}, {int(lost.sum())} lost in {int(found.bursts.sum())} bursts",
        "",
        _row("", "trace", *models),
        _row("lost", _percent(found.loss_share), *(_percent(chain.loss_share) for chain in chains)),
        _means("mean burst, packets", found.mean_burst, chains, lost=True),
        *(_lengths("bursts", found.bursts, chains, first, last, lost=True) for first, last in BURSTS),
        _means("mean gap, packets", found.mean_gap, chains, lost=False),
        *(_lengths("gaps", found.gaps, chains, first, last, lost=False) for first, last in GAPS),
        _row("log-likelihood", "", *(f"{chain.log_likelihood(lost):.1f}" for chain in chains)),
        "",
    ]
    for model in models.values():
        settings = ", ".join(f"{name}: {getattr(model, name):.6g}" for name in OPTIONS[type(model)])
        lines.append(f"- {{class_path: codec.{type(model).__name__}, init_args: {{{settings}}}}}")
    return "\n".join(lines)


def _means(label: str, mean: float, chains: list[LossChain], *, lost: bool) -> str:
    """A line of mean lengths."""
    return _row(label, f"{mean:.2f}", *(f"{chain.mean_run(lost=lost):.2f}" for chain in chains))


def _lengths(
    label: str, counts: NDArray[np.int64], chains: list[LossChain], first: int, last: int | None, *, lost: bool
) -> str:
    """A line of shares of runs of `first` to `last` packets."""

    longest = (last or first) + 1
    tails = [chain.run_probabilities(longest, lost=lost) for chain in chains]
    tails.insert(0, np.array([counts[length:].sum() for length in range(longest)]) / max(1, counts.sum()))
    cells = [_percent(tail[first - 1] - (0.0 if last is None else tail[last])) for tail in tails]
    name = f"{first}" if last == first else f"{first} and more" if last is None else f"{first} to {last}"
    return _row(f"  {label} of {name}", *cells)


def _row(label: str, *cells: str) -> str:
    return f"{label:<22}" + "".join(f"{cell:>17}" for cell in cells)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _mean_length(counts: NDArray[np.int64]) -> float:
    """Mean of lengths 1, 2, … that occur so many times."""
    return float(np.arange(1, len(counts) + 1) @ counts / counts.sum()) if counts.sum() else float("nan")
