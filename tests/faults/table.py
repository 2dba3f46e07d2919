"""Makes each fault, and prints what happens as a table in Markdown: python -m tests.faults.table [WORD ...].

WORDs choose the faults whose names hold one of them.
"""

import logging
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch

from callbacks.training.run_checkpoint import RunCheckpoint
from codec.checkpoints.files import SafeCheckpointIO
from codec.checkpoints.reading import load_codec, newest_checkpoint
from tests.faults.audio import AUDIO, Outcome, audio_fault, datamodule
from tests.support.speech import write_noise
from tests.support.training import VoiceData, quiet_trainer, tiny_module

# -- processes ---------------------------------------------------------------------------------------------------


class KillWorker(L.Callback):
    """Kills a data worker before batch 3."""

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: dict, index: int) -> None:
        if trainer.global_step == 3:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)


def worker_killed(root: Path) -> Outcome:
    """Train with two data workers, of which one is killed (as the kernel does when memory runs out)."""
    for number in range(3):
        write_noise(root / f"good{number}.wav")
    trainer = quiet_trainer(max_steps=200, callbacks=[KillWorker()])
    start = time.monotonic()
    try:
        trainer.fit(tiny_module(), datamodule(root, num_workers=2))
    except RuntimeError as error:
        seconds = time.monotonic() - start
        return Outcome(f"the run ends within {seconds:.1f} s of its start, at batch {trainer.global_step}", str(error))
    raise AssertionError("the run went on")


def rank_fault(kind: str, rank: int, *options: str, launcher: str = "lightning") -> Outcome:
    """Two ranks, of which one fails at batch 2: seconds from the failure until both processes have ended."""
    with tempfile.TemporaryDirectory() as folder:
        marker = Path(folder) / "failed"
        environment = {**os.environ, "FAULT_MARKER": str(marker), "OMP_NUM_THREADS": "1"}
        result = two_ranks(kind, rank, *options, launcher=launcher, environment=environment)
        seconds = time.time() - float(marker.read_text())
    assert result.returncode != 0
    return Outcome(f"all processes end {seconds:.1f} s later, exit status {result.returncode}", said(result.stderr))


def two_ranks(
    kind: str, rank: int, *options: str, launcher: str = "lightning", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `failing_rank.py`; all of its processes hold the pipe, which closes when the last has ended."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["-m", "tests.faults.failing_rank", kind, str(rank), *options]
    command = [sys.executable, *(torchrun if launcher == "torchrun" else []), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)


def nan_on_one_rank(root: Path) -> Outcome:
    """Train on two ranks with a batch that is not a number on rank 0."""
    result = two_ranks("nan", 0)
    assert result.returncode == 0
    lines = [line for line in result.stderr.splitlines() if line.startswith("[rank")]
    return Outcome("both optimizers' steps are skipped on both ranks; training goes on to its end", " / ".join(lines))


def said(output: str) -> str:
    """The errors that processes ended with, each once."""
    lines = [re.sub(r"^\[rank\d\]:\s*", "", line) for line in output.splitlines()]
    telling = ("Error: ", "[rank", "The job's first error", "a rank is gone", "Signal 9", "terminated with code")
    found = [line for line in lines if any(word in line for word in telling) and not line.startswith(("[W", "torch."))]
    return " / ".join(dict.fromkeys(line.strip()[:200] for line in found))


# -- checkpoints -------------------------------------------------------------------------------------------------


def checkpoint_cut_in_half(root: Path) -> Outcome:
    """Load a codec from a checkpoint of which half is gone."""
    path = train_with_checkpoints(root) / "last.ckpt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        load_codec(path)
    except ValueError as error:
        return Outcome("named as a file to load: refused before anything runs", str(error).replace(str(root), "…"))
    raise AssertionError("half a checkpoint was loaded")


def newest_cut_in_half(root: Path) -> Outcome:
    """What `--ckpt_path auto` chooses when half of the newest checkpoint is gone."""
    folder = train_with_checkpoints(root)
    newest = folder / "batch=4.ckpt"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = newest_checkpoint(folder, resumable=True)
    assert chosen is not None and chosen.name == "batch=2.ckpt"
    return Outcome(f"--ckpt_path auto takes {chosen.name}", str(caught[0].message).replace(str(folder), "…"))


def full_disk(root: Path) -> Outcome:
    """Train on a file system that is full after the first checkpoint; needs the right to mount one."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(root)], check=True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train_with_checkpoints(root)
    except ValueError as error:
        kept = ", ".join(sorted(path.name for path in root.glob("checkpoints/*.ckpt")))
        warned = sum("could NOT be written" in str(warning.message) for warning in caught)
        happens = f"warns at the checkpoint ({warned}), trains on, fails at the end of the run; {kept} stay, complete"
        return Outcome(happens, str(error).replace(str(root), "…"))
    finally:
        subprocess.run(["umount", str(root)], check=True)
    raise AssertionError("the disk was not full")


def train_with_checkpoints(root: Path) -> Path:
    """Four batches with a checkpoint after each second one; the checkpoints' folder."""
    saver = RunCheckpoint(2, dirpath=str(root / "checkpoints"))
    settings = {"callbacks": [saver], "plugins": [SafeCheckpointIO()], "enable_checkpointing": True}
    quiet_trainer(max_steps=4, default_root_dir=root, **settings).fit(tiny_module(), VoiceData(2))
    return root / "checkpoints"


def faults() -> dict[str, Callable[[Path], Outcome]]:
    """Every fault by name."""
    found: dict[str, Callable[[Path], Outcome]] = {
        name: lambda root, file=file, write=write: audio_fault(root, file, write)
        for name, (file, write) in AUDIO.items()
    }
    found["data worker killed"] = worker_killed
    for launcher in ("lightning", "torchrun"):
        for rank in (0, 1):
            for kind, verb in (("exception", "fails"), ("kill", "killed")):
                for options, place in (((), "neighbour in a collective"), (("blocked",), "neighbour deaf")):
                    found[f"rank {rank} {verb}, {place}, {launcher}"] = (
                        lambda root, kind=kind, rank=rank, options=options, launcher=launcher: rank_fault(
                            kind, rank, *options, launcher=launcher
                        )
                    )
    found["rank 1 stopped (SIGSTOP), neighbour deaf, lightning"] = lambda root: rank_fault("stop", 1, "blocked")
    found["NaN in a loss on one rank"] = nan_on_one_rank
    found["disk full at a checkpoint"] = full_disk
    found["checkpoint cut in half, named"] = checkpoint_cut_in_half
    found["newest checkpoint cut in half"] = newest_cut_in_half
    return found


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print("| fault | what happens | message |\n|---|---|---|", flush=True)
    for name, make in faults().items():
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        with tempfile.TemporaryDirectory() as root:
            outcome = make(Path(root))
        message = outcome.message.replace("|", "\\|").replace("\n", " ")
        print(f"| {name} | {outcome.happens} | {f'`{message}`' if message else '–'} |", flush=True)


if __name__ == "__main__":
    main()
