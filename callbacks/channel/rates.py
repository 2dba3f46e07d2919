"""What the codes of an evaluation would need after entropy coding: entropies and code lengths for every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from callbacks.channel.tables import aligned
from callbacks.scoring.scores import ClipScores
from codec.channels.entropy_coding import Entropy, adaptive_bits, code_entropies
from codec.training.comparison_module import EvaluatedSystem

Digits = Sequence[Sequence[int]]


class CodeRates(NamedTuple):
    """Rates in bit/s of one system's codes over all clips, before error correction.

    Attributes:
        frames: N, over all clips.
        sent: of fixed-length codewords.
        alone: of an adaptive arithmetic coder of order 0 and 1 that starts anew in each clip (`adaptive_bits`).
        long_run: the same where one coder codes all clips one behind the other.
        frame_rate: frames a second, by which bits a frame become bit/s.
        entropies: in bits a frame, by digit, codebook and frame.
    """

    frames: int
    sent: float
    alone: tuple[float, float]
    long_run: tuple[float, float]
    frame_rate: float
    entropies: list[Entropy]

    @property
    def facts(self) -> dict[str, Any]:
        """For `channel.json`: rates of order 1 by name, the rest below `code_rates`."""
        return {
            "coded_bit_rate": self.alone[1],
            "long_run_bit_rate": self.long_run[1],
            "code_rates": {
                "frames": self.frames,
                "alone": list(self.alone),
                "long_run": list(self.long_run),
                "entropies": [row._asdict() for row in self.entropies],
            },
        }


def coded_bit_rate(codes: np.ndarray, digits: Digits, frame_rate: float) -> float:
    """bit/s of one clip's codes `[K, F]` behind an adaptive arithmetic coder of order 1; NaN without a frame."""
    frames = codes.shape[1]
    return adaptive_bits([codes], digits) * frame_rate / frames if frames else float("nan")


def code_rates(clips: Sequence[np.ndarray], digits: Digits, *, bits_per_frame: int, frame_rate: float) -> CodeRates:
    """The rates of some clips' codes, each `[K, F]`."""
    frames = sum(clip.shape[1] for clip in clips)
    scale = frame_rate / max(frames, 1)
    alone = [sum(adaptive_bits([clip], digits, order=order) for clip in clips) * scale for order in (0, 1)]
    long_run = [adaptive_bits(clips, digits, order=order) * scale for order in (0, 1)]
    found = code_entropies(clips, digits)
    return CodeRates(
        frames, bits_per_frame * frame_rate, (alone[0], alone[1]), (long_run[0], long_run[1]), frame_rate, found
    )


def rates_of(systems: Sequence[EvaluatedSystem], by_codec: Mapping[str, Sequence[ClipScores]]) -> dict[str, CodeRates]:
    """The rates of every system whose clips have codes, by its name."""
    found = {}
    for system in systems:
        clips = [clip.codes for clip in by_codec[system.name] if clip.codes is not None]
        if sum(clip.shape[1] for clip in clips):
            codec = system.codec
            found[system.name] = code_rates(
                clips,
                codec.quantizer.digits,
                bits_per_frame=codec.bits_per_frame,
                frame_rate=codec.frame_rate,
            )
    return found


def format_rates(rates: Mapping[str, CodeRates]) -> str:
    """Systems as lines: rates sent, of a frame's entropies, and after coding; systems alike share a line."""
    lines: dict[tuple[Any, ...], list[str]] = {}
    for name, found in rates.items():
        lines.setdefault(_cells(found), []).append(name)
    head = ["kbit/s sent", "entropy", "given the frame before", "coded, each clip", "long run"]
    several = len(rates) > 1
    table = [["codec"] * several + head]
    table += [[_named(names)] * several + list(cells) for cells, names in lines.items()]
    frames = next(iter(rates.values())).frames
    title = f"Rate of the codes in kbit/s, without error correction, over {frames} frames:"
    notes = [
        "coded: by an adaptive arithmetic coder of first order that starts without knowledge, in each clip or once.",
        "a to b: too few frames for one number; the entropy is above a on average, and below b.",
    ]
    bounds = any(" to " in cell for cells in lines for cell in cells)
    return "\n".join([title, *aligned(table, left=int(several)), *notes[: 1 + bounds]])


def _cells(rates: CodeRates) -> tuple[str, ...]:
    frame = [row for row in rates.entropies if row.part == "frame"]
    stated = [_entropy(row, rates.frame_rate) for row in frame]
    return (f"{rates.sent / 1000:.3g}", *stated, f"{rates.alone[1] / 1000:.3g}", f"{rates.long_run[1] / 1000:.3g}")


def _entropy(row: Entropy, frame_rate: float) -> str:
    low, one, high = (value * frame_rate / 1000 for value in (row.low, row.corrected, row.high))
    return f"{low:.3g} to {high:.3g}" if np.isnan(one) else f"{one:.3g}"


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
