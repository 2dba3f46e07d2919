"""Small audio files and sources for the data tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.speech import write_noise, write_unusable

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(name, seconds, rate=..., channels=...): a file of noise below tmp_path; returns its path."""
    return lambda name, *lengths, **options: write_noise(tmp_path / name, *lengths, **options)


@pytest.fixture
def bad_file(tmp_path: Path) -> Callable[[str], Path]:
    """bad_file(kind): a file in tmp_path/corpus that cannot be used; the kinds are those of `UNUSABLE`."""
    return lambda kind: write_unusable(tmp_path / "corpus", kind)
