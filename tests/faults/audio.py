"""Audio files that are broken or unusual, and what training and testing make of them."""

import logging
import resource
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
import soundfile
import torch

from data import FolderSource, SpeechDataModule
from tests.support.training import quiet_trainer, tiny_module

STEPS = 12
Write = Callable[[Path], Path]


class Outcome(NamedTuple):
    """What a fault led to, and the sentence that a user reads."""

    happens: str
    message: str


def sound(path: Path, seconds: float = 2.0, *, rate: int = 16_000, channels: int = 1) -> Path:
    """An audio file of noise."""
    samples = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, samples.astype(np.float32), rate)
    return path


def with_nan(path: Path) -> Path:
    samples = np.zeros(32_000, dtype=np.float32)
    samples[::100] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    return path


def cut(path: Path) -> Path:
    sound(path, 8.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    return path


def bytes_of_something_else(path: Path) -> Path:
    path.write_bytes(b"this is not audio " * 500)
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def dangling(path: Path) -> Path:
    path.symlink_to(path.with_name("gone"))
    return path


AUDIO: dict[str, tuple[str, Write]] = {
    "corrupt audio": ("bad.wav", bytes_of_something_else),
    "empty audio file": ("bad.wav", empty),
    "truncated WAV": ("bad.wav", cut),
    "truncated FLAC": ("bad.flac", cut),
    "NaN samples": ("bad.wav", with_nan),
    "unreadable: a folder named .wav": ("bad.wav", folder),
    "unreadable: a dangling link": ("bad.wav", dangling),
    "8 kHz audio": ("odd.wav", lambda path: sound(path, rate=8_000)),
    "48 kHz stereo audio": ("odd.wav", lambda path: sound(path, rate=48_000, channels=2)),
    "25-minute recording": ("odd.flac", lambda path: sound(path, 1500.0)),
}


def audio_fault(root: Path, name: str, write: Write) -> Outcome:
    """Train on the file beside three good ones, then test on all of them."""
    for number in range(3):
        sound(root / f"good{number}.wav")
    path = write(root / name)
    records = Records()
    data = datamodule(root)
    trainer = quiet_trainer(max_steps=STEPS, callbacks=[Finite()])
    trainer.fit(tiny_module(), data)
    tested = quiet_trainer()
    tested.test(module := tiny_module(discriminators=[]), data, verbose=False)
    bad, clips = data.bad_file_count(), len(data.test_dataloader())
    assert trainer.global_step == STEPS and module is not None
    happens = f"trains {STEPS} of {STEPS} batches, all finite; {clips} of 4 clips tested; {bad} counted as bad"
    if bad:
        assert list(data.bad_file_reasons()) == [str(path)] and clips == 3
    else:
        assert clips == 4
        happens += f"; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
    return Outcome(happens, next((text for text in records.texts if str(path) in text), "").replace(str(path), name))


def datamodule(root: Path, **options: int) -> SpeechDataModule:
    """Crops of 0.12 s from every file below a folder, and whole clips for the test."""
    source = FolderSource(str(root))
    settings = {"crop_seconds": 0.12, "batch_size": 4, "num_workers": 0, "hop_length": 160} | options
    return SpeechDataModule(source, test=source, **settings)


class Records(logging.Handler):
    """Collects the warnings of the data package."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        logging.getLogger("data").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


class Finite(L.Callback):
    """Checks that each batch is finite."""

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: dict, index: int) -> None:
        assert torch.isfinite(batch["audio"]).all()
