"""Channels: rates two-sidedly, both extremes, draws as functions of their names."""

import pytest
import torch
from scipy.stats import binomtest

from codec.channels import BinarySymmetricChannel, GilbertElliottChannel, draw_generator


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


def runs(states):
    """Lengths of the whole runs of True."""
    edges = states.int().diff().nonzero()[:, 0] + 1
    lengths = edges.diff()
    return lengths[0::2] if states[edges[0]] else lengths[1::2]


@pytest.mark.parametrize(("rate", "length", "bad"), [(0.01, 20, 0.5), (0.1, 5, 0.5), (0.3, 8, 1.0), (0.45, 200, 0.5)])
def test_bursts_have_the_stated_rate_and_length(rate, length, bad):
    """The rate's standard error follows the chain's closed form: correlation falls by 1 − 1/L − 1/G a bit."""
    count, channel = 2_000_000, GilbertElliottChannel(rate, length, bad_error_rate=bad)
    bits = torch.randint(2, (count,), dtype=torch.uint8)
    share = (channel(bits, draw_generator(0, "clip", "ge", 0)) != bits).double().mean().item()
    good_length = length * (1 - channel.bad_share) / channel.bad_share
    memory = 1 - 1 / length - 1 / good_length
    variance = rate * (1 - rate) + 2 * bad**2 * channel.bad_share * (1 - channel.bad_share) * memory / (1 - memory)
    assert abs(share - rate) < 4 * (variance / count) ** 0.5
    states = channel.bad_states(count, draw_generator(1, "clip", "ge", 0))
    for lengths, mean in ((runs(states), length), (runs(~states), good_length)):
        spread = (mean * (mean - 1) / len(lengths)) ** 0.5  # of a geometric law's mean
        assert abs(lengths.double().mean().item() - mean) < 4 * spread + 1e-9


def test_bursts_extremes_are_exact():
    bits = torch.randint(2, (3, 1000), dtype=torch.uint8)
    assert torch.equal(GilbertElliottChannel(0.0)(bits, torch.Generator()), bits)
    assert torch.equal(GilbertElliottChannel(1.0, bad_error_rate=1.0)(bits, torch.Generator()), 1 - bits)


def test_bursts_start_in_the_stationary_state():
    channel = GilbertElliottChannel(0.2, 50)
    first = sum(bool(channel.bad_states(1, draw_generator(0, str(n), "ge", 0))) for n in range(4000))
    assert binomtest(first, 4000, 0.4).pvalue > 1e-4


@pytest.mark.parametrize(("settings", "match"), [
    ({"bit_error_rate": 0.6}, "bit_error_rate 0.6"),
    ({"bit_error_rate": 0.1, "burst_length": 0.5}, "burst_length 0.5"),
    ({"bit_error_rate": 0.49, "burst_length": 10}, "at least 49"),
])  # fmt: skip
def test_impossible_bursts_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        GilbertElliottChannel(**settings)
