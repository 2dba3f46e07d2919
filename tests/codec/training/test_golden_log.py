"""200 seeded steps on the CPU give the losses in golden_log.csv (REGENERATE_GOLDEN=1 writes it anew)."""

import csv
import os
from pathlib import Path

import lightning as L
import pytest
import torch

from tests.support.training import VoiceData, quiet_trainer, tiny_module

GOLDEN = Path(__file__).with_name("golden_log.csv")
STEPS, EVERY = 200, 10
NAMES = ("train/mel", "train/generator", "train/discriminator", "train/adversarial", "train/feature_matching")


TOLERANCE = 0.005


class Log(L.Callback):
    """Means over stretches of `EVERY` batches."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.sums = dict.fromkeys(NAMES, 0.0)

    def on_train_batch_end(self, trainer, *_):
        for name in NAMES:
            self.sums[name] += trainer.callback_metrics.get(name, torch.tensor(0.0)).item() / EVERY
        if trainer.global_step % EVERY == 0:
            self.rows.append({"step": trainer.global_step} | self.sums)
            self.sums = dict.fromkeys(NAMES, 0.0)


def slow_adam(parameters):
    """A small rate: rounding differences between machines then stay far below the tolerance."""
    return torch.optim.AdamW(parameters, lr=RATE, betas=(0.8, 0.9))


RATE = 2e-4


def golden_module():
    return tiny_module(discriminator_start=80, optimizer=slow_adam, discriminator_optimizer=slow_adam)


def run() -> list[dict[str, float]]:
    threads, log = torch.get_num_threads(), Log()
    torch.set_num_threads(1)
    try:
        quiet_trainer(max_steps=STEPS, callbacks=[log]).fit(golden_module(), VoiceData())
    finally:
        torch.set_num_threads(threads)
    return log.rows


def test_losses_match_the_golden_log():
    rows = run()
    if os.environ.get("REGENERATE_GOLDEN") == "1":
        with GOLDEN.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
    with GOLDEN.open() as file:
        golden = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert len(golden) == len(rows) == STEPS // EVERY
    for row, expected in zip(rows, golden, strict=True):
        assert row == pytest.approx(expected, rel=TOLERANCE), f"at step {row['step']}"
