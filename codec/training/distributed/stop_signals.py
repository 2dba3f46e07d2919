"""Signals that ask a run to stop: noted when they arrive, obeyed at the end of the batch; requeueing under SLURM."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import Any

from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from codec.layers.ranks import gather_objects, world_size
from codec.training.lightning_internals import cluster_environment, stop_asking_for_sigterm

AGREE_EVERY = 10  # batches
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: not done, try again


class RunStopped(SystemExit):
    """Ends the command after the run's state has been saved: rank 0 with status 75, the others with 0.

    Lightning's launcher kills all ranks as soon as one that it started ends with another status than 0.
    """

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(STOPPED if trainer.is_global_zero else 0)


class StopSignals:
    """Notes SIGTERM, SIGINT and SLURM's requeue signal (SIGUSR1 unless the cluster environment states another).

    Lightning's own handlers, which these replace during training, run collectives or write a checkpoint in the middle
    of a batch, and ask all ranks before each batch whether SIGTERM has come. A second SIGINT interrupts at once.

    Ranks agree on a signal after every tenth batch and wherever they stop anyway, between CPUs: no GPU waits for it.
    """

    def __init__(self) -> None:
        self.received = 0
        self._requeue_signal: int = signal.SIGUSR1
        self._requeue = False

    def install(self, trainer: Trainer) -> None:
        """Replace Lightning's handlers until it restores those from before the run; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        environment = cluster_environment(trainer)
        if isinstance(environment, SLURMEnvironment):
            self._requeue = environment.auto_requeue
            self._requeue_signal = environment.requeue_signal or signal.SIGUSR1
        for number in (signal.SIGTERM, signal.SIGINT, self._requeue_signal):
            signal.signal(number, self._note)
        stop_asking_for_sigterm(trainer)

    def agreed(self, batch: int, *, now: bool) -> int:
        """The signal that any rank has received, 0 if none; every rank must call this after each batch.

        Args:
            batch: its number; on several ranks, signals are looked at after every tenth.
            now: look at them after this batch too; equal on all ranks.
        """
        return max(gather_objects(self.received)) if now or world_size() == 1 or batch % AGREE_EVERY == 0 else 0

    def requeue(self, trainer: Trainer, number: int) -> None:
        """Under SLURM, put the job back into the queue if `number` is the signal for that."""
        if not (self._requeue and number == self._requeue_signal and trainer.is_global_zero):
            return
        array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
        job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")
        answer = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        if answer.returncode:
            rank_zero_warn(f"`scontrol requeue {job}` failed, submit the job again: {answer.stderr.strip()}")
        else:
            rank_zero_info(f"Job {job} is in the queue again.")

    def _note(self, number: int, frame: Any) -> None:
        self.received = self.received or number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        # A handler must not use buffered streams, which it may have interrupted.
        again = ", again to stop at once" if number == signal.SIGINT else ""
        os.write(2, f"\n{signal.Signals(number).name}: the run stops after this batch{again}.\n".encode())
