"""Channels in series and in turns: error rates against closed forms, exact posteriors, refusals."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from codec import (
    AWGNChannel,
    BinarySymmetricChannel,
    CascadedChannel,
    FrameErasureChannel,
    GilbertElliottChannel,
    InsertionDeletionChannel,
    JitterChannel,
    MixedChannel,
    PacketLossChannel,
    ProtectedChannel,
    Repetition,
    SwitchingChannel,
)
from codec.channels import draw_generator


def send(channel, clips=40, frames=100, width=8):
    bits = torch.randint(2, (clips, frames, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    return bits, channel(bits, draw_generator(0, "clip", channel.family, 0))


def wrong_or_lost(bits, received):
    lost = received == 0.5
    return lost | ((received > 0.5) != (bits > 0)), lost


def test_flips_in_series_are_those_of_one_channel():
    """Two binary symmetric channels are one of a + b − 2ab; the result stays a decision."""
    channel = CascadedChannel([BinarySymmetricChannel(0.1), BinarySymmetricChannel(0.2)])
    assert channel.error_rate == pytest.approx(0.26) and channel.lost_share == 0
    bits, received = send(channel)
    assert received.dtype == torch.uint8
    assert binomtest(int((received != bits).sum()), bits.numel(), 0.26).pvalue > 1e-4
    known = channel.with_known_error_rate()(bits, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(known.unique().numpy(), [0.26, 0.74], rtol=1e-6)


@pytest.mark.parametrize("first_flips", [True, False])
def test_flips_and_losses_compose_in_either_order(first_flips):
    stages = [BinarySymmetricChannel(0.1), FrameErasureChannel(0.3)]
    channel = CascadedChannel(stages if first_flips else stages[::-1])
    assert channel.error_rate == pytest.approx(1 - 0.7 * 0.9) and channel.lost_share == pytest.approx(0.3)
    bits, received = send(channel)
    wrong, lost = wrong_or_lost(bits, received)
    assert binomtest(int(lost[..., 0].sum()), lost[..., 0].numel(), 0.3).pvalue > 1e-4
    assert torch.equal(lost.any(-1), lost.all(-1))
    assert binomtest(int((wrong & ~lost).sum()), int((~lost).sum()), 0.1).pvalue > 1e-4
    np.testing.assert_allclose(received.unique().numpy(), [0.1, 0.5, 0.9], rtol=1e-6)  # nothing is certain


@pytest.mark.parametrize("stages", [
    [AWGNChannel(0.0, soft=True), BinarySymmetricChannel(0.1), FrameErasureChannel(0.2)],
    [BinarySymmetricChannel(0.1), AWGNChannel(0.0, soft=True), FrameErasureChannel(0.2)],
    [AWGNChannel(0.0, soft=True), BinarySymmetricChannel(0.05), BinarySymmetricChannel(0.0625)],
])  # fmt: skip
def test_soft_probabilities_stay_calibrated(stages):
    channel = CascadedChannel(stages)
    bits, received = send(channel, clips=150)
    wrong, _ = wrong_or_lost(bits, received)
    erased = 0.2 if isinstance(stages[-1], FrameErasureChannel) else 0.0
    soft = AWGNChannel(0.0).error_rate
    flips = soft + 0.1 - 2 * soft * 0.1 if erased else None
    if erased:
        assert channel.error_rate == pytest.approx(1 - 0.8 * (1 - flips))
    spread = 4 * (channel.error_rate * 8 / bits.numel()) ** 0.5
    assert abs(wrong.double().mean().item() - channel.error_rate) < spread
    for low in (0.11, 0.15, 0.2, 0.3, 0.52, 0.7, 0.83):
        inside = (received >= low) & (received < low + 0.05) & (received != 0.5)
        count, mean = int(inside.sum()), received[inside].double().mean().item()
        assert count > 100 and binomtest(int(bits[inside].sum()), count, mean).pvalue > 1e-4


def test_what_a_stage_flips_swaps_probabilities_exactly():
    soft, bits = AWGNChannel(0.0, soft=True), torch.zeros(1, 50, 8, dtype=torch.uint8)
    plain = CascadedChannel([soft, BinarySymmetricChannel(0.0)])(bits, torch.Generator().manual_seed(3))
    turned = CascadedChannel([soft, BinarySymmetricChannel(1.0)])(bits, torch.Generator().manual_seed(3))
    torch.testing.assert_close(turned, plain)  # a channel known to flip every bit says as much as one that flips none
    lost = CascadedChannel([soft, FrameErasureChannel(1.0)])(bits, torch.Generator().manual_seed(3))
    assert (lost == 0.5).all()


@pytest.mark.parametrize("last", [
    AWGNChannel(0.0, soft=True), InsertionDeletionChannel(0.05, 0.05),
    ProtectedChannel(BinarySymmetricChannel(0.1), Repetition(3)),
], ids=["soft", "insertion-deletion", "code"])  # fmt: skip
def test_a_stage_with_soft_output_refuses_probabilities(last):
    with pytest.raises(ValueError, match="cannot send probabilities on"):
        send(CascadedChannel([AWGNChannel(3.0, soft=True), last]), clips=2)
    _, received = send(CascadedChannel([BinarySymmetricChannel(0.01), last]), clips=2)  # sends decisions on
    assert received.is_floating_point() and received.min() > 0 and received.max() < 1


def test_a_stages_draws_do_not_depend_on_the_others():
    bits = torch.zeros(1, 300, 4, dtype=torch.uint8)
    found = []
    for first in (BinarySymmetricChannel(0.0), GilbertElliottChannel(0.1), InsertionDeletionChannel(0.02, 0.02)):
        channel = CascadedChannel([first, PacketLossChannel(0.3, 2)])
        found.append(channel(bits, torch.Generator().manual_seed(1)) == 0.5)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2]) and found[0].any()


def test_delays_add_up_and_the_widest_stage_is_counted():
    coded = ProtectedChannel(BinarySymmetricChannel(0.1), Repetition(3), interleave=4)
    channel = CascadedChannel([coded, PacketLossChannel(0.1, 3)])
    assert channel.delay_frames == 6 + 2 and channel.channel_bits(10, 8) == 240
    inside = CascadedChannel([channel, BinarySymmetricChannel(0.1)])
    assert inside.delay_frames == 8 and "cascade(" in inside.curve


def test_channels_take_turns_for_the_stated_times():
    """Shares of time mᵢ / Σ m, stays geometric of mean mᵢ, every change to another channel."""
    channel = SwitchingChannel([BinarySymmetricChannel(0.0), BinarySymmetricChannel(1.0)], [30, 10])
    assert channel.error_rate == 0.25
    flipped = channel(torch.zeros(400, 500, 2, dtype=torch.uint8), torch.Generator().manual_seed(0)).bool()
    assert torch.equal(flipped[..., 0], flipped[..., 1])
    shares = flipped[..., 0].double().mean(1)
    assert abs(shares.mean() - 0.25) < 4 * shares.std() / 400**0.5
    assert binomtest(int(flipped[:, 0, 0].sum()), 400, 0.25).pvalue > 1e-4  # stationary from the first frame
    for value, mean in ((False, 30), (True, 10)):
        here = flipped[:, :-1, 0] == value
        left = flipped[:, 1:, 0][here] != value
        assert binomtest(int(left.sum()), len(left), 1 / mean).pvalue > 1e-4


def test_interruptions_lose_frames_after_each_change():
    channel = SwitchingChannel(
        [BinarySymmetricChannel(0.1), FrameErasureChannel(0.2), BinarySymmetricChannel(0.3)],
        [40, 20, 30],
        interruption_frames=3,
    )
    shares, stays = np.array([40, 20, 30]) / 90, 1 - 1 / np.array([40, 20, 30])
    served = shares * stays**3
    assert channel.error_rate == pytest.approx(1 - served.sum() + served @ [0.1, 0.2, 0.3])
    assert channel.lost_share == pytest.approx(1 - served.sum() + served[1] * 0.2)
    bits, received = send(channel, clips=200, frames=200)
    wrong, lost = wrong_or_lost(bits, received)
    for found, expected in ((wrong, channel.error_rate), (lost, channel.lost_share)):
        means = found.double().mean((1, 2))
        assert abs(means.mean() - expected) < 4 * means.std() / 200**0.5
        first = found[:, 0].double().mean(1)
        assert abs(first.mean() - expected) < 4 * first.std() / 200**0.5
    np.testing.assert_allclose(received.unique().numpy(), [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1], atol=1e-6)


def test_turns_within_one_kind_need_equal_rates():
    channels = [BinarySymmetricChannel(0.1), ProtectedChannel(BinarySymmetricChannel(0.1), Repetition(3))]
    with pytest.raises(ValueError, match="equal rates"):
        SwitchingChannel(channels, [10, 10]).channel_bits(10, 8)
    assert SwitchingChannel(channels[:1] * 2, [10, 10]).channel_bits(10, 8) == 80
    assert MixedChannel([FrameErasureChannel(0.2), BinarySymmetricChannel(0.1)]).lost_share == pytest.approx(0.1)


@pytest.mark.parametrize(("make", "match"), [
    (lambda: CascadedChannel([]), "one channel or more"),
    (lambda: SwitchingChannel([BinarySymmetricChannel(0.1)], [10]), "at least two"),
    (lambda: SwitchingChannel([BinarySymmetricChannel(0.1)] * 2, [10]), "one number from 1"),
    (lambda: SwitchingChannel([BinarySymmetricChannel(0.1)] * 2, [10, 0.5]), "from 1 to 1e9"),
    (lambda: SwitchingChannel([BinarySymmetricChannel(0.1)] * 2, [9, 9], interruption_frames=-1), "interruption"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_packets_are_collected_once():
    """Four frames a packet wait three frames, however many stages carry the packets; a playout buffer comes on top."""
    jitter = JitterChannel(0.06, 4)
    lossy = PacketLossChannel(0.1, 4)
    assert jitter.delay_frames == 3 + 3
    assert CascadedChannel([lossy, jitter]).delay_frames == 3 + 3
    assert CascadedChannel([PacketLossChannel(0.1, 6), lossy]).delay_frames == 5
