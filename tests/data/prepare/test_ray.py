"""Ray Data makes the shards of the local pool bit for bit, also when a worker or the command itself is killed."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from data import FolderSource
from data.audio.members import local_file
from data.errors import DataError
from data.prepare import FLAC, Filters, RayCluster, Recipe, main, pack
from data.prepare.engines import ray_data
from data.prepare.plan import Plan
from tests.support.folders import contents
from tests.support.paths import ROOT

Write = Callable[..., Path]
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
RECIPE = Recipe(FLAC, 8000, 1.0, Filters(min_seconds=0.3))
OPTIONS = "--format flac --sample-rate 8000 --segment 1 --min-seconds 0.3 --shard-size 50K".split()
# Two machines of one worker each, one of which is killed: prints what has been packed.
TWO_WORKERS = """
import json, sys
from pathlib import Path
from ray.cluster_utils import Cluster
from data import FolderSource
from data.prepare import RayCluster, pack
from tests.data.prepare.killing import KilledOnce
from tests.data.prepare.test_ray import RECIPE

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
try:
    source, out, engine = FolderSource(sys.argv[1]), Path(sys.argv[2]), RayCluster(cluster.address)
    print(json.dumps(pack(source, out, recipe=KilledOnce(*RECIPE), shard_bytes=50_000, engine=engine)))
finally:
    cluster.shutdown()
"""


@pytest.fixture
def corpus(write: Write, tmp_path: Path) -> Path:
    for number in range(16):
        write(f"corpus/{number:02}.wav", 0.2 + number / 8)
    (tmp_path / "corpus/bad.wav").write_text("no sound")
    return tmp_path / "corpus"


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Variables for processes; afterwards none of those that got them is left, Ray's own among them."""
    mark = uuid.uuid4().hex
    yield {**os.environ, "RAY_TEST_MARK": mark, "PYTHONWARNINGS": "default"}
    end = time.monotonic() + 120
    while processes(mark) and time.monotonic() < end:
        time.sleep(0.2)
    assert not processes(mark)


def processes(mark: str) -> list[str]:
    """The process ids whose environment holds `mark`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in entry.read_bytes():
                found.append(entry.parent.name)
        except OSError:
            continue
    return found


@needs_ray
@pytest.mark.slow
def test_two_workers_one_of_which_is_killed_make_the_shards_of_the_pool(
    corpus: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    local = pack(FolderSource(str(corpus)), tmp_path / "local", recipe=RECIPE, shard_bytes=50_000, workers=2)
    command = [sys.executable, "-c", TWO_WORKERS, str(corpus), str(tmp_path / "ray")]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "killed").exists() and local.shards > 5
    assert json.loads(ended.stdout.splitlines()[-1]) == json.loads(json.dumps(local))
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert list(local.bad) == [str(corpus / "bad.wav")] and local.filtered == {"too short": 1}


@needs_ray
@pytest.mark.slow
def test_killed_command_continues_with_either_engine(corpus: Path, environment: dict[str, str], tmp_path: Path) -> None:
    main([str(corpus), str(tmp_path / "local"), *OPTIONS, "--workers", "1"])
    out = tmp_path / "ray"
    arguments = [str(corpus), str(out), *OPTIONS, "--engine", "ray", "--workers", "1"]
    command = [sys.executable, "-m", "data.prepare", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(out.glob("shard-*.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while left_over := processes(environment["RAY_TEST_MARK"]):  # Ray's own: they would end by themselves in a minute
        for number in left_over:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)
        time.sleep(0.1)
    left = {path.name for path in out.iterdir()}
    assert "corpus.json" in left and "manifest.tsv" not in left
    assert main([str(corpus), str(out), *OPTIONS]) == 0
    assert contents(out) == contents(tmp_path / "local")


def test_missing_ray_is_one_sentence(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([str(corpus), str(tmp_path / "out"), "--engine", "ray"]) == 2
    assert capsys.readouterr().err == "error: --engine ray needs the package ray[data]: pip install '.[ray]'.\n"


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_an_address_out_of_reach_is_one_sentence(
    corpus: Path, tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_data, "import_ray", lambda: SimpleNamespace(is_initialized=lambda: False))
    assert main([str(corpus), str(tmp_path / "out"), "--engine", "ray", "--address", address]) == 2
    assert f"error: --address {address} cannot be reached" in capsys.readouterr().err.splitlines()[-1]


def test_a_machine_that_does_not_see_the_files_is_named_and_none_is_listed_as_bad(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    plan = Plan(FolderSource(str(corpus)).clips(), None, shard_bytes=10**9)
    job = ray_data.pickle.dumps(Recipe())
    with ray_data._spooled(plan.tasks(), tmp_path / "out") as (tasks, (row,)):
        (corpus / "03.wav").unlink()
        answer = ray_data.make_row(row, job, str(tmp_path / "out"), str(tasks))
        error = ray_data.pickle.loads(answer["error"])
        assert isinstance(error, DataError) and str(error).startswith(f"the path {corpus / '03.wav'} is not seen by")
        answer = ray_data.make_row(row, job, str(tmp_path / "elsewhere"), str(tasks))
        assert "elsewhere is not seen by the Ray worker on" in str(ray_data.pickle.loads(answer["error"]))
    assert not list((tmp_path / "out").glob("shard-*"))


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/c/a.wav", "/c/a.wav"),
        ("/c/x.tar/s/a.wav#512+100", "/c/x.tar"),
        ("/c/x.arrow/a.wav#512+100", "/c/x.arrow"),
        ("/c/x.parquet/a.wav#0:3:audio~100", "/c/x.parquet"),
        ("s3://c/x.tar/s/a.wav#512+100", None),
    ],
)
def test_what_a_worker_must_see_is_the_file_that_holds_a_clip(path: str, file: str | None) -> None:
    assert local_file(path) == file


def test_a_shard_that_ends_its_worker_again_and_again_is_given_up(corpus: Path, tmp_path: Path) -> None:
    for _ in range(ray_data.ATTEMPTS):
        ray_data._count_attempt(tmp_path, 3)
    with pytest.raises(OSError, match="shard 3 has ended its Ray worker 4 times"):
        ray_data._count_attempt(tmp_path, 3)


def test_a_full_disk_at_a_worker_is_the_sentence_of_the_pool(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors come back from workers as they are: here by a stand-in that runs the rows in this process."""

    def run(self: RayCluster, tasks, job, out, *, advance) -> None:
        with ray_data._spooled(tasks, out) as (file, rows):
            for row in rows:
                answer = ray_data.make_row(row, ray_data.pickle.dumps(job), str(out), str(file))
                if answer["error"]:
                    raise ray_data.pickle.loads(answer["error"])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(RayCluster, "run", run)
    monkeypatch.setattr(ray_data, "import_ray", lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(ray_data.jobs, "write_shard", full)
        assert main([str(corpus), str(tmp_path / "out"), *OPTIONS, "--engine", "ray"]) == 1
    assert "is full: make room and run the same command again" in capsys.readouterr().err
    assert main([str(corpus), str(tmp_path / "out"), *OPTIONS, "--engine", "ray"]) == 0
    assert main([str(corpus), str(tmp_path / "local"), *OPTIONS]) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
