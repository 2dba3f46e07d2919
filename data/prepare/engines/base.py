"""The contract of engines: `jobs.make` for each task, wherever it runs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

from data.prepare.jobs import Job
from data.prepare.plan import Task


class Engine(ABC):
    """Makes shards from tasks. The result does not depend on which engine it is."""

    @abstractmethod
    def run(self, tasks: Iterable[Task], job: Job, out: Path, *, advance: Callable[[int], None]) -> None:
        """Make the shard of each task in the folder `out`.

        Args:
            tasks: taken as they are needed.
            job: what is made of each clip.
            out: the folder.
            advance: called with the number of clips that are begun or done.

        Raises:
            DataError, OSError: the first error of a worker, which stops all others.
        """
