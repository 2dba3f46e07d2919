"""How long a manifest of millions of lines takes to list, first and later, and what it takes in each process.

`python -m tests.benchmarks.manifest --lines 1000000 --processes 1 2 4` prints a table. The audio files need not exist,
apart from the first: a choice of a crop is made up to its path. A rank is a process that sets up the data module for
`fit` and chooses; a worker is one of a `DataLoader` of such a rank, forked or spawned.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from data import ManifestSource, SpeechDataModule
from data.datasets import CropDataset, ListedClips
from data.sampling import draw_uniforms
from tests.support.speech import write_noise

CHOICES = 2000
MEMORY = {"RSS": ("Rss",), "PSS": ("Pss",), "USS": ("Private_Clean", "Private_Dirty"), "dirty": ("Private_Dirty",)}


class Choices(Dataset[list[float]]):
    """The clips that a training data set would read; an item is the memory of the process that chose it."""

    def __init__(self, speech: ListedClips) -> None:
        self._speech = speech

    def __getitem__(self, index: int) -> list[float]:
        assert self._speech.clips[self._speech.table.choose(draw_uniforms(0, index, 0).clip)].path
        return list(memory().values()) if index % 100 == 99 else []


def memory() -> dict[str, float]:
    """MB of this process: resident, its share of what is shared, its own, and that part of it that was written to."""
    rows = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return {name: sum(int(rows[key].split()[0]) for key in keys) * 1.024e-3 for name, keys in MEMORY.items()}


def write_manifest(path: Path, lines: int, letters: int = 0) -> None:
    """A TSV of `lines` clips in folders of 50 files; with `letters` in the transcript of each, which differ."""
    first = "audio/0000/000/utterance_000000000.flac"
    (path.parent / first).parent.mkdir(parents=True, exist_ok=True)
    write_noise(path.parent / first, 1.0)
    with open(path, "w") as file:
        file.write("path\tduration\tspeaker" + "\ttext" * bool(letters) + "\n")
        for n in range(lines):
            seconds = 1 + n * 7919 % 19997 / 1000
            name, said = f"audio/{n // 5000:04}/{n // 50 % 100:03}/utterance_{n:09}.flac", f"{n:0{letters}}"
            file.write(f"{name}\t{seconds:.3f}\tsp{n // 50}" + f"\t{said}" * bool(letters) + "\n")


def be_rank(manifest: str) -> None:
    """Set up and choose; print the seconds and the growth of memory, once when asked and once while all others live."""
    small = Path(tempfile.mkdtemp()) / "small.tsv"
    write_manifest(small, 20_000)
    speech_of(str(small))  # what is loaded once is not counted
    shutil.rmtree(small.parent)
    before, started, worked = memory(), time.perf_counter(), time.process_time()
    speech = speech_of(manifest)
    listed, worked = time.perf_counter() - started, time.process_time() - worked
    for index in range(CHOICES):
        assert speech.clips[speech.table.choose(draw_uniforms(0, index, 0).clip)].path
    chosen = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3 - before["RSS"]
    print(json.dumps([listed, worked, chosen, peak]), flush=True)
    sys.stdin.readline()
    after = memory()
    print(json.dumps([after[name] - before[name] for name in MEMORY]), flush=True)
    sys.stdin.readline()


def speech_of(manifest: str) -> ListedClips:
    """What `fit` lists."""
    module = SpeechDataModule(ManifestSource(manifest), num_workers=0)
    module.setup("fit")
    dataset = module._datasets["train"]
    assert isinstance(dataset, CropDataset)
    return dataset._speech


def run_ranks(manifest: Path, count: int) -> tuple[list[float], list[float]]:
    """The slowest [seconds to list, of the CPU, to choose too, peak in MB], and the largest growth of each memory."""
    command = [sys.executable, "-m", "tests.benchmarks.manifest", "--rank", str(manifest)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    ranks = [subprocess.Popen(command, **pipes) for _ in range(count)]
    answers = []
    for _ in range(2):
        answers.append([json.loads(rank.stdout.readline()) for rank in ranks])  # type: ignore[union-attr]
        for rank in ranks:
            rank.stdin.write("\n")  # type: ignore[union-attr]
            rank.stdin.flush()  # type: ignore[union-attr]
    for rank in ranks:
        rank.communicate()
    return tuple([max(values) for values in zip(*said, strict=True)] for said in answers)  # type: ignore[return-value]


def be_trainer(manifest: str, workers: int, method: str) -> None:
    """Print the largest growth of each kind of memory among the workers of a loader, against those of a short list."""
    small = Path(tempfile.mkdtemp()) / "small.tsv"
    write_manifest(small, 20_000)
    grown = []
    for path in (str(small), manifest):
        options: Any = {"num_workers": workers, "multiprocessing_context": method, "batch_size": None}
        loader = DataLoader(Choices(speech_of(path)), sampler=range(CHOICES * workers), **options)
        grown.append([max(values) for values in zip(*filter(None, loader), strict=True)])
    shutil.rmtree(small.parent)
    print(json.dumps([large - little for little, large in zip(*grown, strict=True)]))


def measure(lines: int, counts: list[int], folder: Path, letters: int) -> None:
    """Print the rows of the table for one length."""
    manifest = folder / f"{lines}.tsv"
    write_manifest(manifest, lines, letters)
    row(f"{lines:,}", "first listing, 1 rank", *run_ranks(manifest, 1))
    size = sum(path.stat().st_size for path in folder.glob(f".{manifest.name}.clips/*/*"))
    print(f"{manifest.stat().st_size / 1e6:.0f} MB of manifest, {size / 1e6:.0f} MB of columns")
    for count in counts:
        row(f"{lines:,}", f"later start, {count} ranks", *run_ranks(manifest, count))
    for count in counts:
        for method in ("fork", "spawn"):
            command = [sys.executable, "-m", "tests.benchmarks.manifest", "--trainer", str(manifest)]
            command += ["--processes", str(count), "--method", method]
            said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            row(f"{lines:,}", f"{count} workers, {method}", [], json.loads(said.splitlines()[-1]))
    shutil.rmtree(folder / f".{manifest.name}.clips")
    manifest.unlink()


def row(lines: str, what: str, times: list[float], grown: list[float]) -> None:
    """One line of the table."""
    texts = [f"{value:.2f}" for value in times[:3]] + [f"{value:.0f}" for value in times[3:]]
    cells = [lines, what, *(texts or [""] * 4), *(f"{value:.0f}" for value in grown)]
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--folder", type=Path, help="where the manifests are made (120 bytes a line, as in the cache)")
    parser.add_argument("--text", type=int, default=0, help="letters in the transcript of each clip")
    parser.add_argument("--method", choices=multiprocessing.get_all_start_methods(), default="fork")
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    parser.add_argument("--trainer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        return be_rank(options.rank)
    if options.trainer:
        return be_trainer(options.trainer, options.processes[0], options.method)
    heads = [
        "lines",
        "what",
        "list [s]",
        "list, CPU [s]",
        "list and choose [s]",
        "peak [MB]",
        *(f"{name} [MB]" for name in MEMORY),
    ]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for lines in options.lines:
            measure(lines, options.processes, Path(folder), options.text)
    return None


if __name__ == "__main__":
    main()
