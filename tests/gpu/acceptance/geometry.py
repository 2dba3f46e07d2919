"""Steps of the full geometry: speed, memory, share of the card's peak, share of time by part, and the yardstick."""

import importlib
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.gpu.acceptance.ceilings import matmul_rate
from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import (
    SMALL_PERIOD,
    SMALL_SPECTROGRAM,
    Setting,
    adversarial,
    build_module,
    compiling_with,
    model_block,
    overlay,
)
from tests.gpu.acceptance.signals import crops
from tests.gpu.acceptance.steps import fit, measured_fit, signal_data
from tests.gpu.acceptance.timing import Stopwatch, median_seconds, peak_gigabytes, reset_peak

YARDSTICK = "tests.benchmarks.full_geometry", "reference_step"


def full_block(setting: Setting, *names: str, compiled: bool) -> dict[str, Any]:
    """A configuration at full size, or narrow for a CPU; adversarial from the first batch on."""
    block = adversarial(model_block(*names), setting, compiled=compiled)
    if setting.full:
        return block
    codec = block["init_args"]["codec"]["init_args"]
    codec["encoder"]["init_args"] |= {"width": 2}
    codec["decoder"]["init_args"]["backbone"]["init_args"] |= {"width": 32, "depth": 1, "heads": 2}
    return overlay(block, {"init_args": {"adversary": {"discriminators": [SMALL_PERIOD, SMALL_SPECTROGRAM]}}})


class FlopCount(L.Callback):
    """Counts the floating-point operations of one eager batch, matrix products and convolutions alone."""

    def __init__(self, batch: int) -> None:
        self.batch, self.total = batch, 0
        self._mode: FlopCounterMode | None = None

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.batch:
            self._mode = FlopCounterMode(display=False)
            self._mode.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self.total, self._mode = self._mode.get_total_flops(), None


