"""Channels: rates two-sidedly, both extremes, draws as functions of their names."""

import pytest
import torch
from scipy.stats import binomtest

from codec.channels import BinarySymmetricChannel, draw_generator


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
def test_flips_happen_at_the_stated_rate(rate):
    bits = torch.randint(2, (200_000,), dtype=torch.uint8)
    received = BinarySymmetricChannel(rate)(bits, draw_generator(0, "clip", "bsc", 0))
    flips = int((received != bits).sum())
    assert binomtest(flips, len(bits), rate).pvalue > 1e-4
    ones = bits == 1  # symmetric: ones flip as often as zeros
    assert binomtest(int((received != bits)[ones].sum()), int(ones.sum()), rate).pvalue > 1e-4


def test_flips_are_independent_of_the_one_before():
    bits = torch.zeros(400_000, dtype=torch.uint8)
    flips = BinarySymmetricChannel(0.1)(bits, draw_generator(1, "clip", "bsc", 0)).bool()
    both = int((flips[1:] & flips[:-1]).sum())
    assert binomtest(both, int(flips[:-1].sum()), 0.1).pvalue > 1e-4


def test_extremes_are_exact():
    bits = torch.randint(2, (3, 1000), dtype=torch.uint8)
    assert torch.equal(BinarySymmetricChannel(0.0)(bits, torch.Generator()), bits)
    assert torch.equal(BinarySymmetricChannel(1.0)(bits, torch.Generator()), 1 - bits)


def test_flips_are_nested_over_rates():
    bits = torch.zeros(10_000, dtype=torch.uint8)
    low = BinarySymmetricChannel(0.05)(bits, draw_generator(0, "clip", "bsc", 3))
    high = BinarySymmetricChannel(0.2)(bits, draw_generator(0, "clip", "bsc", 3))
    assert (low <= high).all()
    assert low.sum() < high.sum()


def test_a_draw_depends_on_each_of_its_names_and_on_nothing_else():
    def draw(*names):
        return torch.rand(8, generator=draw_generator(*names)).tolist()

    base = draw(0, "a", "bsc", 0)
    assert draw(0, "a", "bsc", 0) == base
    others = [draw(1, "a", "bsc", 0), draw(0, "b", "bsc", 0), draw(0, "a", "ge", 0), draw(0, "a", "bsc", 1)]
    assert all(other != base for other in others)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ValueError, match="bit_error_rate"):
        BinarySymmetricChannel(rate)
