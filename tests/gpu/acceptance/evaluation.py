"""Scores behind channels, and streaming: what the device computes against the CPU."""

import copy
import importlib.util
from typing import Any

import torch
from torch.utils.data import DataLoader

from callbacks import PESQ, SISDR, STOI, ChannelEvaluation, MelDistance, SpeechMetric
from callbacks.scoring.scores import ChannelRow
from codec import CodecModule, FrameErasureChannel, load_codec
from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting, full_float32
from tests.gpu.acceptance.signals import pool
from tests.support.training import quiet_trainer


def metrics() -> list[SpeechMetric]:
    """Metrics whose packages are installed."""
    found: list[SpeechMetric] = [STOI(), SISDR(), MelDistance()]
    return [PESQ("wb"), *found] if importlib.util.find_spec("pesq") else found


def clips(setting: Setting) -> list[dict[str, Any]]:
    """Evaluation batches of one clip, of several lengths."""
    waves = pool(16_000, setting.pick(16, 3))[: setting.pick(4, 2)]
    lengths = [setting.pick(48_000, 16_000) + 1111 * number for number in range(len(waves))]
    return [
        {"audio": wave[None, None, :length], "id": [f"clip{number}"]}
        for number, (wave, length) in enumerate(zip(waves, lengths, strict=True))
    ]


def scores(setting: Setting, accelerator: str) -> list[ChannelRow]:
    """Means of each metric behind each channel."""
    evaluation = ChannelEvaluation(
        [FrameErasureChannel(0.2)], bit_error_rates=(0.0, 0.1), metrics=metrics(), num_workers=0, bootstrap=20,
        audio_clips=0,
    )  # fmt: skip
    folder = setting.folder / accelerator
    trainer = quiet_trainer(accelerator=accelerator, callbacks=[evaluation], default_root_dir=folder)
    trainer.test(CodecModule(load_codec("small_fsq")), DataLoader(clips(setting), batch_size=None), verbose=False)
    return evaluation.results


def run_scores(setting: Setting, report: Report) -> None:
    """Scores of the device equal the CPU's in full float32; with TF32 as the project sets it the gap is recorded."""
    with full_float32():
        expected, found = scores(setting, "cpu"), scores(setting, setting.accelerator)
    usual = scores(setting, setting.accelerator)
    for here, there, default in zip(expected, found, usual, strict=True):
        assert (here.channel, here.metric) == (there.channel, there.metric) == (default.channel, default.metric)
        name = f"{here.metric} at {here.channel}"
        report.at_most(f"{name}: difference to the CPU", abs(here.mean - there.mean), 1e-3 * max(1.0, abs(here.mean)))
        report.value(f"{name}: difference in the project's precision", abs(here.mean - default.mean))


@torch.no_grad()
def run_streaming(setting: Setting, report: Report) -> None:
    """Audio decoded in chunks equals audio decoded at once."""
    codec = load_codec("small_fsq")
    with full_float32():
        audio = clips(setting)[-1]["audio"]
        moved = copy.deepcopy(codec).to(setting.device)
        codes = codec.encode(audio).to(setting.device)
        whole = moved.decode(codes)
        for chunk in (1, 10):
            stream = torch.cat(list(moved.decode_stream(codes, chunk=chunk)), -1)
            error = float((stream - whole).abs().max() / whole.abs().max())
            report.at_most(f"chunks of {chunk}: largest difference over the peak", error, 1e-4)
