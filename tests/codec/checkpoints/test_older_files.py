"""Files that version 0.1 wrote, with class paths of modules that are gone: they load, and their runs go on.

`files/run_0_1.ckpt` is a checkpoint after batch 4, `files/run_0_1_resumed.csv` what version 0.1 logged when it
went on from there, `files/neucodec_0_1.json` the configuration, names and shapes of an imported NeuCodec.
"""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import train
from codec import load_codec
from codec.checkpoints import files
from codec.checkpoints.reading import codec_config, read_checkpoint
from codec.checkpoints.safetensors import write_safetensors

FILES = Path(__file__).parent / "files"
RUN = FILES / "run_0_1.ckpt"

# The configuration of the run in today's terms: to be adapted when options change. The run itself was started with
# `discriminator_start: 2`, a mel weight of 15 and two AdamW optimizers at their defaults.
CONFIGURATION = """
seed_everything: 0
model:
  class_path: codec.CodecModule
  init_args:
    codec:
      class_path: codec.NeuralCodec
      init_args:
        encoder: {class_path: codec.MelEncoder, init_args: {dim: 8, hop_length: 320, bands: 8, width: 8, depth: 1}}
        quantizer: {class_path: codec.FSQ, init_args: {dim: 8, levels: [4, 4, 4, 4], bound: codec.DoubleTanhBound}}
        decoder:
          class_path: codec.VocosDecoder
          init_args:
            hop_length: 320
            window: 2
            backbone: {class_path: codec.ConvNeXtBackbone, init_args: {dim: 8, width: 8, depth: 1}}
    adversary:
      discriminators:
        - {class_path: codec.MultiPeriodDiscriminator, init_args: {periods: [2], channels: [2, 2]}}
        - {class_path: codec.MultiResolutionSpectrogramDiscriminator, init_args: {n_ffts: [128], channels: 2}}
      start: 2
    reconstruction_loss: {class_path: codec.MultiScaleMelLoss, init_args: {windows: [512], mels: [40]}}
data:
  train: {class_path: data.FolderSource, init_args: {root: speech}}
  val: {class_path: data.FolderSource, init_args: {root: speech}}
  test: {class_path: data.FolderSource, init_args: {root: speech}}
  crop_seconds: 0.2
  batch_size: 2
  num_workers: 0
channels: {fit_clips: 1, num_workers: 0, bit_error_rates: [0.0, 0.1], metrics: [{class_path: callbacks.STOI}]}
trainer:
  accelerator: cpu
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: ., name: resumed, version: ''}}
  max_steps: 7
  val_check_interval: 4
  check_val_every_n_epoch: null
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
checkpoint: {every_n_batches: 2}
ema: {decay: 0.9}
"""
RENAMED: dict[str, str] = {}  # columns of the log that have another name today: {name in version 0.1: name today}
TOLERANCE = {"gradient_norm": 1e-5}  # relative; 1e-6 for the rest. On the machine that wrote the log: bit for bit

Command = Callable[..., Path]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """command("fit", …) runs `train.py` on three recordings and returns the folder of the run."""
    (tmp_path / "speech").mkdir()
    time = np.arange(24_000) / 16_000
    for number in range(3):
        noise = np.random.default_rng(number).standard_normal(24_000)
        voiced = sum(np.sin(2 * np.pi * (110 + 20 * number) * k * time) / k for k in range(1, 20))
        clip = voiced * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)) + 0.02 * noise
        soundfile.write(tmp_path / "speech" / f"{number}.wav", 0.5 * clip / np.abs(clip).max(), 16_000)
    (tmp_path / "run.yaml").write_text(CONFIGURATION)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()

    def run(name: str, *words: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["train.py", name, "--config", "run.yaml", *words])
        torch.set_num_threads(2)  # as when the log was written: sums depend on it
        try:
            train.main()
        finally:
            torch.set_num_threads(threads)
        return tmp_path / "resumed"

    return run


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done with the bytes of `.ckpt` files, in order: "checksums" or "load"."""
    done: list[str] = []
    check, load = files.find_damage, torch.load
    monkeypatch.setattr(files, "find_damage", lambda path: done.append("checksums") or check(path))
    monkeypatch.setattr(torch, "load", lambda *a, **k: done.append("load") or load(*a, **k))
    return done


def test_the_codec_of_a_run_loads() -> None:
    stated = json.dumps(codec_config(read_checkpoint(RUN)))
    for gone in ("codec.student_encoders.MelEncoder", "codec.decoders.ConvNeXtBackbone"):
        assert gone in stated
    codec = load_codec(RUN)
    weights = read_checkpoint(RUN)["state_dict"]
    assert all(torch.equal(value, weights[f"codec.{name}"]) for name, value in codec.state_dict().items())
    assert codec(torch.zeros(1, 1, 3200)).audio.shape == (1, 1, 3200)


def test_an_imported_neucodec_loads(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    content = json.loads((FILES / "neucodec_0_1.json").read_text())
    assert "codec.quantizers.fsq.DoubleTanhBound" in json.dumps(content["codec_config"])
    weights = {name: torch.zeros(shape) for name, shape in content["shapes"].items()}
    write_safetensors(tmp_path / "neucodec.safetensors", weights, codec_config=content["codec_config"])
    codec = load_codec(tmp_path / "neucodec.safetensors")
    assert {f"codec.{name}" for name in codec.state_dict()} == set(weights)
    assert (codec.sample_rate, codec.output_sample_rate, codec.bits_per_frame) == (16_000, 24_000, 16)


def test_a_run_goes_on_with_the_same_losses(command: Command, reads: list[str]) -> None:
    folder = command("fit", "--ckpt_path", str(RUN))
    assert reads == ["checksums", "load"]
    rows, expected = logged(folder / "metrics.csv"), logged(FILES / "run_0_1_resumed.csv")
    names = {name for name, _ in expected}
    assert {"train/mel", "train/generator", "gradient_norm/generator", "val/mel", "channel/stoi/ber_0.1"} <= names
    assert {step for name, step in expected if name == "train/generator"} >= {4, 5, 6}
    for (name, step), value in expected.items():
        tolerance = TOLERANCE.get(name.split("/")[0], 1e-6)
        assert rows[RENAMED.get(name, name), step] == pytest.approx(value, rel=tolerance, nan_ok=True), (name, step)


def test_a_checkpoint_is_checked_and_read_once(command: Command, reads: list[str]) -> None:
    command("test", "--ckpt_path", str(RUN))
    assert reads == ["checksums", "load"]
    assert not files._kept


def logged(path: Path) -> dict[tuple[str, int], float]:
    """{(column, step): value} of a CSV logger's file."""
    with path.open(newline="") as file:
        return {
            (name, int(row["step"])): float(value)
            for row in csv.DictReader(file)
            for name, value in row.items()
            if value and name not in ("step", "epoch")
        }
