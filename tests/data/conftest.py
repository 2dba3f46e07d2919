"""Small audio files and sources for the data tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(name, seconds, rate=..., channels=...): a file of seeded noise below tmp_path; returns its path."""

    def make(name: str, seconds: float = 2.0, *, rate: int = 16000, channels: int = 1, **options: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(name.encode())
        samples = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
        soundfile.write(path, samples, rate, **options)
        return path

    return make


@pytest.fixture
def bad_file(tmp_path: Path, write: Write) -> Callable[[str], Path]:
    """bad_file(kind): a file of that kind of badness in tmp_path/corpus."""

    def make(kind: str) -> Path:
        folder = tmp_path / "corpus"
        folder.mkdir(exist_ok=True)
        path = folder / f"{kind}.wav"
        if kind == "empty":
            path.touch()
        elif kind == "headeronly":
            soundfile.write(path, np.zeros(0), 16000)
        elif kind == "text":
            path.write_text("this is not audio " * 50)
        elif kind == "nan":
            samples = np.zeros(32000, dtype=np.float32)
            samples[::100] = np.nan
            soundfile.write(path, samples, 16000, subtype="FLOAT")
        elif kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(folder / "gone")
        elif kind.startswith("truncated"):
            path = write(f"corpus/{kind}", 8.0)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        return path

    return make
