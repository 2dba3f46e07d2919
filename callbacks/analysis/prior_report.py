"""Measures how probable a codec's codes are, for receivers that conceal: the file of a `codec.CodePrior`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.analysis.single_system import single_system
from callbacks.channel.evaluation_callback import EvaluationCallback
from callbacks.metrics.checks import require
from callbacks.output.loggers import log_folder, print_report, show_table
from codec.channels import CodeCounts, CodePrior
from codec.channels.entropy_coding.entropies import plug_in
from codec.layers.ranks import gather_objects
from codec.quantizers import Quantizer

FILE = "prior.npz"


class Entropy(NamedTuple):
    """Bits a frame that a codebook's codes need: as sent, by the histograms of its digits, and by their chains."""

    codebook: int
    sent: float
    histogram: float
    chain: float


class PriorReport(EvaluationCallback):
    """In `test`, counts the values of each digit of the codes and their pairs in consecutive frames, over all clips.

    Writes `prior.npz` into the log folder, which `codec.CodePrior` reads, and prints the entropies. Measure it on
    speech that is not scored: a prior of the scored clips would know them.

    Attributes:
        results: entropies of each codebook, in bits a frame.
    """

    def __init__(self) -> None:
        self.results: list[Entropy] = []
        self._counts: CodeCounts | None = None
        self._quantizer: Quantizer | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count in `test` alone."""

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._quantizer = single_system(self, pl_module, None)[0].codec.quantizer
        self._counts = CodeCounts(self._quantizer.digits)

    def _evaluate(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Tensor | Mapping[str, Any] | None, batch: Any
    ) -> None:
        if self._counts is not None and isinstance(outputs, Mapping) and bool(batch["audio"].isfinite().all()):
            self._counts.add(outputs["codes"])

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add up the counts of all ranks, write and report; all ranks issue the same collectives."""
        if self._counts is None or self._quantizer is None:
            return
        first, *others = gather_objects(self._counts)
        folder, self._counts = log_folder(trainer), None
        if not trainer.is_global_zero:
            return
        for other in others:
            first.merge(other)
        frames = int(first.values[0][0].sum())
        require(frames > 0, "no codes were counted", remedy="give clips in data.test")
        folder.mkdir(parents=True, exist_ok=True)
        first.save(folder / FILE)
        prior = CodePrior(folder / FILE)
        self.results = entropies(prior, self._quantizer.codebook_sizes)
        show_table(trainer, "prior", self.results, step=trainer.global_step)
        lines = [f"Codes of {frames} frames: {folder / FILE}"]
        lines += [
            f"  codebook {row.codebook}: {row.sent:.2f} bits a frame sent, {row.histogram:.2f} by the histograms of "
            f"its digits, {row.chain:.2f} given the frame before"
            for row in self.results
        ]
        print_report("\n".join(lines))


def entropies(prior: CodePrior, codebook_sizes: Sequence[int]) -> list[Entropy]:
    """Bits a frame of each codebook under a prior, its digits taken as independent."""
    found = []
    for k, size in enumerate(codebook_sizes):
        pairs = list(zip(prior.histograms[k], prior.transitions[k], strict=True))
        alone = sum(plug_in(histogram.double().numpy()) for histogram, _ in pairs)
        chain = sum(
            float(histogram[before]) * plug_in(row)
            for histogram, rows in pairs
            for before, row in enumerate(rows.double().numpy())
        )
        found.append(Entropy(k, float(torch.tensor(float(size)).log2()), alone, chain))
    return found
