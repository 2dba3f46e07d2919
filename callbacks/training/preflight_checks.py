"""The checks of `Preflight`: each yields one sentence, with the remedy, for each problem."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from callbacks.metrics import SpeechMetric, Unscorable
from callbacks.scoring.pool import usable_cores
from callbacks.training.preflight_monitors import evaluations, monitors
from callbacks.training.preflight_space import Finding, checkpoint_space
from codec.errors import counted, first_line
from codec.training.float32_precision import has_bfloat16

DRAWS = 16  # training crops to read
FILES = 8  # of each test corpus to open


# Each check: check(trainer, module) -> findings.


def training_clips(trainer: Any, module: Any) -> Iterator[Finding]:
    """Draw the first training crops; the data module records the files that it cannot use."""
    data: Any = trainer.datamodule
    if not hasattr(data, "bad_file_reasons"):
        return
    dataset = data.train_dataloader().dataset
    if isinstance(dataset, torch.utils.data.IterableDataset):
        return
    before = data.bad_file_reasons()
    try:
        for number in range(DRAWS):
            dataset[number]
    except ValueError as error:
        yield Finding(f"{str(error).rstrip('.')}.")
        return
    bad = [f"{path}: {why}" for path, why in data.bad_file_reasons().items() if path not in before]
    if 2 * len(bad) >= DRAWS:
        yield Finding(
            f"{DRAWS} training crops met {counted(len(bad), 'file')} unusable or too short, such as {bad[0]}: correct "
            "data.train, or choose a shorter data.crop_seconds."
        )


def test_clips(trainer: Any, module: Any) -> Iterator[Finding]:
    """Open a few files of each test corpus; a problem is not fatal, as `fit` itself does not need them."""
    for source in getattr(trainer.datamodule, "sources", {}).get("test", []):
        try:
            clips = source.clips()
            for clip in random.Random(0).sample(clips, min(FILES, len(clips))):
                source.probe(clip)
        except (ValueError, OSError) as error:
            yield Finding(f"Later, `test` will find no usable data.test: {str(error).rstrip('.')}.", fatal=False)


def validation_clips(trainer: Any, module: Any) -> Iterator[Finding]:
    """There must be validation clips; the data module has opened them all already."""
    sources = getattr(trainer.datamodule, "sources", None)
    if sources is not None and not sources["val"] and trainer.limit_val_batches != 0:
        yield Finding("There are no validation clips: set data.val, or trainer.limit_val_batches 0 to do without.")


def discriminators(trainer: Any, module: Any) -> Iterator[Finding]:
    """Run discriminators that join after the first batch on silence as long as their later inputs."""
    crop = getattr(trainer.datamodule, "crop_samples", None)
    adversary = getattr(module, "adversary", None)
    if crop is None or adversary is None or not adversary.start:
        return
    samples = crop * module.codec.output_sample_rate // module.codec.sample_rate
    samples = min(adversary.crop or samples, samples)
    for discriminator in module.discriminators:
        training = discriminator.training
        try:
            with torch.no_grad():
                discriminator.eval()(torch.zeros(1, 1, samples))
        except (RuntimeError, ValueError) as error:
            yield Finding(
                f"{type(discriminator).__name__} joins at batch {adversary.start} and fails on "
                f"{samples} samples ({first_line(error)}): make data.crop_seconds or adversary.crop longer."
            )
        finally:
            discriminator.train(training)


def length(trainer: Any, module: Any) -> Iterator[Finding]:
    """A run should last until its first validation and until its discriminators join."""
    batches, interval = trainer.max_steps, getattr(trainer, "val_check_interval", None)
    if batches < 1:
        return
    if isinstance(interval, int) and batches < interval and trainer.limit_val_batches != 0:
        yield Finding(
            f"The run ends after {counted(batches, 'batch')}, before its first validation: set "
            f"trainer.val_check_interval {interval} to {batches} or less to see scores.",
            fatal=False,
        )
    adversary = getattr(module, "adversary", None)
    if len(getattr(module, "discriminators", ())) and adversary is not None and batches <= adversary.start:
        yield Finding(
            f"The run ends after {counted(batches, 'batch')}, before the discriminators join at batch "
            f"{adversary.start} (model.init_args.adversary.start).",
            fatal=False,
        )


def metrics(trainer: Any, module: Any) -> Iterator[Finding]:
    """Compute every metric of validation on synthetic speech at the codec's output rate."""
    for evaluation in evaluations(trainer):
        rate = module.codec.output_sample_rate
        reference = speech_like(rate)
        degraded = reference + 0.01 * np.random.default_rng(1).standard_normal(len(reference)).astype(np.float32)
        for metric in evaluation.metrics:
            why = _failure(metric, reference, degraded, rate)
            if why:
                yield Finding(
                    f"{metric.label} cannot be computed at {rate} Hz ({why}): install what it needs, or leave it out "
                    "of channels.metrics."
                )


def workers(trainer: Any, module: Any) -> Iterator[Finding]:
    """There should be no more data workers and ranks on this machine than cores."""
    each, ranks = getattr(trainer.datamodule, "num_workers", 0), trainer.num_devices
    cores = usable_cores()
    if each and ranks * (each + 1) > cores:
        yield Finding(
            f"data.num_workers {each} makes {ranks * (each + 1)} processes on {cores} cores, ranks included: "
            f"data.num_workers {max(1, cores // ranks - 1)} may be faster.",
            fatal=False,
        )


def precision(trainer: Any, module: Any) -> Iterator[Finding]:
    """bfloat16 is slow on a CPU without instructions for it."""
    if "bf16" in str(trainer.precision) and not has_bfloat16(trainer.strategy.root_device):
        yield Finding(
            f"trainer.precision {trainer.precision} is emulated, since this CPU has no bfloat16 instructions: "
            "--trainer.precision 32-true is several times as fast.",
            fatal=False,
        )


CHECKS = (
    checkpoint_space,
    training_clips,
    validation_clips,
    test_clips,
    discriminators,
    length,
    metrics,
    monitors,
    workers,
    precision,
)
NEED_DATA = (training_clips,)  # those that can run only after the data module's setup


def speech_like(sample_rate: int, seconds: float = 1.5) -> np.ndarray:
    """Harmonics of a gliding pitch under a syllable envelope: float32 [T], peak 0.5."""
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * time)) / sample_rate
    voiced = sum(np.sin(k * phase) / k for k in range(1, 25) if k * 140 < sample_rate / 2)
    signal = voiced * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))
    return (0.5 * signal / np.abs(signal).max()).astype(np.float32)


def _failure(metric: SpeechMetric, reference: np.ndarray, degraded: np.ndarray, rate: int) -> str:
    try:
        metric(reference, degraded, rate)
    except Unscorable as unscorable:
        return unscorable.reason
    except Exception as error:  # such as packages that cannot be imported
        return f"{type(error).__name__}: {first_line(error)}"
    return ""
