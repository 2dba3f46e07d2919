"""The command line in the tests' own process, and options that shrink any configuration to seconds."""

import sys
from pathlib import Path

import pytest

import train

CODEC = "--model.init_args.codec.init_args"


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    """`python train.py WORDS…`."""
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, words)])
    train.main()


def small(speech: Path, runs: Path) -> list[str]:
    """Options that point any configuration at the recordings and shrink it to seconds."""
    options = {
        **{f"--data.{split}": "data.FolderSource" for split in ("train", "val", "test")},
        **{f"--data.{split}.init_args.root": str(speech) for split in ("train", "val", "test")},
        "--data.num_workers": "0",
        "--data.batch_size": "2",
        "--data.pin_memory": "false",
        "--channels.num_workers": "0",
        "--channels.metrics": '[{"class_path": "callbacks.STOI"}]',
        "--trainer.devices": "1",
        "--trainer.strategy": "auto",
        "--trainer.accelerator": "cpu",
        "--trainer.precision": "32-true",
        "--trainer.enable_progress_bar": "false",
        "--trainer.enable_model_summary": "false",
        "--trainer.logger.init_args.save_dir": str(runs),
    }
    return [word for option in options.items() for word in option]
