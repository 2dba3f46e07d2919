"""Settings of all tests: one thread a process, so that tests in parallel do not contend and numbers do not vary."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before PyTorch is loaded, also for the processes that tests start

import pytest  # noqa: E402
import torch  # noqa: E402

from tests.support.speech import write_speech  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six recordings of about 1.25 s by two speakers, 16 kHz."""
    return write_speech(tmp_path_factory.mktemp("recordings"), speakers=("anna", "ben"))


@pytest.fixture
def speech(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recordings; the current folder is the test's own, so that what a run leaves there goes with it."""
    monkeypatch.chdir(tmp_path)
    return recordings


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[Any]:
    """Write out what is not UTF-8 in captured output (a folder's name, say): pytest-xdist cannot send it as it is."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
