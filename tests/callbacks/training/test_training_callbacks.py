"""Codebook usage and throughput log what they say they log."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.training.codebook_usage import CodebookUsage
from callbacks.training.throughput import Throughput
from codec.quantizers import FSQ
from tests.support.codec_fakes import RATE, CountingModule, clip, loader, tiny_codec, trainer
from tests.support.speech import speech_like

BATCHES = [clip(f"clip_{number}", speech_like(number, 0.4)) for number in range(4)]


def test_usage_perplexity_and_levels_equal_a_plain_count(tmp_path: Path, module: CountingModule) -> None:
    seen: list[torch.Tensor] = []
    module.codec.quantizer.register_forward_hook(lambda *args: seen.append(args[2].codes))
    logger = TensorBoardLogger(tmp_path, name="", version=0)
    runner = trainer(tmp_path, [CodebookUsage(2)], max_epochs=1, num_sanity_val_steps=0, logger=logger)
    runner.fit(module, loader(BATCHES), loader(BATCHES[:2]))
    codes = torch.cat([c.flatten() for c in seen[2:4]])  # the second log: the last two training batches
    counts = np.bincount(codes.numpy(), minlength=256)
    share = counts[counts > 0] / counts.sum()
    values = runner.callback_metrics
    assert values["codebook/train/usage_0"] == pytest.approx(len(share) / min(256, len(codes)))
    assert values["codebook/train/perplexity_0"] == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)
    levels = module.codec.quantizer.codes_to_levels(codes[None, None])  # [1, 4, F]
    for dimension in range(4):
        for level in range(4):
            expected = (levels[0, dimension] == level).double().mean()
            assert values[f"codebook/train/level_{dimension}_{level}"] == pytest.approx(float(expected))
    assert 1 <= values["codebook/val/perplexity_0"] <= 40
    events = EventAccumulator(str(tmp_path / "version_0")).Reload()
    assert "codebook/val/levels" in events.Tags()["images"]
    assert [event.step for event in events.Scalars("codebook/train/usage_0")] == [2, 4]


def test_a_huge_codebook_reports_levels_only(tmp_path: Path) -> None:
    module = CountingModule(tiny_codec())
    module.codec.quantizer = FSQ(8, [8] * 8)  # 16 777 216 codes
    runner = trainer(tmp_path, [CodebookUsage(1)], max_epochs=1)
    runner.fit(module, loader(BATCHES[:1]), loader(BATCHES[:1]))
    names = [name for name in runner.callback_metrics if name.startswith("codebook/val")]
    assert names == [f"codebook/val/level_{i}_{level}" for i in range(8) for level in range(8)]


def test_throughput_counts_audio_and_waiting(tmp_path: Path, module: CountingModule) -> None:
    pause = 0.05

    class Slow(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            for item in list.__iter__(self):
                time.sleep(pause)
                yield item

    logger = CSVLogger(tmp_path, name="", version=0)
    runner = trainer(tmp_path, [Throughput(4)], max_epochs=1, logger=logger)
    runner.fit(module, loader(Slow(BATCHES)), loader(BATCHES[:1]))  # type: ignore[arg-type]
    values = runner.callback_metrics
    batches = float(values["throughput/batches_per_second"])
    assert values["throughput/audio_seconds_per_second"] == pytest.approx(batches * 0.4, rel=1e-4)
    waited = float(values["throughput/data_wait"])
    assert 0 < waited < 1 and waited / batches > 0.5 * pause  # one batch is fetched ahead
    assert "throughput/data_wait" in (tmp_path / "version_0/metrics.csv").read_text()
    assert BATCHES[0]["audio"].shape[-1] == 0.4 * RATE


def test_bad_arguments() -> None:
    for callback in (CodebookUsage, Throughput):
        with pytest.raises(ValueError, match="every_n_batches 0"):
            callback(0)
