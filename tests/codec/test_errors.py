"""Sentences for the user: numbers with their nouns."""

import pytest

from codec import errors as codec_errors
from data import errors as data_errors


@pytest.mark.parametrize("counted", [codec_errors.counted, data_errors.counted])
def test_a_number_has_its_noun_in_the_right_form(counted) -> None:
    assert [counted(n, "clip") for n in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]
    assert counted(1, "batch") == "1 batch" and counted(3, "batch") == "3 batches"
