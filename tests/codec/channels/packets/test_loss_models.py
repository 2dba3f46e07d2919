"""Loss models and their fits: closed forms two-sidedly, exact likelihoods, parameters recovered from drawn traces."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.stats import chi2, chisquare

from codec import GilbertElliottLossChannel, PacketLossChannel, ThreeStateLossChannel
from codec.channels import draw_generator, fit_gilbert, fit_gilbert_elliott, fit_three_state
from codec.channels.packets.fits import Parameters, expectation

MODELS = [
    GilbertElliottLossChannel(0.02, 0.1, good_loss=0.01, bad_loss=0.6),
    GilbertElliottLossChannel(0.05, 0.3),
    ThreeStateLossChannel(0.02, 0.2, 0.3, 0.4),
]


def drawn(channel, packets, seed=0):
    """Losses of one long clip, bool [packets]."""
    received = channel(torch.zeros(packets, 1, dtype=torch.uint8), draw_generator(seed, "clip", channel.family, 0))
    return (received[:, 0] == 0.5).numpy()


def run_lengths(lost, value):
    """Lengths of the complete runs of one value."""
    edges = np.flatnonzero(np.diff(lost)) + 1
    return np.diff(edges)[lost[edges[:-1]] == value]


def shares_in_blocks(lost, blocks=200):
    """Mean and its standard error, from blocks that are long against the chain's memory."""
    means = lost[: len(lost) // blocks * blocks].reshape(blocks, -1).mean(1)
    return means.mean(), means.std() / blocks**0.5


@pytest.mark.parametrize("channel", MODELS, ids=lambda channel: channel.name)
def test_losses_have_the_closed_forms_share_bursts_and_gaps(channel):
    lost, chain = drawn(channel, 120_000), channel.chain
    assert chain.loss_share == pytest.approx(channel.error_rate, abs=1e-12)
    np.testing.assert_allclose(chain.stationary @ chain.transitions, chain.stationary, atol=1e-12)
    share, error = shares_in_blocks(lost)
    assert abs(share - channel.error_rate) < 4 * error
    for value in (True, False):
        lengths = run_lengths(lost, value)
        assert abs(lengths.mean() - chain.mean_run(lost=value)) < 4 * lengths.std() / len(lengths) ** 0.5
        tail = chain.run_probabilities(13, lost=value)
        expected = len(lengths) * np.append(-np.diff(tail), tail[-1])
        found = np.bincount(np.minimum(lengths, 13), minlength=14)[1:]
        kept = expected > 5
        pooled = [np.append(v[kept], v[~kept].sum()) for v in (found, expected)]
        pooled = [v if pooled[1][-1] > 5 else v[:-1] for v in pooled]
        assert chisquare(pooled[0], pooled[1] * pooled[0].sum() / pooled[1].sum()).pvalue > 1e-4


def test_the_simple_chain_is_that_of_packet_losses():
    """h_G = 0 and h_B = 1 give the losses of PacketLossChannel, geometric bursts of 1 / r."""
    simple = GilbertElliottLossChannel(0.05, 0.25)
    packet = PacketLossChannel(simple.error_rate, 1, burst_length=4)
    assert np.array_equal(drawn(simple, 5000), _states(packet, simple.family))
    np.testing.assert_allclose(simple.chain.run_probabilities(6, lost=True), 0.75 ** np.arange(6))
    np.testing.assert_allclose(simple.chain.run_probabilities(6, lost=False), 0.95 ** np.arange(6))


def _states(channel, family):
    received = channel(torch.zeros(5000, 1, dtype=torch.uint8), draw_generator(0, "clip", family, 0))
    return (received[:, 0] == 0.5).numpy()


def test_three_states_have_the_stated_runs():
    """Runs of losses are geometric, runs of received packets a mixture of two geometric laws."""
    chain, k = MODELS[2].chain, np.arange(40)
    np.testing.assert_allclose(chain.run_probabilities(40, lost=True), 0.5**k)
    np.testing.assert_allclose(chain.run_probabilities(40, lost=False), 0.4 * 0.98**k + 0.6 * 0.6**k)


@pytest.mark.parametrize("channel", MODELS, ids=lambda channel: channel.name)
def test_likelihoods_are_those_of_all_paths(channel):
    """Sums over every path of states, and over every pattern to one."""
    chain, length = channel.chain, 6
    total = 0.0
    for pattern in product((False, True), repeat=length):
        paths = 0.0
        for path in product(range(len(chain.stationary)), repeat=length):
            p = chain.stationary[path[0]]
            for before, after in pairwise(path):
                p *= chain.transitions[before, after]
            for state, lost in zip(path, pattern, strict=True):
                p *= chain.loss_probabilities[state] if lost else 1 - chain.loss_probabilities[state]
            paths += p
        assert np.exp(chain.log_likelihood(pattern)) == pytest.approx(paths, rel=1e-10, abs=1e-300)
        total += paths
    assert total == pytest.approx(1.0)


def test_expectations_are_those_of_all_paths():
    """Baum-Welch's E-step in stretches against the sum over all paths, for lengths that do and do not fill them."""
    rng = np.random.default_rng(0)
    transitions, loss, first = np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0.1, 0.7]), np.array([0.3, 0.7])
    for length in (2, 3, 7, 10):
        pattern = rng.random(length) < 0.4
        found = expectation(pattern, Parameters(transitions, loss, first))
        steps, visits, start, total = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros(2), 0.0
        for path in product((0, 1), repeat=length):
            p = first[path[0]] * np.prod([transitions[a, b] for a, b in pairwise(path)])
            p *= np.prod([loss[s] if lost else 1 - loss[s] for s, lost in zip(path, pattern, strict=True)])
            total += p
            start[path[0]] += p
            for a, b in pairwise(path):
                steps[a, b] += p
            for s, lost in zip(path, pattern, strict=True):
                visits[int(lost), s] += p
        np.testing.assert_allclose(found.log_likelihood, np.log(total))
        np.testing.assert_allclose(found.steps, steps / total)
        np.testing.assert_allclose(found.visits, visits / total)
        np.testing.assert_allclose(found.first, start / total)


