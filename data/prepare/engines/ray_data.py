"""Shards made by a Ray cluster: a map of Ray Data over the shards' numbers; Ray makes a dead worker's shards again.

All machines must see the corpus and the folder of the shards under the same paths.
"""

import itertools
import json
import logging
import math
import os
import pickle
import socket
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from data.audio.members import local_file
from data.errors import DataError
from data.prepare import jobs
from data.prepare.engines.base import Engine
from data.prepare.jobs import Job
from data.prepare.plan import Task
from data.sources.base import Clip

ATTEMPTS = 4  # a shard that ends its worker this often is given up
CONNECT_SECONDS = 10
PROBE_SECONDS = 300
STORE_BYTES = 200 * 10**6  # of a cluster of its own: rows are small


class RayCluster(Engine):
    """A map of Ray Data over the shards: as many at a time as there are workers.

    Args:
        address: of a running cluster, such as "10.0.0.1:6379" or "auto"; None starts one on this machine and ends it.
        workers: shards made at a time; None for as many as the cluster's CPUs (or GPUs) allow.
        cpus: that a worker takes.
        gpus: that a worker takes.

    Raises:
        DataError: Ray is missing, the address cannot be reached, or a machine of the cluster does not see the files.
        OSError: a shard has ended its worker four times, or as in the local pool.
    """

    def __init__(
        self, address: str | None = None, workers: int | None = None, *, cpus: float = 1, gpus: float = 0
    ) -> None:
        self.address, self.workers, self.cpus, self.gpus = address, workers, cpus, gpus
        import_ray()

    def run(self, tasks: Iterable[Task], job: Job, out: Path, *, advance: Callable[[int], None]) -> None:
        out, waiting = out.resolve(), iter(tasks)
        first = next(waiting, None)
        if first is None:
            return
        with _connected(self) as ray, _spooled(itertools.chain([first], waiting), out) as (file, rows):
            _set_up(ray)
            _probe(ray, out, first)
            given = pickle.dumps(job), str(out), str(file)
            shards = ray.data.from_items(rows, override_num_blocks=len(rows)).map(**self._map(ray, given))
            try:
                for row in shards.iter_rows():
                    if row["error"]:
                        raise pickle.loads(row["error"])
                    advance(row["clips"])
            except ray.exceptions.RayError as error:
                raise ConnectionError(f"Ray has stopped ({type(error).__name__}: {str(error)[:200]})") from error

    def _map(self, ray: ModuleType, given: tuple[bytes, str, str]) -> dict[str, Any]:
        """Arguments of Ray Data's `map`: tasks, or with GPUs actors, which hold their model between shards."""
        if not self.gpus:
            compute = ray.data.TaskPoolStrategy(size=self.workers)
            return {"fn": make_row, "fn_args": given, "compute": compute, "num_cpus": self.cpus}
        size = {"size": self.workers} if self.workers else {"min_size": 1}
        return {
            "fn": ShardWorker,
            "fn_constructor_args": given,
            "compute": ray.data.ActorPoolStrategy(**size, max_tasks_in_flight_per_actor=1),
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
        }


class ShardWorker:
    """An actor's `make_row`."""

    def __init__(self, *given: Any) -> None:
        self._given = given

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return make_row(row, *self._given)


def make_row(row: dict[str, Any], job: bytes, out: str, tasks: str) -> dict[str, Any]:
    """Make the shard of a row (number, clips, offset) of the spooled tasks. An error is returned, not raised."""
    error = b""
    try:
        _make(row, job, Path(out), Path(tasks))
    except (DataError, OSError) as failure:
        error = pickle.dumps(failure)
    return {"number": row["number"], "clips": row["clips"], "error": error}


def _make(row: dict[str, Any], job: bytes, out: Path, tasks: Path) -> None:
    if not out.is_dir():
        raise _unseen(out)
    if jobs.finished(out, row["number"]) is not None:
        return  # by an attempt whose answer was lost
    _count_attempt(out, row["number"])
    task = _read_task(tasks, row)
    _refuse_unseen(out, task)
    jobs.make(task, _unpickled(job), out)
    _attempts(out, row["number"]).unlink(missing_ok=True)


@lru_cache(1)
def _unpickled(job: bytes) -> Job:
    """The job, once in a process: it may hold a model."""
    return pickle.loads(job)


