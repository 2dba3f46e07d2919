"""The default engine: a pool of threads."""

import itertools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path

from data.prepare import jobs
from data.prepare.engines.base import Engine
from data.prepare.jobs import Job
from data.prepare.plan import Task

TASKS_AHEAD = 2  # for each worker, so that the plan's clips are not all in memory


class LocalPool(Engine):
    """Threads of this process: decoding and encoding release Python's lock.

    Args:
        workers: number of threads.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    def run(self, tasks: Iterable[Task], job: Job, out: Path, *, advance: Callable[[int], None]) -> None:
        stop = threading.Event()

        def count() -> None:
            if stop.is_set():
                raise CancelledError
            advance(1)

        def make(task: Task) -> None:
            jobs.make(task, job, out, advance=count)

        waiting = iter(tasks)
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                ahead = itertools.islice(waiting, self.workers * TASKS_AHEAD)
                running: set[Future[None]] = {pool.submit(make, task) for task in ahead}
                while running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                    running |= {pool.submit(make, task) for task in itertools.islice(waiting, len(done))}
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
