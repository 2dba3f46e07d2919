"""Late losses: their share and their bursts against closed forms, delays against their law, the buffer's delay."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, gamma, kstest, lomax, multivariate_normal, norm

from codec import CascadedChannel, GammaDelay, JitterChannel, PacketLossChannel, ParetoDelay
from codec.channels import draw_generator

LAWS = [
    (GammaDelay(0.02, 0.03), gamma(4 / 9, scale=0.045)),
    (GammaDelay(0.03, 0.01), gamma(9, scale=0.01 / 3)),
    (ParetoDelay(0.02, 2.5), lomax(2.5, scale=0.03)),
]


def losses(channel, packets):
    received = channel(torch.zeros(packets, 1, dtype=torch.uint8), draw_generator(0, "clip", channel.family, 0))
    return received[:, 0] == 0.5


@pytest.mark.parametrize(("law", "reference"), LAWS, ids=lambda law: getattr(law, "name", ""))
def test_delays_follow_their_law(law, reference):
    for seconds in (0.0, 0.01, 0.05, 0.2):
        assert law.exceeds(seconds) == pytest.approx(reference.sf(seconds), rel=1e-9, abs=1e-300)
    drawn = JitterChannel(0.06, delay=law).delays(20_000, torch.Generator().manual_seed(0))
    assert kstest(drawn.numpy(), reference.cdf).pvalue > 1e-4
    assert drawn.min() >= 0


@pytest.mark.parametrize("buffer", [0.0, 0.02, 0.06, 0.1])
def test_late_packets_have_the_closed_forms_share(buffer):
    """The regularised incomplete gamma function, and losses of the network on top, independently."""
    law, reference = LAWS[0]
    channel = JitterChannel(buffer, delay=law)
    assert channel.error_rate == channel.lost_share == pytest.approx(reference.sf(buffer), rel=1e-9)
    assert binomtest(int(losses(channel, 50_000).sum()), 50_000, channel.error_rate).pvalue > 1e-4
    lossy = JitterChannel(buffer, delay=law, loss_rate=0.1)
    assert lossy.error_rate == pytest.approx(1 - 0.9 * reference.cdf(buffer))
    assert binomtest(int(losses(lossy, 50_000).sum()), 50_000, lossy.error_rate).pvalue > 1e-4


@pytest.mark.parametrize("correlation", [0.05, 0.3])
def test_late_packets_come_in_bursts_as_the_copula_says(correlation):
    """P(both neighbours late) is a bivariate normal orthant probability; z has the packets' AR(1) memory."""
    channel = JitterChannel(0.05, 2, delay=GammaDelay(0.02, 0.02), correlation_seconds=correlation)
    rho = math.exp(-0.04 / correlation)
    assert channel.correlation == pytest.approx(rho)
    late = losses(channel, 400_000)[::2].numpy()
    share = channel.error_rate
    threshold = norm.isf(share)
    both = multivariate_normal(cov=[[1, rho], [rho, 1]]).cdf([-threshold, -threshold])
    for found, expected in ((late, share), (late[1:] & late[:-1], both)):
        means = found[: len(found) // 200 * 200].reshape(200, -1).mean(1)
        assert abs(means.mean() - expected) < 4 * means.std() / 200**0.5
    z = channel._normals(100_000, torch.Generator().manual_seed(1)).numpy()
    assert abs(np.mean(z[1:] * z[:-1]) - rho) < 0.03 and abs(z.var() - 1) < 0.06


def test_a_packet_is_lost_exactly_when_its_delay_exceeds_the_buffer():
    channel = JitterChannel(0.04, delay=GammaDelay(0.02, 0.03), correlation_seconds=0.1)
    delays = channel.delays(5000, draw_generator(0, "clip", channel.family, 0))
    assert torch.equal(delays > 0.04, losses(channel, 5000))


def test_losses_are_nested_over_buffers_and_delay_grows_with_them():
    buffers = (0.02, 0.06, 0.1)
    channels = [JitterChannel(b, 3, correlation_seconds=0.2, loss_rate=0.02) for b in buffers]
    found = [losses(channel, 9000) for channel in channels]
    assert (found[0] >= found[1]).all() and (found[1] >= found[2]).all() and found[0].sum() > found[2].sum()
    assert [channel.delay_frames for channel in channels] == [2 + 1, 2 + 3, 2 + 5]
    assert JitterChannel(0.05, frame_seconds=0.0125).delay_frames == 4
    assert JitterChannel(0.051, frame_seconds=0.0125).delay_frames == 5
    assert len({channel.name for channel in channels}) == 3 and len({channel.curve for channel in channels}) == 1


def test_other_losses_of_the_network_stand_before_it():
    both = CascadedChannel([PacketLossChannel(0.1, burst_length=3), JitterChannel(0.06, 4)])
    assert both.error_rate == pytest.approx(1 - 0.9 * (1 - math.exp(-3)))
    received = both(torch.ones(20, 800, 2, dtype=torch.uint8), torch.Generator().manual_seed(0)) == 0.5
    assert abs(received.double().mean().item() - both.error_rate) < 0.03


@pytest.mark.parametrize(("make", "match"), [
    (lambda: JitterChannel(-0.1), "buffer_seconds -0.1"),
    (lambda: JitterChannel(0.1, 0), "frames_per_packet 0"),
    (lambda: JitterChannel(0.1, correlation_seconds=-1), "correlation_seconds -1"),
    (lambda: JitterChannel(0.1, frame_seconds=0), "frame_seconds 0"),
    (lambda: JitterChannel(0.1, loss_rate=1.5), "loss_rate 1.5"),
    (lambda: GammaDelay(0.0, 0.1), "mean_seconds 0"),
    (lambda: GammaDelay(0.1, -0.1), "deviation_seconds -0.1"),
    (lambda: ParetoDelay(0.1, 1.0), "tail 1"),
    (lambda: ParetoDelay(0.0), "mean_seconds 0"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
