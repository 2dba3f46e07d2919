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

    Lightning's launcher watches only the processes that it started, a cluster's launcher may watch none, and the other
    ranks wait for a lost one in a collective until its time limit (30 minutes). Here the process group's key-value
    store holds the first error of the job and a heartbeat counter of each rank; each rank watches the counter of the
    next. A rank that finds an error there, or a silent neighbour, or no store, prints what happened first and exits
    with status 1.

    Args:
        store: the process group's store, over a connection of its own, as calls on one connection wait for each other.
        rank: number of this process.
        ranks: number of processes.
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
        store.add(self._key("beats", rank), 1)  # a neighbour counts as lost only after a first heartbeat

    def run(self) -> None:
        """Beat and look at the other ranks every second until the run ends, or end the process."""
        while not self._ended.wait(PERIOD):
            if self._own_error is not None:  # told to the others; this rank ends by itself, or here
                if time.monotonic() > self._deadline:
                    return self._exit(self._own_error)
                continue
            reason = self._reason_to_end()
            if reason is not None and not self._ended.wait(GRACE) and self._own_error is None:
                return self._exit(reason)

    def _reason_to_end(self) -> str | None:
        """Send a heartbeat, and look at the others; why the job has to end, None if it goes on."""
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
        """Tell the other ranks of this rank's error.

        Returns:
            The job's first error where that is another rank's: its text, or `SILENT_END` where this rank's error is one
            of communication and a rank has died without a report. None where this rank's error is the first.
        """
        self._deadline = time.monotonic() + 2 * GRACE
        self._own_error = "".join(traceback.format_exception(error))
        mine = f"rank {self._rank} failed first:\n{self._own_error}"
        try:
            self._store.set(self._key("left", self._rank), "")  # it ends with a report: not silent
            first = self._store.compare_set(self._key("error", 0), "", mine).decode()
            beats = self._heartbeats()
        except Exception:  # the rank that holds the store has ended already
            return SILENT_END
        if first != mine:
            return first
        time.sleep(2 * PERIOD)  # the store may end with this rank: the others read the error first
        if isinstance(error, DistError):
            return SILENT_END
        # Gloo reports a lost connection as a plain RuntimeError: a rank without heartbeats tells it from other ones.
        return SILENT_END if isinstance(error, RuntimeError) and self._rank_is_gone(beats) else None

    def _heartbeats(self) -> dict[int, int]:
        """The number of heartbeats so far of each other rank."""
        others = (rank for rank in range(self._ranks) if rank != self._rank)
        return {rank: self._store.add(self._key("beats", rank), 0) for rank in others}

    def _rank_is_gone(self, before: dict[int, int]) -> bool:
        """Whether a rank that neither left nor reported has sent no heartbeat since `before`, or the store is gone."""
        try:
            after = self._heartbeats()
            return any(after[r] == before[r] > 0 and not self._store.check([self._key("left", r)]) for r in after)
        except Exception:  # the rank that holds the store has ended
            return True

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
