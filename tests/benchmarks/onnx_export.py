"""Exported codecs beside PyTorch: equal codes, difference of the audio, loss in score, file sizes, real-time factors.

    python -m tests.benchmarks.onnx_export MANIFEST [--clips 20] [--runs 15] [--codecs small_fsq ...] [--out DIR]
        [--only agreement|speed] [--exports DIR]

MANIFEST is a TSV file with a column `path`, in the folder of its clips, which are resampled to the codec's rate. Writes
agreement.csv and speed.csv into --out; the manual quotes those in docs/results/onnx. --exports keeps the exported
files, and takes those that it has.

Agreement: `equal_codes` is the share of frames whose codes all equal PyTorch's; `audio_difference` the largest
difference over the clips between the audio of PyTorch's codes, in millionths of that clip's peak;
`difference_with_erasures` the same with every tenth frame erased. `stoi` and `pesq` are PyTorch's means over the clips,
and their `_change` those of audio encoded and decoded by the exported files, minus these.

Speed: seconds of computing for a second of audio, --seconds of it at once, on 1 and 2 threads. Runs of PyTorch and of
each precision alternate, so that a busy machine hits all alike; least and median of the runs, and PyTorch's least over
the least.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio

CODECS = ["small_fsq", "small_rvq", "small_student"]


def read_clips(manifest: Path, count: int, rate: int) -> list[torch.Tensor]:
    """The first clips of a manifest, each `[1, 1, T]`."""
    import soundfile

    with manifest.open(encoding="utf-8") as file:
        paths = [row["path"] for row in csv.DictReader(file, delimiter="\t")][:count]
    clips = []
    for path in paths:
        samples, found = soundfile.read(manifest.parent / path, dtype="float32", always_2d=True)
        audio = torch.from_numpy(samples.mean(1))
        clips.append(torchaudio.functional.resample(audio, found, rate)[None, None])
    return clips


class Exported:
    """The files of one precision, opened with some threads."""

    def __init__(self, files: Any, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for path in (files.encode, files.decode)
        )

    def encode(self, audio: np.ndarray) -> np.ndarray:
        return self.encoder.run(None, {"audio": audio})[0]

    def decode(self, codes: np.ndarray, erased: np.ndarray) -> np.ndarray:
        return self.decoder.run(None, {"codes": codes, "erased": erased})[0]


def agreement(codec: Any, files: dict[str, Any], clips: list[torch.Tensor]) -> list[dict[str, Any]]:
    """One row for each precision."""
    from callbacks import PESQ, STOI

    metrics = {"stoi": STOI(), "pesq": PESQ()}

    def scores(clip: torch.Tensor, audio: np.ndarray) -> list[float]:
        reference = clip[0, 0].numpy()
        return [metric(reference, audio[0, 0, : len(reference)], codec.sample_rate) for metric in metrics.values()]

    whole, lost, ours = [], [], []
    with torch.inference_mode():
        for clip in clips:
            codes = codec.encode(clip)
            erased = (torch.arange(codes.shape[-1]) % 10 == 0).expand_as(codes)
            whole.append((codes.numpy(), codec.decode(codes).numpy()))
            lost.append((erased.numpy(), codec.decode(codes, erased).numpy()))
            ours.append(scores(clip, whole[-1][1]))
    rows = []
    for precision, file in files.items():
        exported, equal, frames, differences, theirs = Exported(file, 1), 0, 0, [], []
        for clip, (codes, audio), (erased, with_erasures) in zip(clips, whole, lost, strict=True):
            found = exported.encode(clip.numpy())
            equal, frames = equal + int((found == codes).all(1).sum()), frames + codes.shape[-1]
            nothing = np.zeros_like(erased)
            pairs = (audio, exported.decode(codes, nothing)), (with_erasures, exported.decode(codes, erased))
            differences.append([1e6 * np.abs(a - b).max() / np.abs(a).max() for a, b in pairs])
            theirs.append(scores(clip, exported.decode(found, nothing)))
        change = np.mean(theirs, 0) - np.mean(ours, 0)
        row = {"clips": len(clips), "frames": frames, "equal_codes": equal / frames}
        row |= dict(zip(("audio_difference", "difference_with_erasures"), np.max(differences, 0), strict=True))
        row |= dict(zip(metrics, np.mean(ours, 0), strict=True))
        row |= {f"{name}_change": value for name, value in zip(metrics, change, strict=True)}
        row |= {f"{name}_megabytes": getattr(file, name).stat().st_size / 1e6 for name in ("encode", "decode")}
        rows.append({"precision": precision, **row})
        print(rows[-1], flush=True)
    return rows


def speed(codec: Any, files: dict[str, Any], clip: torch.Tensor, runs: int) -> list[dict[str, Any]]:
    """One row for each system, direction and number of threads."""
    rows, audio = [], clip.numpy()
    with torch.inference_mode():
        codes = codec.encode(clip)
    erased = torch.zeros_like(codes, dtype=torch.bool)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        systems: dict[str, dict[str, Callable[[], Any]]] = {
            "PyTorch": {"encode": lambda: codec.encode(clip), "decode": lambda: codec.decode(codes, erased)}
        }
        for precision, file in files.items():
            exported = Exported(file, threads)
            systems[precision] = {
                "encode": lambda exported=exported: exported.encode(audio),
                "decode": lambda exported=exported: exported.decode(codes.numpy(), erased.numpy()),
            }
        times: dict[tuple[str, str], list[float]] = {}
        with torch.inference_mode():
            for run in range(runs + 1):
                for system, calls in systems.items():
                    for direction, call in calls.items():
                        start = time.perf_counter()
                        call()
                        if run:  # the first warms up
                            times.setdefault((system, direction), []).append(time.perf_counter() - start)
        seconds = clip.shape[-1] / codec.sample_rate
        for (system, direction), found in times.items():
            factors = {"least": min(found) / seconds, "median": statistics.median(found) / seconds}
            factors["times_as_fast"] = min(times["PyTorch", direction]) / min(found)
            rows.append({"system": system, "task": f"{direction} on {threads}", **factors})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{k: v if isinstance(v, (str, int)) else f"{v:.6g}" for k, v in row.items()} for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print("  ".join(map(str, row.values())), flush=True)


def exported_files(codec: Any, folder: Path, precision: Any) -> Any:
    """Those in the folder, or new ones."""
    from codec.hub.onnx import OnnxFiles, export_onnx

    if (folder / "codec.json").is_file():
        return OnnxFiles(folder / "encode.onnx", folder / "decode.onnx", folder / "codec.json", {})
    return export_onnx(codec, folder, precision=precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--codecs", nargs="+", default=CODECS)
    parser.add_argument("--out", type=Path, default=Path("runs/onnx"))
    parser.add_argument("--exports", type=Path, default=None)
    parser.add_argument("--only", choices=["agreement", "speed"], default=None)
    arguments = parser.parse_args()
    from codec import load_codec
    from codec.hub.onnx import PRECISIONS

    agreed: list[dict[str, Any]] = []
    timed: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.codecs:
            codec, folder = load_codec(name), (arguments.exports or Path(temporary)) / name
            clips = read_clips(arguments.manifest, arguments.clips, codec.sample_rate)
            files = {kind: exported_files(codec, folder / kind, kind) for kind in PRECISIONS}
            if arguments.only != "speed":
                agreed += [{"codec": name, **row} for row in agreement(codec, files, clips)]
            if arguments.only != "agreement":
                long = torch.cat(clips, -1)[..., : int(arguments.seconds * codec.sample_rate)]
                timed += [{"codec": name, **row} for row in speed(codec, files, long, arguments.runs)]
    for file, rows in (("agreement.csv", agreed), ("speed.csv", timed)):
        if rows:
            write(arguments.out / file, rows)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