def parameters(channel):
    names = {
        GilbertElliottLossChannel: ("to_bad", "to_good", "good_loss", "bad_loss"),
        ThreeStateLossChannel: ("gap_to_lost", "lost_to_gap", "lost_to_burst", "burst_to_lost"),
    }[type(channel)]
    return np.array([getattr(channel, name) for name in names])


@pytest.mark.parametrize("packets", [4000, pytest.param(60_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("channel", "fit"), [
    (MODELS[0], fit_gilbert_elliott), (MODELS[1], fit_gilbert), (MODELS[2], fit_three_state),
], ids=["gilbert-elliott", "gilbert", "three-state"])  # fmt: skip
def test_fits_recover_the_model_that_drew_the_trace(channel, fit, packets):
    """2 (L(fit) − L(truth)) is chi-squared of the number of parameters, two-sidedly; the parameters are near."""
    lost = drawn(channel, packets, seed=1)
    fitted = fit(lost)
    free = 2 if fit is fit_gilbert else 4
    gain = 2 * (fitted.chain.log_likelihood(lost) - channel.chain.log_likelihood(lost))
    assert -0.05 < gain < chi2.isf(1e-4, free)
    spread = (60_000 / packets) ** 0.5
    np.testing.assert_allclose(parameters(fitted), parameters(channel), rtol=0.15 * spread, atol=0.003 * spread)
    assert fitted.error_rate == pytest.approx(lost.mean(), abs=0.003)
    assert parameters(fit(lost[:300])).tolist() == parameters(fit(lost[:300])).tolist()


def test_counting_fits_are_exact_on_a_trace_by_hand():
    lost = [c == "1" for c in "0000110100000000011000"]
    simple = fit_gilbert(lost)
    assert (simple.to_bad, simple.to_good) == (3 / 16, 3 / 5)
    counted = fit_three_state(lost, shortest_gap=4)
    # G: 0000, 000000000 and 000 at the end, 15 steps from it and 2 to L; B: a single packet; L: 11, 1, 11.
    np.testing.assert_allclose(parameters(counted), [2 / 15, 2 / 5, 1 / 5, 1.0])


def test_a_counted_fit_by_gaps_finds_what_short_gaps_hide():
    """With Gmin far from both means, counting agrees with the hidden fit; the bursts it finds are those of RFC 3611."""
    channel = ThreeStateLossChannel(0.005, 0.1, 0.3, 0.6)
    lost = drawn(channel, 60_000, seed=2)
    counted = fit_three_state(lost, shortest_gap=8)
    np.testing.assert_allclose(parameters(counted), parameters(channel), rtol=0.15)


@pytest.mark.parametrize(("make", "match"), [
    (lambda: fit_gilbert([False] * 9), "cannot be fitted"),
    (lambda: fit_gilbert_elliott([True] * 9), "9 losses"),
    (lambda: fit_three_state([True]), "cannot be fitted"),
    (lambda: fit_three_state([True, False], shortest_gap=0), "shortest_gap 0"),
    (lambda: GilbertElliottLossChannel(0.0, 0.0), "for ever"),
    (lambda: GilbertElliottLossChannel(1.1, 0.1), "to_bad 1.1"),
    (lambda: GilbertElliottLossChannel(0.1, 0.1, bad_loss=2), "bad_loss 2"),
    (lambda: ThreeStateLossChannel(0.0, 0.1, 0.1, 0.1), "at least 1e-12"),
    (lambda: ThreeStateLossChannel(0.1, 0.6, 0.6, 0.1), "at most 1"),
    (lambda: ThreeStateLossChannel(0.1, 0.1, 0.1, 0.1, frames_per_packet=0), "frames_per_packet 0"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_extremes_are_exact():
    bits = torch.randint(2, (3, 50, 4), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    assert (GilbertElliottLossChannel(0.5, 0.0)(bits, generator) == 0.5).all()
    assert torch.equal(GilbertElliottLossChannel(0.0, 0.5)(bits, generator), bits.float())
    assert torch.equal(GilbertElliottLossChannel(0.5, 0.5, bad_loss=0.0)(bits, generator), bits.float())
    assert (ThreeStateLossChannel(1e-9, 0.0, 0.0, 0.5)(bits, generator) == 0.5).all()  # a burst without end
