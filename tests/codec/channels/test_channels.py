"""Channels: rates two-sidedly, both extremes, draws as functions of their names."""

import math

import pytest
import torch
from scipy.stats import binomtest, norm

from codec.channels import (
    AWGNChannel,
    BinarySymmetricChannel,
    FrameErasureChannel,
    GilbertElliottChannel,
    MixedChannel,
    PacketLossChannel,
    ProtectedChannel,
    Repetition,
    SelectedBitsChannel,
    draw_generator,
)


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


@pytest.mark.parametrize("length", [2, 20, 300])
def test_bursts_are_nested_over_rates(length):
    """Errors and bad states at one rate recur at every higher one, which is no higher by chance alone."""
    bits, before = torch.zeros(200_000, dtype=torch.uint8), None
    for rate in (0.01, 0.05, 0.1, 0.2):
        found = GilbertElliottChannel(rate, length)(bits, draw_generator(0, "clip", "gilbert-elliott", 3))
        assert before is None or ((before <= found).all() and before.sum() < found.sum())
        before = found
    losses = [FrameErasureChannel(rate, burst_length=length)(bits[:2000, None], draw_generator(0, "clip", "f", 0))
              for rate in (0.05, 0.2)]  # fmt: skip
    assert ((losses[0] == 0.5) <= (losses[1] == 0.5)).all() and (losses[1] == 0.5).any()


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
    """Lengths of the runs of True that are complete."""
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


@pytest.mark.parametrize("es_n0_db", [-3.0, 0.0, 4.0, 7.0])
def test_hard_decisions_in_white_noise_err_as_bpsk_does(es_n0_db):
    """The error rate is Q(√(2 Es/N0)), here from the normal distribution's tail rather than from erfc."""
    channel, count = AWGNChannel(es_n0_db), 1_000_000
    bits = torch.randint(2, (count,), dtype=torch.uint8)
    wrong = int((channel(bits, draw_generator(0, "clip", "awgn", 0)) != bits).sum())
    expected = norm.sf(math.sqrt(2 * 10 ** (es_n0_db / 10)))
    assert channel.error_rate == pytest.approx(expected, rel=1e-9)
    assert binomtest(wrong, count, expected).pvalue > 1e-4


def test_soft_decisions_are_calibrated_and_agree_with_the_hard_ones():
    """Of the bits that are ones with probability p, a share of p are ones; each side of 1/2 is the hard decision."""
    bits = torch.randint(2, (400_000,), dtype=torch.uint8)
    soft = AWGNChannel(0.0, soft=True)(bits, draw_generator(0, "clip", "awgn", 0))
    hard = AWGNChannel(0.0)(bits, draw_generator(0, "clip", "awgn", 0))
    assert soft.dtype == torch.float32
    assert torch.equal((soft > 0.5).to(torch.uint8), hard)
    for low in (0.0, 0.1, 0.3, 0.45, 0.6, 0.8, 0.95):
        inside = (soft >= low) & (soft < low + 0.05)
        ones, count, mean = int(bits[inside].sum()), int(inside.sum()), soft[inside].double().mean().item()
        assert binomtest(ones, count, mean).pvalue > 1e-4


def test_noise_extremes_are_exact():
    bits = torch.randint(2, (3, 1000), dtype=torch.uint8)
    assert torch.equal(AWGNChannel(math.inf)(bits, torch.Generator()), bits)
    assert torch.equal(AWGNChannel(math.inf, soft=True)(bits, torch.Generator()), bits.float())
    nothing = AWGNChannel(-math.inf)
    assert nothing.error_rate == 0.5
    assert binomtest(int((nothing(bits, torch.Generator()) != bits).sum()), 3000, 0.5).pvalue > 1e-4
    assert (AWGNChannel(-math.inf, soft=True)(bits, torch.Generator()) == 0.5).all()