def import_ray() -> ModuleType:
    """Ray with Ray Data, silent and without reports to its makers. Raises DataError when it is missing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
            import ray.data
    except ImportError as error:
        raise DataError("--engine ray", None, "needs the package ray[data]", "pip install '.[ray]'") from error
    return ray


@contextmanager
def _connected(engine: RayCluster) -> Iterator[ModuleType]:
    """Ray, connected to the cluster of `engine` or, without an address, to one of its own; disconnected afterwards."""
    ray = import_ray()
    if ray.is_initialized():  # the caller's connection, which stays
        yield ray
        return
    address = engine.address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        cpus = math.ceil((engine.workers or os.cpu_count() or 1) * engine.cpus)
        options |= {"include_dashboard": False, "num_cpus": cpus, "object_store_memory": STORE_BYTES}
    else:
        _refuse_unreachable(address)
    try:
        ray.init(address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unreachable(address, str(error).splitlines()[0][:200]) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _set_up(ray: ModuleType) -> None:
    """Leave the terminal to one bar and one sentence, and a shard as much time as it takes."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # by default half an hour, which features of one shard can take


def _refuse_unreachable(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # "auto", which Ray looks up
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: str, reason: str) -> DataError:
    remedy = "give the address of a running head node, such as 10.0.0.1:6379, or leave --address out"
    return DataError("--address", address, f"cannot be reached ({reason})", remedy)


@contextmanager
def _spooled(tasks: Iterable[Task], out: Path) -> Iterator[tuple[Path, list[dict[str, int]]]]:
    """(a file with a line for each task, a row for each of its lines), so that no message carries all clips."""
    path = out / f".tasks-{uuid.uuid4().hex}.jsonl"
    rows = []
    try:
        with open(path, "wb") as file:
            for task in tasks:
                rows.append({"number": task.number, "clips": len(task.clips), "offset": file.tell()})
                file.write(json.dumps(task).encode() + b"\n")
        yield path, rows
    finally:
        path.unlink(missing_ok=True)


def _read_task(path: Path, row: dict[str, Any]) -> Task:
    try:
        with open(path, "rb") as file:
            file.seek(row["offset"])
            number, clips, sizes = json.loads(file.readline())
    except FileNotFoundError:
        raise _unseen(path.parent) from None
    return Task(number, [(name, Clip(*clip)) for name, clip in clips], sizes)


def _probe(ray: ModuleType, out: Path, task: Task) -> None:
    """Raise DataError unless every machine of the cluster sees the folder and the files of a task."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    check = ray.remote(num_cpus=0)(_failure_to_see)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    places = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    failures = [check.options(scheduling_strategy=place).remote(str(out), pickle.dumps(task)) for place in places]
    try:
        failed = [failure for failure in ray.get(failures, timeout=PROBE_SECONDS) if failure]
    except ray.exceptions.RayError as error:
        raise ConnectionError(f"Ray's workers do not answer ({type(error).__name__}: {str(error)[:200]})") from error
    if failed:
        raise pickle.loads(failed[0])


def _failure_to_see(out: str, task: bytes) -> bytes:
    try:
        _refuse_unseen(Path(out), pickle.loads(task))
    except DataError as error:
        return pickle.dumps(error)
    return b""


def _refuse_unseen(out: Path, task: Task) -> None:
    """Raise DataError if a file that the plan has seen is not there: else it would be listed as bad for ever."""
    if not out.is_dir():
        raise _unseen(out)
    for (_, clip), size in zip(task.clips, task.sizes, strict=True):
        path = local_file(clip.path)
        if size and path and not os.path.exists(path):
            raise _unseen(path)


def _unseen(path: str | Path) -> DataError:
    problem = f"is not seen by the Ray worker on {socket.gethostname()}"
    return DataError("the path", path, problem, "use a file system that all machines share")


def _attempts(out: Path, number: int) -> Path:
    return out / f".{jobs.shard_path(out, number).name}.attempts"


def _count_attempt(out: Path, number: int) -> None:
    """Note an attempt at a shard. Raises OSError at one too many: a file that ends its worker would do so for ever."""
    with open(_attempts(out, number), "ab") as file:
        file.write(b".")
    if _attempts(out, number).stat().st_size > ATTEMPTS:
        raise ChildProcessError(f"shard {number} has ended its Ray worker {ATTEMPTS} times")
