"""Audio files that are broken or unusual, and what happens to them in training and testing."""

import logging
import resource
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import lightning as L
import torch

from data import FolderSource, SpeechDataModule
from tests.support.speech import UNUSABLE, write_noise
from tests.support.training import quiet_trainer, tiny_module

STEPS = 12
Write = Callable[[Path], object]


class Outcome(NamedTuple):
    """What a fault led to, and the sentence that a user reads."""

    happens: str
    message: str


AUDIO: dict[str, tuple[str, Write]] = {
    "corrupt audio": ("bad.wav", UNUSABLE["text"]),
    "empty audio file": ("bad.wav", UNUSABLE["empty"]),
    "truncated WAV": ("bad.wav", UNUSABLE["truncated.wav"]),
    "truncated FLAC": ("bad.flac", UNUSABLE["truncated.flac"]),
    "NaN samples": ("bad.wav", UNUSABLE["nan"]),
    "unreadable: a folder named .wav": ("bad.wav", UNUSABLE["folder"]),
    "unreadable: a dangling link": ("bad.wav", UNUSABLE["link"]),
    "8 kHz audio": ("odd.wav", lambda path: write_noise(path, rate=8_000)),
    "48 kHz stereo audio": ("odd.wav", lambda path: write_noise(path, rate=48_000, channels=2)),
    "25-minute recording": ("odd.flac", lambda path: write_noise(path, 1500.0)),
}


def audio_fault(root: Path, name: str, write: Write) -> Outcome:
    """Train on the file beside three good ones, then test on all of them."""
    for number in range(3):
        write_noise(root / f"good{number}.wav")
    path = root / name
    write(path)
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
