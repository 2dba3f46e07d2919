"""Channel-optimised codebooks: transitions and both conditions by brute force, p = 0, annealing, resume, gain."""

import copy

import pytest
import torch

from codec.quantizers import RVQ, ChannelOptimizedCodebook, EMACodebook
from codec.quantizers.channel_optimized import bit_error_means
from tests.codec.quantizers.test_codebooks import vectors
from tests.support.training import VoiceData, quiet_trainer, tiny_module, whole_and_resumed


def transitions(size: int, rate: float) -> torch.Tensor:
    """P(j|i) `[i, j]` in float64, from the bits in which the natural words of i and j differ."""
    bits = size.bit_length() - 1
    differ = [[bin(i ^ j).count("1") for j in range(size)] for i in range(size)]
    count = torch.tensor(differ, dtype=torch.float64)
    return rate**count * (1 - rate) ** (bits - count)


def book(*, rate: float = 0.05, size: int = 16, **settings) -> ChannelOptimizedCodebook:
    torch.manual_seed(0)
    return ChannelOptimizedCodebook(size, 8, bit_error_rate=rate, **settings)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 0.5])
@pytest.mark.parametrize("size", [2, 8, 64])
def test_means_over_bit_errors_are_products_with_the_matrix(size, rate):
    values = torch.randn(size, 3, 2, dtype=torch.float64)
    expected = torch.einsum("ij,jab->iab", transitions(size, rate), values)
    torch.testing.assert_close(bit_error_means(values, rate), expected)
    torch.testing.assert_close(bit_error_means(values[:, 0, 0], torch.tensor(rate)), expected[:, 0, 0])
    if rate == 0.0:
        assert torch.equal(bit_error_means(values, rate), values)


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_the_index_has_the_least_expected_distortion(offset):
    found = book(rate=0.08).eval()
    with torch.no_grad():
        found.table.copy_(torch.randn(16, 8) + offset)
    x = vectors() / vectors().std() + offset
    indices = found.match(x).indices
    squares = (x[:, None].double() - found.table.double()).square().sum(-1)  # [N, 16]
    expected = squares @ transitions(16, 0.08).T
    chosen = expected.gather(1, indices[:, None])[:, 0]
    torch.testing.assert_close(chosen, expected.min(1).values, rtol=1e-4 if offset else 1e-6, atol=0)
    assert (indices != squares.argmin(1)).any()


def test_entries_are_the_means_of_what_they_are_received_for():
    """The centroid condition on one batch: a table that forgets at once, from a common start."""
    found = book(rate=0.1, decay=0.0, restart_below=0.0)
    found.match(vectors(0))
    found.batches += 10**6  # `decay` in force
    x = vectors(1)
    indices = found.match(x).indices
    chosen = torch.nn.functional.one_hot(indices, 16).double()
    weight = transitions(16, 0.1) @ chosen.T  # P(j|i) of each vector's index i, [j, N]
    torch.testing.assert_close(
        found.table.double(), weight @ x.double() / weight.sum(1, keepdim=True), rtol=1e-4, atol=1e-4
    )


