"""A tiny codec, a module around it and synthetic clips, shared by the tests of callbacks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from codec_fakes import CountingModule, tiny_codec  # noqa: E402


@pytest.fixture
def module() -> CountingModule:
    torch.manual_seed(0)
    return CountingModule(tiny_codec())
