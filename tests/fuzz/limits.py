"""How many cases fuzzing tries, and how much memory a case may take."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

CASES = int(os.environ.get("FUZZ_CASES", "300"))  # FUZZ_CASES=10000 pytest tests/fuzz: new cases at each run
MEGABYTES = (
    256  # far above what any of these small inputs needs, far below what their largest declared sizes would take
)

fuzzed = settings(
    max_examples=CASES,
    deadline=None,
    derandomize="FUZZ_CASES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
unhurried = pytest.mark.timeout(0 if CASES > 1000 else 300)


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Inside, an allocation beyond `MEGABYTES` fails, and the failure is not taken for a refusal of the input."""
    resource = pytest.importorskip("resource")
    pages = Path("/proc/self/statm")
    if not pages.exists():
        pytest.skip("the size of this process is not known here")
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(pages.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEGABYTES * 2**20, before[1]))
    try:
        yield
    except ValueError as refusal:
        resource.setrlimit(resource.RLIMIT_AS, before)
        cause: BaseException | None = refusal
        while cause is not None:
            assert not isinstance(cause, MemoryError) and "allocate" not in str(cause), f"too much memory: {cause}"
            cause = cause.__cause__ or cause.__context__
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