def test_moving_means_have_weighted_sums_over_weighted_counts():
    found = book(rate=0.1, decay=0.7, restart_below=0.0)
    found.match(vectors(0))
    found.batches += 10**6
    matrix = transitions(16, 0.1).float()
    counts = found.usage.clone()
    sums = found.table * (matrix @ counts)[:, None]
    for seed in (1, 2, 3):
        x = vectors(seed)
        chosen = torch.nn.functional.one_hot(found.match(x).indices, 16).float() * 16 / len(x)
        counts, sums = 0.7 * counts + 0.3 * chosen.sum(0), 0.7 * sums + 0.3 * matrix @ (chosen.T @ x)
        torch.testing.assert_close(found.table, sums / (matrix @ counts)[:, None], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(found.usage, counts, atol=1e-5, rtol=1e-5)


def test_without_errors_it_is_the_moving_mean_codebook_bit_for_bit():
    torch.manual_seed(0)
    plain = EMACodebook(16, 8, restart_below=0.5, decay=0.8)
    found = book(rate=0.0, restart_below=0.5, decay=0.8)
    for seed in range(6):
        matches = []
        for one in (plain, found):
            torch.manual_seed(seed)
            matches.append(one.match(vectors(seed)))
        for expected, got in zip(*matches, strict=True):
            assert torch.equal(expected, got)
    for name, value in plain.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


def test_the_rate_falls_linearly_with_the_batches_learned_from():
    found = book(rate=0.02, start_bit_error_rate=0.22, anneal_batches=4)
    rates = []
    for seed in range(6):
        rates.append(found.rate.item())
        found.match(vectors(seed))
    assert rates == pytest.approx([0.22, 0.17, 0.12, 0.07, 0.02, 0.02])
    found.match(vectors(7) * float("nan"))
    assert found.batches == 6
    found.eval().match(vectors(8))
    assert found.batches == 6 and found.rate.item() == pytest.approx(0.02)


def test_training_orders_the_indices():
    """Behind flips the distortion is a good part less than the plain codebook's, without them hardly more."""
    power = vectors(10**6, count=3000).var(0).sum()
    distortions = []
    for settings in (None, {"rate": 0.02, "start_bit_error_rate": 0.25, "anneal_batches": 100}):
        torch.manual_seed(0)
        one = EMACodebook(32, 8) if settings is None else book(size=32, **settings)
        for seed in range(200):
            one.match(vectors(seed))
        x = vectors(10**6, count=3000)
        table = one.table.double()
        squares = (x[:, None].double() - table).square().sum(-1)
        sent = one.eval().match(x).indices
        distortions.append([
            (squares @ transitions(32, rate).T).gather(1, sent[:, None]).mean().item() / power.item()
            for rate in (0.0, 0.02, 0.1)
        ])  # fmt: skip
    (clean, low, high), (clean_ordered, low_ordered, high_ordered) = distortions
    assert low_ordered < 0.85 * low and high_ordered < 0.7 * high
    assert clean_ordered < clean + 0.1


def test_unused_entries_restart_by_their_weighted_usage():
    """An entry that no vector is coded by stays where errors lead to it, and restarts where hardly any do."""
    for rate, restarts in ((0.2, False), (0.001, True)):
        found = book(rate=rate, restart_below=0.1)
        found.match(vectors())
        found.usage.fill_(1.0)
        found.usage[3] = 0.0
        with torch.no_grad():
            found.table[3] = 1e6
        found.decay, found.batches = 0.999999, found.batches + 10**9
        found.match(vectors(1))
        assert (found.table[3].abs().max().item() < 1e5) is restarts


def test_a_copy_from_the_state_goes_on_bit_for_bit():
    settings = {"rate": 0.02, "start_bit_error_rate": 0.3, "anneal_batches": 5, "restart_below": 0.5}
    found = book(**settings)
    for seed in range(3):
        found.match(vectors(seed))
    resumed = book(**settings)
    resumed.load_state_dict(copy.deepcopy(found.state_dict()))
    for seed in range(3, 8):
        for one in (found, resumed):
            torch.manual_seed(seed)
            one.match(vectors(seed))
    for name, value in found.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    plain = EMACodebook(16, 8)
    assert found.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("wrong", [
    {"size": 24}, {"bit_error_rate": 0.6}, {"bit_error_rate": -0.1}, {"start_bit_error_rate": 0.7},
    {"anneal_batches": 0},
])  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=rf"^{name} {value} must"):
        ChannelOptimizedCodebook(**wrong)


def fit(steps: int, resume=None):
    module = tiny_module()
    books = [book(rate=0.02, size=8, start_bit_error_rate=0.3, anneal_batches=4, restart_below=0.5) for _ in range(2)]
    torch.manual_seed(2)
    module.codec.quantizer = RVQ(16, books, dropout=0.5)
    trainer = quiet_trainer(max_steps=steps)
    trainer.fit(module, VoiceData(), ckpt_path=resume)
    return trainer


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    whole, resumed = whole_and_resumed(fit, tmp_path)
    assert whole["state_dict"]["codec.quantizer.codebooks.1.batches"] == 4
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(whole[part], resumed[part], rtol=0, atol=0)
