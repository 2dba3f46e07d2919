"""Fixtures of the codec's tests."""

import pytest

from codec import NeuralCodec
from tests.support.small_codec import small_codec


@pytest.fixture
def codec() -> NeuralCodec:
    return small_codec()
