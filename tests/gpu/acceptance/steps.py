"""Training steps through the Trainer: distances by batch, time of a step, memory, skipped steps."""

import statistics
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from callbacks import CodecEMA
from codec import CodecModule
from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting
from tests.gpu.acceptance.signals import SignalData
from tests.gpu.acceptance.timing import Stopwatch, peak_gigabytes, reset_peak
from tests.support.training import quiet_trainer


class Watch(L.Callback):
    """Marks the start of training and the end of each batch, and keeps the reconstruction distance of some.

    Args:
        device: whose time is taken.
        listed: numbers of the batches whose distance is kept; None for all.
    """

    def __init__(self, device: torch.device, listed: Sequence[int] | None = None) -> None:
        self.stopwatch, self.listed = Stopwatch(device), None if listed is None else set(listed)
        self.distances: dict[int, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.stopwatch.mark()

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        number = trainer.global_step - 1
        if self.listed is None or number in self.listed:
            target = batch.get("target", batch["audio"])
            distance = pl_module.reconstruction_loss.distance(outputs["audio"], target)
            self.distances[number] = distance.detach().clone()
        self.stopwatch.mark()

    def values(self) -> list[float]:
        """The distances kept, in order."""
        return [float(self.distances[number]) for number in sorted(self.distances)]


def fit(
    module: CodecModule,
    setting: Setting,
    *,
    data: SignalData,
    batches: int,
    precision: str = "32-true",
    callbacks: Sequence[L.Callback] = (),
    accelerator: str | None = None,
    ckpt_path: str | None = None,
    **options: Any,
) -> L.Trainer:
    """Train with averages, and return the trainer."""
    trainer = quiet_trainer(
        accelerator=accelerator or setting.accelerator,
        precision=precision,
        max_steps=batches,
        callbacks=[CodecEMA(0.99), *callbacks],
        default_root_dir=setting.folder,
        **options,
    )
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer


def signal_data(module: CodecModule, setting: Setting, *, size: int, seconds: float) -> SignalData:
    """Batches at the rates of the module's codec."""
    rates = dict.fromkeys((module.codec.sample_rate, module.codec.output_sample_rate))
    pin = setting.device.type == "cuda"
    return SignalData(size, seconds, rates=tuple(rates), clips=setting.pick(16, 3), pin=pin)


def measured_fit(
    name: str,
    module: CodecModule,
    setting: Setting,
    *,
    report: Report,
    size: int,
    seconds: float,
    batches: int,
    learns: bool = True,
    callbacks: Sequence[L.Callback] = (),
    precision: str = "bf16-mixed",
) -> float:
    """Train, record loss, skipped steps, speed and memory, and return the median seconds of a step."""
    edge = max(2, batches // 10)
    warmup = batches // 2
    watch = Watch(setting.device, [*range(edge), *range(batches - edge, batches)])
    reset_peak(setting.device)
    data = signal_data(module, setting, size=size, seconds=seconds)
    fit(module, setting, data=data, batches=batches, precision=precision, callbacks=[*callbacks, watch])
    distances = watch.values()
    first, last = statistics.mean(distances[:edge]), statistics.mean(distances[-edge:])
    report.value(f"{name}: distance of the first batches", first)
    if learns:
        report.true(f"{name}: distance of the last batches", last, f"< {first:.4g}", passed=last < first)
    else:
        report.true(f"{name}: distance of the last batches", last, "finite", passed=last < float("inf"))
    report.at_most(f"{name}: skipped steps", float(module.skipped_steps), 0)
    times = watch.stopwatch.seconds()
    step = statistics.median(times[warmup : batches - edge] or times[-1:])  # of batches without a distance
    report.value(f"{name}: steps/s", 1 / step)
    report.value(f"{name}: audio s/s", size * seconds / step)
    report.value(f"{name}: slowest of the first batches beyond that, s", max(times[:warmup]) - step)
    report.value(f"{name}: peak memory, GB", peak_gigabytes(setting.device))
    return step