def lost_units(channel, units, per_unit=1, repeat=0):
    """Which packets of 3 bits a frame are lost; checks that a lost packet has no bit left and the rest is unchanged."""
    bits = torch.randint(2, (units * per_unit, 3), dtype=torch.uint8)
    received = channel(bits, draw_generator(0, "clip", channel.family, repeat))
    lost = received == 0.5
    assert torch.equal(received[~lost], bits.float()[~lost])
    packets = lost.view(units, -1)
    assert torch.equal(packets.any(1), packets.all(1))
    return packets[:, 0]


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_losses_happen_at_the_stated_rate(rate):
    for channel, per_unit in ((FrameErasureChannel(rate), 1), (PacketLossChannel(rate, 4), 4)):
        lost = lost_units(channel, 50_000, per_unit)
        assert binomtest(int(lost.sum()), len(lost), rate).pvalue > 1e-4
        following = lost[1:][lost[:-1]]  # independent of the one before
        assert binomtest(int(following.sum()), len(following), rate).pvalue > 1e-4


@pytest.mark.parametrize(("rate", "length"), [(0.05, 3.0), (0.3, 8.0)])
def test_bursts_of_losses_have_the_stated_rate_and_length(rate, length):
    channel = FrameErasureChannel(rate, burst_length=length)
    lost = lost_units(channel, 300_000)
    good_length = length * (1 - rate) / rate
    memory = 1 - 1 / length - 1 / good_length
    variance = rate * (1 - rate) * (1 + memory) / (1 - memory)  # of a mean of the chain
    assert abs(lost.double().mean().item() - rate) < 4 * (variance / len(lost)) ** 0.5
    lengths = runs(lost).double()
    assert abs(lengths.mean().item() - length) < 4 * (length * (length - 1) / len(lengths)) ** 0.5


def test_loss_extremes_are_exact():
    bits = torch.randint(2, (2, 50, 16), dtype=torch.uint8)
    for make in (FrameErasureChannel, PacketLossChannel):
        assert torch.equal(make(0.0)(bits, torch.Generator()), bits.float())
        assert (make(1.0)(bits, torch.Generator()) == 0.5).all()
        assert torch.equal(make(0.0, burst_length=5)(bits, torch.Generator()), bits.float())


def test_the_last_packet_may_be_short():
    lost = PacketLossChannel(0.5, 4)(torch.zeros(4001, 2, dtype=torch.uint8), torch.Generator().manual_seed(3)) == 0.5
    assert lost.shape == (4001, 2)
    shares = lost[:4000, 0].view(-1, 4).double().mean(1)
    assert set(shares.tolist()) == {0.0, 1.0}


def test_each_clip_of_a_batch_has_its_own_losses():
    lost = FrameErasureChannel(0.5)(torch.zeros(2, 100, 4, dtype=torch.uint8), torch.Generator().manual_seed(0)) == 0.5
    assert not torch.equal(lost[0], lost[1])


def test_a_mixed_channel_draws_by_weight():
    channel = MixedChannel([BinarySymmetricChannel(0.0), BinarySymmetricChannel(1.0)], [3, 1])
    bits = torch.zeros(4000, 5, 2, dtype=torch.uint8)
    flipped = channel(bits, torch.Generator().manual_seed(0)).flatten(1)
    assert torch.equal(flipped.any(1), flipped.all(1))  # one draw a clip
    assert binomtest(int(flipped[:, 0].sum()), 4000, 0.25).pvalue > 1e-4
    assert channel.error_rate == 0.25
    mixed = MixedChannel([BinarySymmetricChannel(0.5), FrameErasureChannel(0.5)])(bits[:20], torch.Generator())
    assert mixed.dtype == torch.float32 and mixed.shape == (20, 5, 2)


def test_selected_bits_alone_are_hit():
    bits = torch.randint(2, (100_000, 8), dtype=torch.uint8)
    received = SelectedBitsChannel(BinarySymmetricChannel(0.2), [5, 2])(bits, torch.Generator().manual_seed(0))
    wrong = (received != bits).sum(0).tolist()
    assert [count for i, count in enumerate(wrong) if i not in (2, 5)] == [0] * 6
    assert all(binomtest(wrong[i], 100_000, 0.2).pvalue > 1e-4 for i in (2, 5))


