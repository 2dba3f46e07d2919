"""How far in time one damaged frame is heard: energy of the decoded difference around it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.channel.scorer import order
from callbacks.figures.sensitivity import spread_figure
from callbacks.output.loggers import gather_objects, log_folder, save_figure
from codec.channels import draw_generator
from codec.channels.link import Connection, Link
from codec.training.comparison_module import evaluated_systems

SHARES = (0.5, 0.9, 0.99)


class ErrorSpread(Callback):
    """In `test`, flips one random bit of single frames and measures where in time the decoded signal changes.

    Writes `error_spread.json` (energy of the difference by hop around the damaged frame; for 50, 90 and 99 % of it the
    time before and after the frame that holds it) and a figure, and prints a line. A frame alone, in an otherwise
    undamaged clip: what a decoder with memory makes of it is all there.

    Args:
        frames: Frames damaged in each clip, one at a time.
        clips: Clips used, those whose ids hash lowest; None for all.
        reach: Frames looked at to either side.
        link: Index map and concealment.
        seed: Seed of the frames and bits.

    Raises:
        ValueError: A number is below 1.
    """

    def __init__(
        self, frames: int = 8, clips: int | None = 16, *, reach: int = 50, link: Link | None = None, seed: int = 0
    ) -> None:
        for name, value in (("frames", frames), ("clips", clips or 1), ("reach", reach)):
            if value < 1:
                raise ValueError(f"{name} {value} must be at least 1.")
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
        assert isinstance(outputs, Mapping)
        kept = [*self._codes, (batch["id"][0], outputs["codes"].cpu())]
        self._codes = sorted(kept, key=lambda entry: order(entry[0]))[: self.clips]

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure on this rank's clips of the chosen ones, sum over ranks, and report."""
        contestants, rate = evaluated_systems(pl_module, self.link)
        if len(contestants) > 1:
            raise ValueError("ErrorSpread analyses one codec: test its checkpoint alone, without a comparison.")
        chosen = sorted(chain(*gather_objects([clip_id for clip_id, _ in self._codes])), key=order)[: self.clips]
        codec: Any = contestants[0].codec
        profiles = {
            clip_id: self._profile(codec, contestants[0].connection, codes, clip_id)
            for clip_id, codes in self._codes
            if clip_id in chosen
        }
        everything = {clip_id: found for part in gather_objects(profiles) for clip_id, found in part.items()}
        folder = log_folder(trainer)
        if not everything or not trainer.is_global_zero:
            return
        profiles_heard = [everything[clip_id] for clip_id in sorted(everything) if everything[clip_id].any()]
        energy = np.mean(profiles_heard, axis=0) if profiles_heard else np.zeros(2 * self.reach + 1)
        self.results = self._summary(energy, hop_ms=1000 * codec.decoder.hop_length / rate, clips=len(everything))
        self._report(trainer, folder, energy)

    def _profile(self, codec: Any, connection: Connection, codes: Tensor, clip_id: str) -> np.ndarray:
        """Share of the difference's energy by hop from the damaged frame, mean over flips that change anything.

        Zeros where none did; float64 [2 reach + 1].
        """
        device = next(codec.parameters()).device
        bits = connection.send(codes)  # [1, F, n]
        generator = draw_generator(self.seed, clip_id, "error-spread", 0)
        frames = bits.shape[1]
        clean = codec.decode_latents(connection.latents(connection.receive(bits.to(device))))
        total, heard, hop = np.zeros(2 * self.reach + 1), 0, codec.decoder.hop_length
        for frame in torch.randint(frames, (self.frames,), generator=generator).tolist():
            flipped = bits.clone()
            flipped[0, frame, int(torch.randint(bits.shape[2], (), generator=generator))] ^= 1
            damaged = codec.decode_latents(connection.latents(connection.receive(flipped.to(device))))
            energy = (damaged - clean).double().square().view(frames, hop).sum(1).cpu().numpy()
            if energy.sum() > 0:
                total += np.pad(energy / energy.sum(), self.reach)[frame : frame + 2 * self.reach + 1]
                heard += 1
        return total / max(1, heard)

    def _summary(self, energy: np.ndarray, *, hop_ms: float, clips: int) -> dict[str, Any]:
        extents: dict[str, float | None] = {}
        for share in SHARES:
            # The shortest symmetric stretch, counted in whole hops, that holds the share; none within reach is null.
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

    def _report(self, trainer: Trainer, folder: Any, energy: np.ndarray) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error_spread.json").write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
        time = self.results["hop_ms"] * np.arange(-self.reach, self.reach + 1)
        title = f"One bit of one frame flipped: mean over {self.results['clips']} clips x {self.frames} frames"
        figure = spread_figure(time, 10 * np.log10(np.maximum(energy, 1e-9)), title=title)
        save_figure(trainer, figure, folder / "error_spread", tag="error_spread")
        extents = self.results["within_ms"].items()
        within = ", ".join(f"{s} within " + (f"±{ms:.0f} ms" if ms else "no time looked at") for s, ms in extents)
        print(f"\nEnergy of the error after a flip in one frame: {within}\n", flush=True)
