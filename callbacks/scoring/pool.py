"""A pool of scoring processes: a bounded queue, a thread for each process; a crash loses only its own job."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import Pipe
from queue import SimpleQueue
from threading import Semaphore
from typing import TYPE_CHECKING

from callbacks.metrics.checks import require, require_at_least, require_unique
from callbacks.scoring.signals import Scores, score

if TYPE_CHECKING:
    import numpy as np

    from callbacks.metrics import SpeechMetric

JOBS_PER_WORKER = 4  # in flight: enough to keep workers busy, few enough to bound memory
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class ScoringPool:
    """Scores signals with a list of metrics in worker processes, or in the caller with `num_workers=0`.

    Processes start with the first job and stay until `close`. A job whose process dies or exceeds `timeout` is
    answered with every metric unscorable and the cause as the reason, and a new process takes its place.

    Args:
        metrics: What to compute; picklable, with unique names.
        num_workers: Number of processes; 0 scores in the caller.
        timeout: Longest time for one job, in seconds; it includes the start of a process.

    Raises:
        InvalidValue: Metrics share a name, there is none, or a number is out of range.
    """

    def __init__(self, metrics: Sequence[SpeechMetric], num_workers: int, *, timeout: float = 600.0) -> None:
        require_unique("metrics", [metric.name for metric in metrics])
        require_at_least(0, num_workers=num_workers)
        require(timeout > 0, "timeout", timeout, "must be positive")
        self.metrics = list(metrics)
        self.num_workers = num_workers
        self.timeout = timeout
        self._pickled = pickle.dumps(self.metrics)
        self._results: dict[Hashable, Scores | Future[Scores]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._slots = Semaphore(max(1, JOBS_PER_WORKER * num_workers))
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()

    def submit(
        self, key: Hashable, reference: np.ndarray, degraded: np.ndarray, *, sample_rate: int, transcript: str = ""
    ) -> None:
        """Queue one degraded signal [T] with its reference [T], and what is said in it; blocks while the queue is full.

        Raises:
            InvalidValue: The key is already in use since the last `results`.
        """
        require(key not in self._results, "key", repr(key), "was submitted twice", "collect the results first")
        if self.num_workers == 0:
            self._results[key] = score(
                self.metrics, reference, degraded, sample_rate=sample_rate, transcript=transcript
            )
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.num_workers, thread_name_prefix="scoring")
            for _ in range(self.num_workers):
                self._idle.put(None)
        self._slots.acquire()
        self._results[key] = self._threads.submit(self._run, (reference, degraded, sample_rate, transcript))

    def results(self) -> dict[Hashable, Scores]:
        """Wait for every job since the last call and return key to scores, in the order of submission.

        Raises:
            RuntimeError: A metric raised another error than `Unscorable`; the message holds the worker's traceback.
        """
        pending, self._results = self._results, {}
        return {key: item.result() if isinstance(item, Future) else item for key, item in pending.items()}

    def close(self) -> None:
        """End the processes; jobs not yet collected are lost. The pool starts again with the next job."""
        self._results = {}
        if self._threads is None:
            return
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._threads = None
        self._slots = Semaphore(JOBS_PER_WORKER * self.num_workers)
        while not self._idle.empty():
            worker = self._idle.get()
            if worker is not None:
                worker.stop()

    def _run(self, job: tuple[np.ndarray, np.ndarray, int, str]) -> Scores:
        worker = self._idle.get()
        try:
            if worker is None:
                worker = _Worker(self._pickled)
            answer = worker.ask(job, self.timeout)
        except (EOFError, OSError, TimeoutError) as error:
            if worker is not None:
                worker.stop(kill=True)
            code = worker.process.returncode if worker is not None else None
            worker = None
            slow = isinstance(error, TimeoutError)
            cause = "scoring timed out" if slow else f"scoring process died (exit status {code})"
            names = [metric.name for metric in self.metrics]
            return Scores(dict.fromkeys(names), dict.fromkeys(names, cause))
        finally:
            self._idle.put(worker)
            self._slots.release()
        if isinstance(answer, str):
            raise RuntimeError(f"a metric failed in a scoring process:\n{answer}")
        return answer


class _Worker:
    """One scoring process and the pipe to it."""

    def __init__(self, metrics: bytes) -> None:
        self.connection, child = Pipe()
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        command = [sys.executable, "-m", "callbacks.scoring.worker", str(child.fileno())]
        self.process = subprocess.Popen(command, pass_fds=(child.fileno(),), env=environment)
        child.close()  # so that the child's death is an EOF here
        self.connection.send_bytes(metrics)
        try:
            failure = self.connection.recv()
        except EOFError:
            failure = f"it ended with exit status {self.process.wait()}"
        if failure is not None:
            self.stop(kill=True)
            raise RuntimeError(f"a scoring process could not start:\n{failure}")

    def ask(self, job: tuple[np.ndarray, np.ndarray, int, str], timeout: float) -> Scores | str:
        """Send a job and wait for its scores, or a metric's traceback; TimeoutError after `timeout` seconds."""
        self.connection.send(job)
        if not self.connection.poll(timeout):
            raise TimeoutError
        return self.connection.recv()

    def stop(self, kill: bool = False) -> None:
        """End the process: when it has read the end of the pipe, or at once."""
        self.connection.close()  # an EOF to the child, which then leaves its loop
        if kill:
            self.process.kill()
        self.process.wait()


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(local_ranks: int = 1) -> int:
    """Each rank's share of the usable cores, when `local_ranks` processes share this machine; at least 1."""
    return max(1, usable_cores() // max(1, local_ranks))
