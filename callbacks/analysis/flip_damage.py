"""What one flipped bit does to the codes of each system: of fixed-length codewords, and of an entropy-coded stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.analysis.operating_curve import channel_evaluation
from callbacks.channel.tables import aligned
from callbacks.figures.flips import flip_figure
from callbacks.metrics.checks import require, require_at_least
from callbacks.output.files import write_csv
from callbacks.output.loggers import log_folder, print_report, save_figure
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.flips import FlippedBit
from callbacks.scoring.scores import ClipScores, stated_clips
from codec.channels import draw_generator
from codec.channels.link import Connection
from codec.training.comparison_module import EvaluatedSystem


class FlipDamage(Callback):
    """In `test`, flips single bits of what `callbacks.ChannelEvaluation` sends, and counts frames that come out wrong.

    A bit is drawn from all payload bits of a clip, by the evaluation's seed and the clip alone. Writes `flips.csv`, and
    a figure in which the scores behind flipped bits stand beside it, into the log folder.

    Args:
        flips: bits flipped in each clip, each by itself.

    Attributes:
        results: a row for each system.

    Raises:
        InvalidValue: `flips` is below 1; at the end of the test, a system has error correction, or no evaluation is
            there.
    """

    def __init__(self, flips: int = 10) -> None:
        require_at_least(1, flips=flips)
        self.flips = flips
        self.results: list[FlippedBit] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be counted before it is scored."""
        channel_evaluation(trainer, self)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Flip, write and report; all ranks have the codes."""
        evaluation, folder = channel_evaluation(trainer, self), log_folder(trainer)
        if not evaluation.clip_scores or not trainer.is_global_zero:
            return
        rates = {row.codec: row.bit_rate for row in reversed(evaluation.results)}
        self.results = []
        for system in evaluation.systems:
            clips = [clip for clip in evaluation.clip_scores if clip.codec == system.name]
            found = self._row(system, clips, evaluation.seed, evaluation.bootstrap)
            self.results.append(found._replace(bit_rate=rates[system.name]))
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / "flips.csv", self.results)
        first = evaluation.results[0]
        title = f"Fixed-length and entropy-coded codes, {stated_clips(first.clips, first.speakers)}"
        figure = flip_figure(evaluation.results, evaluation.metrics[0], self.results, title=title)
        save_figure(trainer, figure, folder / "channel" / "flips", tag="channel/flips")
        print_report("\n".join(["One flipped bit, on average:", *aligned(self._table(), left=1)]))

    def _row(self, system: EvaluatedSystem, clips: Sequence[ClipScores], seed: int, bootstrap: Bootstrap) -> FlippedBit:
        connection, frame_ms = system.connection, 1000 / system.codec.frame_rate
        require(connection.code is None, f"FlipDamage counts codes without error correction, {system.name} has some")
        shares, frames, longest = [], [], 0
        for clip in clips:
            codes = clip.codes
            assert codes is not None
            generator = draw_generator(seed, clip.clip_id, "one flip", 0)
            wrong = flip_damage(connection, codes, self.flips, generator)
            shares.append(wrong[:, 0].mean() / codes.size)
            frames.append(wrong[:, 1].mean())
            longest = max(longest, int(wrong[:, 1].max()))
        interval = bootstrap.means(np.array([frames]) * frame_ms, [clip.speaker for clip in clips])
        mean, low, high = (float(bound[0]) for bound in interval)
        return FlippedBit(
            codec=system.name,
            bit_rate=0.0,
            clips=len(clips),
            flips=len(clips) * self.flips,
            wrong_codes=float(np.mean(shares)),
            frames=float(np.mean(frames)),
            mean=mean,
            low=low,
            high=high,
            longest=longest * frame_ms,
        )

    def _table(self) -> list[list[str]]:
        table = [["codec", "kbit/s", "codes wrong", "frames wrong", "ms", "longest (ms)"]]
        for row in self.results:
            share, frames = f"{100 * row.wrong_codes:.2g} %", f"{row.frames:.1f}"
            spread = "" if np.isnan(row.low) else f" ±{(row.high - row.low) / 2:.0f}"
            table.append([row.codec, f"{row.bit_rate / 1000:.3g}", share, frames, f"{row.mean:.0f}{spread}",
                          f"{row.longest:.0f}"])  # fmt: skip
        return table


def flip_damage(connection: Connection, codes: np.ndarray, flips: int, generator: torch.Generator) -> np.ndarray:
    """Wrong codes, and frames with one, of each of several single flips: int64 `[flips, 2]`.

    Args:
        connection: without error correction.
        codes: int64 `[K, F]` of one clip, F at least 1.
        flips: number of bits, each drawn from all payload bits.
        generator: source of the draws.
    """
    draws = torch.rand(flips, generator=generator, dtype=torch.float64).numpy()
    if connection.packet_coder is None:
        return np.array([_fixed(connection, torch.from_numpy(codes)[None], draw) for draw in draws])
    coder = connection.packet_coder
    packets = coder.packets(codes)
    ends = np.cumsum([len(packet.bits) for packet in packets])
    found = []
    for draw in draws:
        place = int(draw * ends[-1])
        number = int(np.searchsorted(ends, place, side="right"))
        packet = packets[number]
        bits = packet.bits.copy()
        bits[place - ends[number]] ^= 1  # from the packet's end
        received = coder.codes(packet._replace(bits=bits))
        wrong = np.ones((len(codes), packet.frames), dtype=bool)
        sent = codes[:, packet.first : packet.first + received.shape[1]]
        wrong[:, : received.shape[1]] = received != sent
        found.append((wrong.sum(), wrong.any(0).sum()))
    return np.array(found)


def _fixed(connection: Connection, codes: torch.Tensor, draw: float) -> tuple[int, int]:
    bits = connection.send(codes)
    place = int(draw * bits.numel())
    bits.view(-1)[place] ^= 1
    received = connection.receive(bits)
    wrong = (received.codes != codes) | received.erased
    return int(wrong.sum()), int(wrong.any(1).sum())