@pytest.mark.parametrize("share", [0.5, 0.668, 0.8, 0.9])
def test_the_shortest_burst_that_reaches_a_rate_is_allowed(share):
    """At the limit every good stretch is one long, whatever the last digit of the division."""
    channel = FrameErasureChannel(share, burst_length=share / (1 - share))
    lost = lost_units(channel, 20_000)
    assert abs(lost.double().mean().item() - share) < 0.02
    assert set(runs(~lost).tolist()) == {1}
    assert FrameErasureChannel(0.8, burst_length=4).error_rate == 0.8


def test_names_and_curves_tell_settings_apart():
    first, second = (
        MixedChannel([BinarySymmetricChannel(0.0)] * 2, [1, 2]),
        MixedChannel([BinarySymmetricChannel(0.0)] * 2),
    )
    assert first.name != second.name
    assert GilbertElliottChannel(0.1, 5).curve != GilbertElliottChannel(0.1, 20).curve
    assert SelectedBitsChannel(AWGNChannel(0), [1]).curve != SelectedBitsChannel(AWGNChannel(0), [2]).curve


def test_composed_channels_count_the_parity_inside_them():
    coded = ProtectedChannel(BinarySymmetricChannel(0.1), Repetition(3))
    assert MixedChannel([coded, coded]).channel_bits(10, 8) == 240
    assert SelectedBitsChannel(coded, [0, 1]).channel_bits(10, 8) == 10 * (2 * 3 + 6)
    with pytest.raises(ValueError, match="mix equal rates"):
        MixedChannel([coded, BinarySymmetricChannel(0.1)]).channel_bits(10, 8)


@pytest.mark.parametrize(("make", "match"), [
    (lambda: FrameErasureChannel(1.5), "frame_erasure_rate 1.5"),
    (lambda: FrameErasureChannel(0.9, burst_length=2), "at least 9"),
    (lambda: PacketLossChannel(0.1, 0), "frames_per_packet 0"),
    (lambda: AWGNChannel(float("nan")), "es_n0_db nan"),
    (lambda: AWGNChannel(7000.0), "es_n0_db 7000"),
    (lambda: MixedChannel([]), "at least one"),
    (lambda: MixedChannel([BinarySymmetricChannel(0.1)], [0.0]), "not all 0"),
    (lambda: SelectedBitsChannel(BinarySymmetricChannel(0.1), [1, 1]), "different bits"),
    (lambda: SelectedBitsChannel(BinarySymmetricChannel(0.1), [9])(torch.zeros(2, 8), torch.Generator()), "below the"),
    (lambda: FrameErasureChannel(0.1)(torch.zeros(8), torch.Generator()), "one frame of n bits a row"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_known_error_rate_reaches_the_channels_inside_others():
    bits = torch.zeros(1, 200, 8, dtype=torch.uint8)
    one = SelectedBitsChannel(BinarySymmetricChannel(0.25), [0]).with_known_error_rate()
    received = one(bits, draw_generator(0, "clip", "bsc", 0))
    assert (received[..., 1:] == 0).all() and received[..., 0].unique().tolist() == [0.25, 0.75]
    mixed = MixedChannel([BinarySymmetricChannel(0.25), BinarySymmetricChannel(0.0)]).with_known_error_rate()
    clips = mixed(bits.expand(40, -1, -1), draw_generator(0, "clip", "mixed", 0))
    found = {tuple(clip.unique().tolist()) for clip in clips}
    assert found == {(0.25, 0.75), (0.0,)}


def test_beside_soft_clips_a_mixed_channel_claims_no_certainty_for_flips():
    mixed = MixedChannel([BinarySymmetricChannel(0.25), AWGNChannel(0.0, soft=True)])
    clips = mixed(torch.zeros(40, 200, 8, dtype=torch.uint8), draw_generator(0, "clip", "mixed", 0))
    assert clips.min() > 0 and clips.max() < 1
    assert any(clip.unique().tolist() == [0.25, 0.75] for clip in clips)
