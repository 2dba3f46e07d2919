"""Short training runs of equal computing time, each a change of one recipe: `python -m tests.recipe.trials PLAN`.

PLAN (such as tests/recipe/plan.yaml) names a configuration and trials with options of `train.py fit` that each changes.
A trial trains for `--minutes` of one core's time: a short run tells the processor time of a batch, and the
learning-rate schedule ends with the last batch. Then the averaged weights are scored on the clips of `--dev` without
errors. A trial that is `checkpoint: FILE` scores that codec alone. Each trial leaves NAME.json in `--out`, and all that
are there make `--out`/README.md; a trial that is there already is left out, so that the command goes on where it was
interrupted.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import Callback

from callbacks import PESQ, STOI, SpeechMetric
from callbacks.report.results.markdown import Table, text
from codec import MultiScaleMelLoss, NeuralCodec, UserError, load_codec
from data import DataError, ManifestSource
from data.audio.reading import read_whole
from tests.support.arguments import make_folder, positive

MODEL = "model.init_args"
TIMED = 10, 40  # batches between which the clock runs
ADVERSARIAL = "adversarial"  # option of a trial: the share of its batches, its last, that have discriminators
COLUMNS = {
    "stoi": ("STOI", ".4f"), "estoi": ("ESTOI", ".4f"), "pesq_wb": ("PESQ-WB", ".4f"), "pesq_nb": ("PESQ-NB", ".4f"),
    "mel": ("mel", ".3f"), "parameters": ("parameters", ","), "batches": ("batches", ","), "date": ("date", ""),
}  # fmt: skip


class Clock(Callback):
    """Writes the processor seconds that a batch took over the later batches of a short run.

    Args:
        path: file to write.
    """

    def __init__(self, path: str) -> None:
        self.path, self.started = path, 0.0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 == TIMED[0]:
            self.started = time.process_time()
        if batch_idx + 1 == TIMED[1]:
            seconds = (time.process_time() - self.started) / (TIMED[1] - TIMED[0])
            Path(self.path).write_text(str(seconds), encoding="utf-8")


class Trials:
    """The trials of a plan, and how they are run.

    Args:
        plan: `config`, `trials` by name and, where all share them, `options`.
        train: manifest of the clips to train on.
        dev: manifest of the clips to score.
        minutes: of one core for each trial.
    """

    def __init__(self, plan: dict[str, Any], *, train: str, dev: str, minutes: float) -> None:
        self.plan, self.train, self.dev, self.minutes = plan, train, dev, minutes

    def options(self, name: str) -> dict[str, Any]:
        """What a trial changes, with what all trials of the plan do."""
        return {**self.plan.get("options", {}), **(self.plan["trials"][name] or {})}

    def words(self, name: str, runs: Path, *, batches: int, share: float) -> list[str]:
        """The command line of a trial, behind `train.py fit`."""
        given: dict[str, Any] = {
            "data.train.init_args.path": self.train,
            "data.val.init_args.path": self.dev,
            "data.test.init_args.path": self.dev,
            "trainer.max_steps": batches,
            "trainer.limit_val_batches": 0,
            "trainer.val_check_interval": batches,
            "trainer.enable_progress_bar": False,
            "trainer.logger.init_args.save_dir": str(runs),
            "checkpoint.every_n_batches": batches,
            "channels.fit_clips": 0,
            f"{MODEL}.adversary.start": round(batches * (1 - share)) if share else batches,
        }
        given |= {key: value for key, value in self.options(name).items() if key != ADVERSARIAL}
        rise = f"{MODEL}.optimization.schedule.init_args"
        given |= {f"{rise}.warmup": min(200, batches // 2), f"{rise}.total": batches}
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
        return ["--config", self.plan["config"], *(word for key in texts for word in (f"--{key}", texts[key]))]

    def batch_seconds(self, name: str, folder: Path, *, share: float) -> float:
        """Processor seconds of a batch of a trial, of which a share has discriminators."""
        clock = folder / f"clock_{share}"
        words = self.words(name, folder / f"timed_{share}", batches=TIMED[1], share=share)
        fit([*words, "--trainer.callbacks+=tests.recipe.trials.Clock", f"--trainer.callbacks.path={clock}"])
        return float(clock.read_text(encoding="utf-8"))

    def run(self, name: str) -> dict[str, Any]:
        """Train and score a trial, or score the checkpoint that it names; what came of it."""
        options = self.options(name)
        if "checkpoint" in options:
            return self._scored(load_codec(options["checkpoint"]), options, batches=0, seconds=0.0, took=0.0)
        share = float(options.get(ADVERSARIAL, 0))
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            seconds = (1 - share) * self.batch_seconds(name, folder, share=0.0)
            if share:
                seconds += share * self.batch_seconds(name, folder, share=1.0)
            batches = max(4, round(60 * self.minutes / seconds))
            started = time.perf_counter()
            fit(self.words(name, folder / "fit", batches=batches, share=share))
            took = time.perf_counter() - started
            codec = load_codec(next((folder / "fit").glob("*/checkpoints/last.ckpt")))
        return self._scored(codec, options, batches=batches, seconds=seconds, took=took)

    def _scored(
        self, codec: NeuralCodec, options: dict[str, Any], *, batches: int, seconds: float, took: float
    ) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.timezone.utc)
        return {
            "date": f"{now:%Y-%m-%d}",
            "config": self.plan["config"],
            "options": options,
            "parameters": sum(parameter.numel() for parameter in codec.parameters()),
            "batches": batches,
            "processor_seconds_a_batch": round(seconds, 4),
            "seconds": round(took, 1),
            **mean_scores(codec.eval(), self.dev),
        }


def fit(words: Sequence[str]) -> None:
    """Train in a process of its own.

    Raises:
        DataError: it failed; with the last line it wrote.
    """
    done = subprocess.run(
        [sys.executable, "train.py", "fit", *words], capture_output=True, text=True, encoding="utf-8", check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise DataError("A trial's training", None, f"ended with exit status {done.returncode} ({last})")


def mean_scores(codec: NeuralCodec, dev: str) -> dict[str, float]:
    """Means over the clips of a manifest without errors: STOI, ESTOI, PESQ-WB and -NB, and the mel loss."""
    metrics: list[SpeechMetric] = [STOI(), STOI(extended=True), PESQ(), PESQ("nb")]
    loss = MultiScaleMelLoss(codec.output_sample_rate, [128, 256, 512, 1024, 2048], mels=[20, 40, 80, 160, 320])
    rows = []
    for clip in ManifestSource(dev, None).clips():
        (wave,) = read_whole(clip.path, (codec.sample_rate,), highpass_hz=30.0)
        with torch.inference_mode():
            found = codec(wave[None]).audio[0][..., : wave.shape[-1]]
            distance = float(loss.distance(found[None], wave[None]))
        pair = wave[0].numpy(), found[0].numpy()
        rows.append({m.name: float(m.score(*pair, codec.sample_rate)) for m in metrics} | {"mel": distance})
    return {name: round(sum(row[name] for row in rows) / len(rows), 4) for name in rows[0]}


def table(folder: Path) -> str:
    """The trials of a folder in Markdown, the best STOI first."""
    trials = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    order = sorted(trials, key=lambda name: -trials[name]["stoi"])
    rows = []
    for name in order:
        cells = [format(trials[name][key], form) for key, (_, form) in COLUMNS.items()]
        options = " ".join(
            f"{key.removeprefix(MODEL + '.')}={json.dumps(value)}" for key, value in trials[name]["options"].items()
        )
        rows.append([name, *cells, f"`{options}`" if options else "–"])
    head = ["trial", *(title for title, _ in COLUMNS.values()), "options"]
    return (
        "# Trials of recipes\n\nWritten by `python -m tests.recipe.trials`; docs/recipe.md tells what they are.\n\n"
        f"{text(Table(head, rows))}\n"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run the trials of a plan that are not there yet; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.recipe.trials", description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("names", nargs="*", metavar="trial", help="trials to run, all by default")
    parser.add_argument("--train", required=True, help="manifest of the clips to train on")
    parser.add_argument("--dev", required=True, help="manifest of the clips to score")
    parser.add_argument("--minutes", type=positive, default=5.0, help="of one core for each trial")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    options = parser.parse_args(words)
    try:
        make_folder("--out", options.out)
        plan = yaml.safe_load(options.plan.read_text(encoding="utf-8"))
        trials = Trials(plan, train=options.train, dev=options.dev, minutes=options.minutes)
        if unknown := set(options.names) - set(plan["trials"]):
            raise DataError("trial", ", ".join(sorted(unknown)), f"must be one of {', '.join(plan['trials'])}")
        for name in options.names or plan["trials"]:
            path = options.out / f"{name}.json"
            if not path.exists():
                path.write_text(json.dumps(trials.run(name), indent=1) + "\n", encoding="utf-8")
                (options.out / "README.md").write_text(table(options.out), encoding="utf-8")
    except (UserError, DataError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