class PartTimes(L.Callback):
    """Times the parts of eager batches from `first` on by marks on the device's time line.

    Parts are the calls of encoder, quantizer, decoder, each discriminator and each loss, the backward passes, and the
    optimizers' steps; "rest" is what is left of a batch.
    """

    def __init__(self, device: torch.device, first: int) -> None:
        self.device, self.first = device, first
        self.watches: dict[str, list[Stopwatch]] = defaultdict(list)
        self._active, self._depth = False, 0
        self._undo: list[Callable[[], None]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        module: Any = pl_module
        named: dict[str, nn.Module] = {
            name: getattr(module.codec, name) for name in ("encoder", "quantizer", "decoder")
        }
        named |= {f"discriminator {type(part).__name__}": part for part in module.discriminators}
        losses = ("reconstruction_loss", "feature_matching_loss")
        named |= {name.replace("_", " "): getattr(module, name) for name in losses if hasattr(module, name)}
        for name, part in named.items():
            before = part.register_forward_pre_hook(lambda *_, name=name: self._open(name))
            after = part.register_forward_hook(lambda *_, name=name: self._close(name))
            self._undo += [before.remove, after.remove]
        for optimizer in trainer.optimizers:
            self._wrap(optimizer, "step", "optimizer steps")
        self._wrap(torch.autograd, "backward", "backward passes")
        self._wrap(torch.autograd, "grad", "backward passes")

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._active = trainer.global_step >= self.first
        self._open("batch")

    def on_train_batch_end(self, *_: Any) -> None:
        self._close("batch")
        self._active = False

    def on_train_end(self, *_: Any) -> None:
        for undo in self._undo:
            undo()

    def shares(self) -> dict[str, float]:
        """Share of a batch's time in each part, of all batches timed."""
        totals = {name: sum(sum(watch.seconds()) for watch in watches) for name, watches in self.watches.items()}
        whole = totals.pop("batch")
        shares = {name: total / whole for name, total in totals.items()}
        return shares | {"rest": 1 - sum(shares.values())}

    def _open(self, name: str) -> None:
        if self._active:
            self.watches[name].append(Stopwatch(self.device))
            self.watches[name][-1].mark()

    def _close(self, name: str) -> None:
        if self._active and self.watches[name]:
            self.watches[name][-1].mark()

    def _wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Time a function; a call inside another of the same kind counts once."""
        original = getattr(owner, attribute)

        def timed(*arguments: Any, **options: Any) -> Any:
            outer = self._depth == 0 or name != "backward passes"
            self._depth += name == "backward passes"
            if outer:
                self._open(name)
            try:
                return original(*arguments, **options)
            finally:
                self._depth -= name == "backward passes"
                if outer:
                    self._close(name)

        setattr(owner, attribute, timed)
        self._undo.append(lambda: setattr(owner, attribute, original))


def measure(name: str, block: dict[str, Any], setting: Setting, report: Report, *, size: int, seconds: float) -> float:
    """Speed and memory of a block; returns the median seconds of a step."""
    module = build_module(block)
    batches = setting.pick(20, 5)
    return measured_fit(name, module, setting, report=report, size=size, seconds=seconds, batches=batches, learns=False)


def explain(name: str, block: dict[str, Any], setting: Setting, report: Report, *, size: int, seconds: float) -> int:
    """Record operations and shares of time of an eager step; returns the operations."""
    module = build_module(block)
    data = signal_data(module, setting, size=size, seconds=seconds)
    flops, parts = FlopCount(1), PartTimes(setting.device, 3)
    fit(module, setting, data=data, batches=setting.pick(8, 5), precision="bf16-mixed", callbacks=[flops, parts])
    report.value(f"{name}: TFLOP a step", flops.total / 1e12)
    for part, share in sorted(parts.shares().items(), key=lambda item: -item[1]):
        report.value(f"{name}: share of time, {part}", share)
    return flops.total


@contextmanager
def memory_reported(name: str, report: Report) -> Iterator[None]:
    """Record what a block inside raises for lack of memory as a value, and go on."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        report.true(name, str(error).splitlines()[0][:120], "fits in memory", passed=False)


def sizes(setting: Setting) -> dict[str, Any]:
    """Batch of fsq.yaml: 24 × 2 s."""
    return {"size": setting.pick(24, 1), "seconds": setting.pick(2.0, 0.4)}


def run_eager(setting: Setting, report: Report) -> None:
    """fsq.yaml eager: speed, memory, operations, shares; beside it the yardstick."""
    block = full_block(setting, "fsq", compiled=False)
    with memory_reported("fsq, eager", report):
        step = measure("fsq, eager", block, setting, report, **sizes(setting))
        flops = explain("fsq, eager", block, setting, report, **sizes(setting))
        report.value("fsq, eager: share of the matrix product's rate", flops / step / 1e12 / matmul_rate(setting))
    yardstick(setting, report)


def run_compiled(setting: Setting, report: Report) -> None:
    """fsq.yaml compiled."""
    with memory_reported("fsq, compiled", report), compiling_with(setting.backend):
        measure("fsq, compiled", full_block(setting, "fsq", compiled=True), setting, report, **sizes(setting))


def run_neucodec(setting: Setting, report: Report) -> None:
    """NeuCodec without its semantic encoder, as shipped, or with half the batch until it fits."""
    block = full_block(setting, "paper/neucodec", "paper/no_semantic", compiled=False)
    size, seconds = setting.pick(12, 1), setting.pick(6.0, 0.4)
    while True:
        try:
            measure(
                f"neucodec without semantics, {size} × {seconds:g} s",
                block,
                setting,
                report,
                size=size,
                seconds=seconds,
            )
            return
        except torch.cuda.OutOfMemoryError:
            report.true(f"neucodec without semantics, batch {size}", "out of memory", "fits in memory", passed=False)
            if size == 1:
                return
            size //= 2
            reset_peak(setting.device)


def yardstick(setting: Setting, report: Report) -> None:
    """Time of an eager X-Codec 2-style step of the same batch, where the benchmark offers one.

    `tests.benchmarks.full_geometry.reference_step(audio)` gets audio `[B, 1, T]` on the device, and returns a call
    without arguments that does one training step on it.
    """
    module, name = YARDSTICK
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        report.value("X-Codec 2-style step", f"not measured: {error}")
        return
    if not setting.full:
        report.value("X-Codec 2-style step", "not measured at this scale")
        return
    (audio,) = crops(2, rates=(16_000,), clips=setting.pick(16, 3), **sizes(setting))
    reset_peak(setting.device)
    with memory_reported("X-Codec 2-style step", report):
        step = make(audio.to(setting.device))
        with torch.autocast(setting.device.type, torch.bfloat16):
            seconds = statistics.median(median_seconds(step, setting.device, repeats=6, warmup=2) for _ in range(1))
        report.value("X-Codec 2-style step: steps/s", 1 / seconds)
        report.value("X-Codec 2-style step: peak memory, GB", peak_gigabytes(setting.device))
