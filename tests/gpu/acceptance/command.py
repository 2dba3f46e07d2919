"""The real command line on the device: fit with validation and channel scores, then test from the last checkpoint."""

import json
import sys
from pathlib import Path

import train
from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import CONFIGS, Setting
from tests.support.speech import write_speech

MODEL = "--model.init_args"


def words(setting: Setting, speech: Path, runs: Path) -> list[str]:
    """Options that train small FSQ on a corpus of synthetic speech."""
    batches = str(setting.pick(60, 4))
    options = {
        "--config": str(CONFIGS / "small" / "fsq.yaml"),
        **{f"--data.{role}.init_args.path": str(speech / "manifest.tsv") for role in ("train", "val", "test")},
        "--data.in_memory": "true",
        "--data.num_workers": "0",
        "--data.batch_size": str(setting.pick(16, 2)),
        "--data.crop_seconds": "0.8",
        "--data.val_clips": "2",
        "--channels.fit_clips": "2",
        "--channels.num_workers": "0",
        "--channels.bit_error_rates": "[0, 0.1]",
        "--channels.metrics": '[{"class_path": "callbacks.STOI"}, {"class_path": "callbacks.SISDR"}]',
        f"{MODEL}.adversary.start": "2",
        "--trainer.max_steps": batches,
        "--trainer.val_check_interval": batches,
        "--trainer.accelerator": setting.accelerator,
        "--trainer.devices": "1",
        "--trainer.precision": setting.pick("bf16-mixed", "32-true"),
        "--trainer.enable_progress_bar": "false",
        "--trainer.enable_model_summary": "false",
        "--trainer.logger.init_args.save_dir": str(runs),
    }
    return [word for option in options.items() for word in option]


def run(setting: Setting, report: Report) -> None:
    """Both commands in this process; `test` writes the scores of all channels."""
    speech = write_speech(setting.folder / "speech", setting.pick((2.0, 2.5, 3.0, 3.5), (1.25, 1.3)))
    runs, arguments = setting.folder / "runs", sys.argv
    try:
        for command in (["fit"], ["test", "--ckpt_path", "last"]):
            sys.argv = ["train.py", command[0], *words(setting, speech, runs), *command[1:]]
            train.main()
    finally:
        sys.argv = arguments
    document = json.loads((runs / "small_fsq" / "channel.json").read_text(encoding="utf-8"))
    scored = {row["channel"] for row in document["rows"] if row["scored"]}
    report.true("fit, then test: channels scored", len(scored), "2", passed=len(scored) == 2)
