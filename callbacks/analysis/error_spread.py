"""How far in time the damage of one frame spreads: energy of the decoded difference around it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.analysis.single_system import single_system
from callbacks.channel.evaluation_callback import single_clips
from callbacks.channel.scorer import hash_order
from callbacks.figures.sensitivity import spread_figure
from callbacks.metrics.checks import require_at_least
from callbacks.output.files import write_json
from callbacks.output.loggers import log_folder, print_report, save_figure
from codec.channels import draw_generator
from codec.channels.link import Link
from codec.layers.ranks import gather_objects
from codec.training.comparison_module import EvaluatedSystem

SHARES = (0.5, 0.9, 0.99)


class ErrorSpread(Callback):
    """In `test`, flips one random bit of single frames and measures where in time the decoded signal changes.

    Writes `error_spread.json` (energy of the difference by hop around the damaged frame, and the time on either side of
    the frame's middle that holds 50, 90 and 99 % of it) and a figure, and prints a line. The rest of the clip is
    undamaged, so the whole effect of the decoder's memory is seen.

    Args:
        frames: Frames damaged in each clip, one at a time.
        clips: Number of clips, those whose ids hash lowest; None for all.
        reach: Number of frames measured on either side of the damaged one.
        link: Index assignment and concealment.
        seed: Seed of the frames and bits.

    Raises:
        InvalidValue: A number is below 1, or there are several systems.
    """

    def __init__(
        self, frames: int = 8, clips: int | None = 16, *, reach: int = 50, link: Link | None = None, seed: int = 0
    ) -> None:
        require_at_least(1, frames=frames, clips=clips, reach=reach)
        self.frames, self.clips, self.reach, self.link, self.seed = frames, clips, reach, link, seed
        self.results: dict[str, Any] = {}
        self._codes: list[tuple[str, Tensor]] = []

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._codes = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for clip, found in single_clips(batch, outputs):
            assert isinstance(found, Mapping)
            kept = [*self._codes, (clip["id"][0], found["codes"].cpu())]
            self._codes = sorted(kept, key=lambda entry: hash_order(entry[0]))[: self.clips]

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the chosen clips of this rank, average over all ranks, and report."""
        system, rate = single_system(self, pl_module, self.link)
        chosen = sorted(chain(*gather_objects([clip_id for clip_id, _ in self._codes])), key=hash_order)[: self.clips]
        profiles = {
            clip_id: self._profile(system, codes, clip_id) for clip_id, codes in self._codes if clip_id in chosen
        }
        everything = {clip_id: found for part in gather_objects(profiles) for clip_id, found in part.items()}
        folder = log_folder(trainer)
        if not everything or not trainer.is_global_zero:
            return
        changed = [everything[clip_id] for clip_id in sorted(everything) if everything[clip_id].any()]
        energy = np.mean(changed, axis=0) if changed else np.zeros(2 * self.reach + 1)
        self.results = self._summary(
            energy, hop_ms=1000 * system.codec.decoder.hop_length / rate, clips=len(everything)
        )
        self._report(trainer, folder, energy)

    def _profile(self, system: EvaluatedSystem, codes: Tensor, clip_id: str) -> np.ndarray:
        """Share of the difference's energy by hop from the damaged frame: float64 [2 reach + 1].

        The mean over flips that change the signal; zeros if none does.
        """
        codec, connection = system.codec, system.connection
        device = codec.device
        bits = connection.send(codes)  # [1, F, n]
        generator = draw_generator(self.seed, clip_id, "error-spread", 0)
        frames = bits.shape[1]
        clean = codec.decode_latents(connection.latents(connection.receive(bits.to(device))))
        total, count, hop = np.zeros(2 * self.reach + 1), 0, codec.decoder.hop_length
        for frame in torch.randint(frames, (self.frames,), generator=generator).tolist():
            flipped = bits.clone()
            flipped[0, frame, int(torch.randint(bits.shape[2], (), generator=generator))] ^= 1
            damaged = codec.decode_latents(connection.latents(connection.receive(flipped.to(device))))
            energy = (damaged - clean).double().square().view(frames, hop).sum(1).cpu().numpy()
            if energy.sum() > 0:
                total += np.pad(energy / energy.sum(), self.reach)[frame : frame + 2 * self.reach + 1]
                count += 1
        return total / max(1, count)

    def _summary(self, energy: np.ndarray, *, hop_ms: float, clips: int) -> dict[str, Any]:
        extents: dict[str, float | None] = {}
        for share in SHARES:
            # The shortest symmetric interval of whole hops that holds the share; null if it exceeds the reach.
            held = [energy[self.reach - n : self.reach + n + 1].sum() for n in range(self.reach + 1)]
            hops = next((n for n, h in enumerate(held) if h >= share - 1e-9), None)
            extents[f"{100 * share:g}%"] = None if hops is None else hop_ms * (hops + 0.5)
        return {
            "clips": clips,
            "frames_per_clip": self.frames,
            "hop_ms": hop_ms,
            "within_ms": extents,
            "share_before_the_frame": float(energy[: self.reach].sum()),
            "share_in_the_frame": float(energy[self.reach]),
            "share_beyond_reach": float(max(0.0, 1 - energy.sum())),
            "energy_by_hop": energy.tolist(),
        }

    def _report(self, trainer: Trainer, folder: Path, energy: np.ndarray) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "error_spread.json", self.results)
        time = self.results["hop_ms"] * np.arange(-self.reach, self.reach + 1)
        title = f"One bit of one frame flipped: mean over {self.results['clips']} clips x {self.frames} frames"
        figure = spread_figure(time, 10 * np.log10(np.maximum(energy, 1e-9)), title=title)
        save_figure(trainer, figure, folder / "error_spread", tag="error_spread")
        extents = self.results["within_ms"].items()
        within = ", ".join(f"{s} within ±{ms:.0f} ms" if ms else f"{s} beyond the reach" for s, ms in extents)
        print_report(f"Energy of the error after a flip in one frame: {within}")
