"""A tiny codec, a module around it and synthetic clips, shared by the tests of callbacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.support.codec_fakes import CountingModule, tiny_codec


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Nets this small only lose with more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def module() -> CountingModule:
    torch.manual_seed(0)
    return CountingModule(tiny_codec())
