"""Minutes of training on a GPU that keeps nothing: `python -m tests.gpu.train_piece {pack,train}`.

`pack` puts a part of a manifest's clips into one tar shard, to be carried to the machine. `train` trains
configs/small/gpu.yaml on shards for some minutes, from the pieces of the run before where there are any, writes its own
pieces, and scores the clips of a dev manifest.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import train
from codec import UserError
from codec.checkpoints.pieces import read_pieces
from codec.checkpoints.reading import read_checkpoint
from codec.hub.packing import pack_pieces
from data import DataError, ManifestSource
from data.prepare import pack
from tests.support.arguments import make_folder, positive

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "small" / "gpu.yaml"
MODEL = "--model.init_args"
SCHEDULES = f"{MODEL}.optimization.schedule.init_args", f"{MODEL}.adversary.schedule.init_args"
METRICS = '[{"class_path": "callbacks.PESQ"}, {"class_path": "callbacks.STOI"}]'


class PartOfManifest(ManifestSource):
    """Every `of`-th clip of a manifest, from number `part` on, counted from 1."""

    def __init__(self, path: str, *, part: int, of: int) -> None:
        super().__init__(path, None)
        if not 1 <= part <= of:
            raise DataError("--part", part, f"must lie between 1 and --of {of}")
        self.part, self.of = part, of

    def clips(self) -> list[Any]:
        chosen = super().clips()[self.part - 1 :: self.of]
        if not chosen:
            raise DataError("--part", self.part, f"of {self.of} has no clip", "give a smaller --of")
        return chosen


def pack_part(manifest: str, out: Path, *, part: int, of: int) -> None:
    """Write the part as one shard, its files as they are."""
    packed = pack(PartOfManifest(manifest, part=part, of=of), out, shard_bytes=10**12)
    size = sum(path.stat().st_size for path in out.glob("*.tar")) / 1e6
    print(f"part {part} of {of}: {packed.clips} clips, {packed.seconds / 3600:.2f} h, {size:.1f} MB in {out}")


def fit_words(options: argparse.Namespace, runs: Path, *, batch: int) -> list[str]:
    """The command line of the training."""
    seconds = max(1, round(60 * options.minutes))
    hours = seconds // 3600
    words = {
        "--config": str(CONFIG),
        "--data.train": "data.ShardSource",
        "--data.train.init_args.root": str(options.shards),
        "--data.val.init_args.path": str(options.dev),
        "--data.test.init_args.path": str(options.dev),
        "--data.seed": str(batch),  # other crops than before
        "--trainer.max_time": f"{hours // 24:02d}:{hours % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}",
        "--trainer.limit_val_batches": "0",
        "--trainer.enable_progress_bar": "false",
        "--trainer.logger.init_args.save_dir": str(runs),
    }
    if options.previous is not None:
        words |= {f"{MODEL}.init_from": str(options.previous), f"{MODEL}.adversary.start": "0"}
        words |= {f"{schedule}.start": str(batch) for schedule in SCHEDULES}
    return [word for option in words.items() for word in option] + options.further


def test_words(options: argparse.Namespace, runs: Path, checkpoint: Path) -> list[str]:
    """The command line of the scores: PESQ and STOI of the dev clips without errors and at 10 % of bits flipped."""
    words = {
        "--config": str(CONFIG),
        "--data.test.init_args.path": str(options.dev),
        "--channels.bit_error_rates": "[0, 0.1]",
        "--channels.metrics": METRICS,
        "--channels.audio_clips": "0",
        "--trainer.max_time": "00:01:00:00",  # the checkpoint holds the state of the timer of `fit`
        "--trainer.enable_progress_bar": "false",
        "--trainer.logger.init_args.save_dir": str(runs),
    }
    return [word for option in words.items() for word in option] + options.further + ["--ckpt_path", str(checkpoint)]


def call(command: str, words: Sequence[str]) -> float:
    """Run a command of train.py in this process; returns its seconds."""
    arguments, started = sys.argv, time.perf_counter()
    sys.argv = ["train.py", command, *words]
    try:
        train.main()
    finally:
        sys.argv = arguments
    return time.perf_counter() - started


def train_piece(options: argparse.Namespace) -> dict[str, Any]:
    """Train, write the pieces, then score; `piece.json` is written after each of the last two."""
    make_folder("--out", options.out)
    batch = 0 if options.previous is None else read_pieces(options.previous)["global_step"]
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        took = call("fit", fit_words(options, runs, batch=batch))
        last = next(runs.glob("*/checkpoints/last.ckpt"), None)
        if last is None:
            raise DataError("--minutes", options.minutes, "is too short for one batch", "give more")
        batches = int(read_checkpoint(last, check=False)["global_step"])
        size = pack_pieces(last, options.out, batch=batch + batches)
        summary = {"batch": batch + batches, "batches": batches, "fit_seconds": took, "bytes": size, "scores": {}}
        write_summary(options.out, summary)
        call("test", test_words(options, runs, last))
        (scores,) = runs.glob("*/channel.json")
        rows = json.loads(scores.read_text(encoding="utf-8"))["rows"]
        summary["scores"] = {
            f"{row['metric']} at {row['channel']}": {key: row[key] for key in ("mean", "low", "high", "clips")}
            for row in rows
        }
        write_summary(options.out, summary)
    return summary


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """What this piece was, beside it."""
    (folder / "piece.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; what follows `--` goes to train.py."""
    given = list(sys.argv[1:] if words is None else words)
    place = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.train_piece", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="a part of a manifest's clips, a quarter by default, into one shard")
    packing.add_argument("manifest")
    packing.add_argument("out", type=Path, help="folder to write")
    packing.add_argument("--part", type=int, default=1)
    packing.add_argument("--of", type=int, default=4)
    training = commands.add_parser("train", help="minutes of training, pieces, scores; options of train.py after --")
    training.add_argument("shards", type=Path, help="folder that `pack` has written")
    training.add_argument("--dev", type=Path, required=True, help="manifest of the clips to score")
    training.add_argument("--out", type=Path, required=True, help="folder of the pieces to write")
    training.add_argument("--minutes", type=positive, required=True)
    training.add_argument("--from", dest="previous", type=Path, help="pieces to go on from")
    options = parser.parse_args(given[:place])
    options.further = given[place + 1 :]
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Run one of the two commands; a mistake ends it with one sentence and status 2."""
    options = parse(words)
    try:
        if options.command == "pack":
            pack_part(options.manifest, options.out, part=options.part, of=options.of)
        else:
            print(json.dumps(train_piece(options), indent=1))
    except (UserError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
