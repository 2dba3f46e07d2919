"""How training and validation use the codebooks: entries used, perplexity, and levels of a scalar quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.channel.evaluation_callback import single_clips
from callbacks.figures.levels import level_figure
from callbacks.metrics.checks import require_at_least
from callbacks.output.loggers import log_reduced, show_figure
from codec.quantizers.base import Quantizer

KEY = "codebook_usage"
LARGEST = 2**22  # entries; a histogram of a larger codebook would need too much memory


class CodebookUsage(Callback):
    """Counts codes on every rank and logs, for `train` every `every_n_batches` batches and for each `val` epoch:

    - `codebook/<stage>/usage_<k>`: number of different entries seen over the largest number possible, min(entries,
      codes seen), in [0, 1];
    - `codebook/<stage>/perplexity_<k>`: exp of the entropy in nats of the codes seen, 1 to the number of entries;
    - `codebook/<stage>/level_<i>_<l>`: for a scalar quantizer, the share of codes with level l in dimension i, in
      [0, 1], and after validation a figure of them.

    For codebooks of more than 2^22 entries only levels are logged. Counts are summed over ranks in one all-reduce, and
    reset after each log. Steps return `"codes"` [B, K, F].

    Args:
        every_n_batches: Training batches between two logs.

    Raises:
        InvalidValue: `every_n_batches` is below 1.
    """

    def __init__(self, every_n_batches: int = 100) -> None:
        require_at_least(1, every_n_batches=every_n_batches)
        self.every_n_batches = every_n_batches
        self._counts: dict[str, _Counts] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._counts = {}

    def logged_names(self, pl_module: LightningModule) -> list[str]:
        """Names of all values that `fit` logs here."""
        if not hasattr(pl_module, "codec"):
            return []
        counts = _Counts(pl_module.codec.quantizer, torch.device("cpu"))  # type: ignore[union-attr, arg-type]
        names = [f"{figure}_{k}" for k in counts.sizes for figure in ("usage", "perplexity")]
        names += [f"level_{i}_{level}" for i, levels in enumerate(counts.levels) for level in range(levels)]
        return [f"codebook/{stage}/{name}" for stage in ("train", "val") for name in names]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the counts since the last log, summed over ranks, in the checkpoint."""
        counts = self._counts_of("train", pl_module).histogram
        checkpoint[KEY] = trainer.strategy.reduce(counts.clone(), reduce_op="sum")

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and KEY in checkpoint and trainer.is_global_zero:
            self._counts_of("train", pl_module).histogram.copy_(checkpoint[KEY])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._add("train", pl_module, outputs)
        if trainer.global_step % self.every_n_batches == 0:
            self._log("train", trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.sanity_checking:
            for _, clip in single_clips(batch, outputs):
                self._add("val", pl_module, clip)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._log("val", trainer, pl_module)

    def _add(self, stage: str, pl_module: LightningModule, outputs: Tensor | Mapping[str, Any] | None) -> None:
        codes = outputs.get("codes") if isinstance(outputs, Mapping) else None
        if codes is not None and hasattr(pl_module, "codec"):
            self._counts_of(stage, pl_module).add(codes)

    def _counts_of(self, stage: str, pl_module: LightningModule) -> _Counts:
        if stage not in self._counts:
            codec = pl_module.codec
            assert isinstance(codec, torch.nn.Module)
            quantizer = codec.quantizer
            assert isinstance(quantizer, torch.nn.Module)
            self._counts[stage] = _Counts(quantizer, pl_module.device)  # type: ignore[arg-type]
        return self._counts[stage]

    def _log(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> None:
        if not hasattr(pl_module, "codec"):  # a comparison of several
            return
        counts = self._counts_of(stage, pl_module)  # also on a rank without clips, which takes part in the sum
        summed = trainer.strategy.reduce(counts.histogram, reduce_op="sum")
        assert isinstance(summed, Tensor)
        usage, levels = counts.split(summed)
        values: dict[str, float] = {}
        for k, histogram in usage.items():
            seen = int(histogram.sum())
            if seen:
                share = histogram[histogram > 0] / seen
                values[f"codebook/{stage}/usage_{k}"] = len(share) / min(len(histogram), seen)
                values[f"codebook/{stage}/perplexity_{k}"] = float(np.exp(-(share * np.log(share)).sum()))
        shares = [histogram / histogram.sum() for histogram in levels if histogram.sum()]
        for i, share in enumerate(shares):
            values |= {f"codebook/{stage}/level_{i}_{level}": float(value) for level, value in enumerate(share)}
        log_reduced(trainer, pl_module, values)
        if stage == "val" and shares:
            show_figure(
                trainer,
                f"codebook/{stage}/levels",
                lambda: level_figure(shares, title="validation codes: levels used in each dimension"),
                step=trainer.global_step,
            )
        counts.histogram.zero_()


class _Counts:
    """One vector of counts: each codebook's entries, then each dimension's levels."""

    def __init__(self, quantizer: Quantizer, device: torch.device) -> None:
        self.quantizer = quantizer
        self.sizes = {k: size for k, size in enumerate(quantizer.codebook_sizes) if size <= LARGEST}
        has_levels = hasattr(quantizer, "codes_to_levels") and len(quantizer.codebook_sizes) == 1
        self.levels: tuple[int, ...] = tuple(quantizer.levels) if has_levels else ()  # type: ignore[arg-type]
        lengths = [*self.sizes.values(), *self.levels]
        self.histogram = torch.zeros(sum(lengths), dtype=torch.int64, device=device)
        self.starts = [sum(lengths[:i]) for i in range(len(lengths))]

    def add(self, codes: Tensor) -> None:
        """Count codes [B, K, F] without waiting for the device."""
        parts = [codes[:, k] for k in self.sizes]
        if self.levels:
            parts += list(self.quantizer.codes_to_levels(codes).unbind(1))  # type: ignore[operator]
        if not parts:
            return
        places = torch.cat([part.flatten() + start for part, start in zip(parts, self.starts, strict=True)])
        places = places.to(self.histogram.device)
        self.histogram.index_add_(0, places, torch.ones_like(places))

    def split(self, histogram: Tensor) -> tuple[dict[int, np.ndarray], list[np.ndarray]]:
        """The counts of each codebook by its number, and those of each dimension."""
        parts = histogram.cpu().split([*self.sizes.values(), *self.levels]) if len(self.starts) else ()
        counts = [part.numpy() for part in parts]
        return dict(zip(self.sizes, counts, strict=False)), counts[len(self.sizes) :]
