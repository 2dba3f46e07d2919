"""Ends a distributed job soon after one of its ranks has failed, with the error that came first."""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta

from torch.distributed import DistError, Store

PERIOD = 1.0  # seconds between two looks at the other ranks
GRACE = 3.0  # seconds in which a rank may end by itself after an error
SILENT_END = "a rank is gone and has not said why: killed, out of memory, or its machine lost."


class RankWatch(threading.Thread):
    """A thread of each rank that tells the others of an error and ends the process when another rank is gone.

    Lightning's launcher watches only the processes it has started, a launcher of the cluster may watch none, and the
    neighbours of a lost rank wait in a collective until its time limit (30 minutes). Here the ranks share, in the
    process group's key-value store, the first error of the job and a heartbeat of each rank, of which each watches the
    next one's. A rank that is told of an error, or finds its neighbour silent or the store gone, prints what happened
    first and exits with status 1.

    Args:
        store: of the process group; a connection of its own, as a store's calls wait for each other.
        rank: of this process.
        ranks: their number.
        run: number of this fit or test within the process, the same on all ranks.
        silence: seconds without a heartbeat after which a rank counts as lost.
        before_exit: called before this process is ended.
    """

    def __init__(
        self, store: Store, rank: int, *, ranks: int, run: int, silence: float, before_exit: Callable[[], None]
    ) -> None:
        super().__init__(name="rank-watch", daemon=True)
        self._store, self._rank, self._ranks, self._run_number, self._silence = store, rank, ranks, run, silence
        self._before_exit = before_exit
        self._ended = threading.Event()
        self._own_error: str | None = None
        self._deadline = 0.0
        self._beats, self._quiet_looks = 0, 0
        store.set_timeout(timedelta(seconds=silence))
        store.add(self._key("beats", rank), 1)  # a neighbour counts as lost only after a first sign of life

    def run(self) -> None:
        while not self._ended.wait(PERIOD):
            if self._own_error is not None:  # told to the others; this rank ends by itself, or here
                if time.monotonic() > self._deadline:
                    return self._exit(self._own_error)
                continue
            reason = self._reason_to_end()
            if reason is not None and not self._ended.wait(GRACE) and self._own_error is None:
                return self._exit(reason)

    def _reason_to_end(self) -> str | None:
        """Give a sign of life and look for those of others."""
        neighbour = (self._rank + 1) % self._ranks
        try:
            self._store.add(self._key("beats", self._rank), 1)
            if self._store.check([self._key("error", 0)]):
                return self._store.get(self._key("error", 0)).decode()
            beats = self._store.add(self._key("beats", neighbour), 0)
            left = self._store.check([self._key("left", neighbour)])
        except Exception:  # the rank or launcher that holds the store has ended
            return SILENT_END
        silent = beats == self._beats and beats > 0 and not left
        self._beats, self._quiet_looks = beats, self._quiet_looks + 1 if silent else 0
        if self._quiet_looks * PERIOD > self._silence:  # looks, not a clock: the whole job may have been suspended
            return f"rank {neighbour} has been silent for {self._silence:g} s: killed or stuck, or its machine lost."
        return None

    def report(self, error: BaseException) -> str | None:
        """Tell the other ranks of this rank's error; what is known of another rank's, where that came first."""
        self._deadline = time.monotonic() + 2 * GRACE
        self._own_error = "".join(traceback.format_exception(error))
        mine = f"rank {self._rank} failed first:\n{self._own_error}"
        try:
            first = self._store.compare_set(self._key("error", 0), "", mine).decode()
        except Exception:  # the rank that holds the store has ended already
            return SILENT_END
        if first != mine:
            return first
        time.sleep(2 * PERIOD)  # the store may end with this rank: the others read the error first
        return SILENT_END if isinstance(error, DistError) or "gloo" in str(error) else None

    def leave(self, *, together: bool) -> None:
        """Stop watching, after a run without an error; with `together`, rank 0 stays until all have left."""
        if self._own_error is not None:
            return
        self._ended.set()
        try:
            self._store.set(self._key("left", self._rank), "")
            if together and self._rank == 0:
                self._store.wait([self._key("left", rank) for rank in range(self._ranks)])
        except Exception:  # nobody is left to wait for
            return

    def _key(self, what: str, rank: int) -> str:
        return f"{what}/{self._run_number}/{rank}"

    def _exit(self, reason: str) -> None:
        print(f"\n[rank {self._rank}] The job ends: {reason}", file=sys.stderr, flush=True)
        self._before_exit()
        os._exit(1)  # the main thread may be in a collective, from which nothing brings it back
