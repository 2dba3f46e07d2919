"""Protected channels: what is sent and where, what interleaving and unequal protection do, what stays as it was."""

import itertools
import math

import pytest
import torch
from scipy.stats import binomtest

from codec.channels import (
    BPSK,
    QAM16,
    QPSK,
    BinarySymmetricChannel,
    Channel,
    FadingChannel,
    FrameErasureChannel,
    MixedChannel,
    SelectedBitsChannel,
)
from codec.channels.coding.block_codes import Hamming74, Repetition
from codec.channels.coding.convolutional import ConvolutionalCode
from codec.channels.coding.protection import ProtectedChannel, coded_places

CODES = [Repetition(3), Hamming74(), ConvolutionalCode()]
by_code = pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)


class Watched(Channel):
    """Delivers all bits, except that what `harm` returns arrives instead; keeps what was sent."""

    family, name, error_rate = "watched", "watched-0.25", 0.25

    def __init__(self, harm=lambda sent: sent):
        self.harm = harm

    def __call__(self, bits, generator):
        self.sent = bits
        return self.harm(bits)


def lose_rows(*rows):
    def harm(sent):
        received = sent.float()
        received[..., list(rows), :] = 0.5
        return received

    return Watched(harm)


def payload(*shape, seed=0):
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@by_code
@pytest.mark.parametrize("protected", [None, [0], [6, 1, 2]])
@pytest.mark.parametrize("interleave", [1, 4, 1000])
@pytest.mark.parametrize("shape", [(1, 7), (2, 7), (13, 7), (2, 3, 50, 9), (1, 1, 7)])
def test_what_arrives_unharmed_comes_back(code, protected, interleave, shape):
    inner = BinarySymmetricChannel(0.0)
    channel = ProtectedChannel(inner, code, protected_bits=protected, interleave=interleave)
    bits = payload(*shape)
    received = channel(bits, generator())
    assert received.dtype == torch.uint8
    assert torch.equal(received, bits)
    received = ProtectedChannel(Watched(torch.Tensor.float), code, protected_bits=protected)(bits, generator())
    assert torch.equal(received, bits.float())  # not uint8, which would be wrong with the inner channel's error rate


@by_code
def test_leading_dimensions_do_not_matter(code):
    channel = ProtectedChannel(BinarySymmetricChannel(0.1), code, protected_bits=[0, 2, 3], interleave=3)
    bits = payload(20, 6)
    received = channel(bits, generator(1))
    assert not torch.equal(received, bits)
    assert torch.equal(channel(bits[None], generator(1)), received[None])
    many = payload(2, 3, 20, 6)
    assert torch.equal(channel(many, generator(2)), channel(many.flatten(0, 1), generator(2)).view_as(many))


def test_each_clip_is_a_message_of_its_own():
    """The loss of all rows of one clip leaves the other without errors."""

    def harm(sent):
        received = sent.float()
        received[0] = 0.5
        return received

    bits = payload(2, 10, 5)
    received = ProtectedChannel(Watched(harm), ConvolutionalCode())(bits, generator())
    assert (received[0] == 0.5).all()
    assert torch.equal(received[1], bits[1].float())


@pytest.mark.parametrize(("code", "coded"), [(Repetition(3), 99), (Hamming74(), 63), (ConvolutionalCode(), 78)])
def test_channel_bits_count_what_is_sent(code, coded):
    channel = ProtectedChannel(Watched(), code, protected_bits=[4, 0, 2])
    assert channel.channel_bits(11, 8) == coded + 11 * 5
    assert channel.expansion(11, 8) == (coded + 55) / 88
    assert ProtectedChannel(Watched(), code).channel_bits(11, 3) == coded


class AllOnes(Repetition):
    """Sends ones, one more bit than the payload would need."""

    def coded_length(self, length):
        return self.times * length + 1

    def _encode(self, bits):
        return torch.ones(len(bits), self.coded_length(bits.shape[1]), dtype=torch.uint8)

    def _payload_llrs(self, llrs, length):
        return super()._payload_llrs(llrs[:, 1:], length)


@pytest.mark.parametrize("interleave", [1, 3, 50])
@pytest.mark.parametrize("frames", [1, 2, 7, 50])
def test_channel_sees_a_row_for_each_frame_and_as_many_bits_as_counted(frames, interleave):
    """Ones are sent alone in the places that are used: rows differ by one bit, their unprotected bits are their own."""
    inner = Watched()
    channel = ProtectedChannel(inner, AllOnes(2), protected_bits=[0, 1], interleave=interleave)
    channel(torch.ones(3, frames, 5, dtype=torch.uint8), generator())
    total = channel.channel_bits(frames, 5)
    assert total == 4 * frames + 1 + 3 * frames
    assert inner.sent.shape == (3, frames, -(-total // frames))
    used = inner.sent.sum(2)
    assert (used.sum(1) == total).all()
    assert used.max() - used.min() <= 1


def test_rows_hold_their_frame_in_order():
    inner = Watched()
    bits = payload(9, 6)
    ProtectedChannel(inner, Repetition(2), protected_bits=[5, 1])(bits, generator())
    expected = torch.cat([bits[:, [1, 5]].repeat_interleave(2, 1), bits[:, [0, 2, 3, 4]]], 1)
    assert torch.equal(inner.sent[0], expected)


@pytest.mark.parametrize(("coded", "frames"), [(1, 1), (12, 3), (100, 7), (101, 7), (2012, 50), (40, 40), (5, 8)])
@pytest.mark.parametrize("interleave", [1, 2, 3, 8, 64])
def test_interleaver_is_a_bijection_that_deals_bits_to_rows(coded, frames, interleave):
    places = coded_places(coded, frames, interleave=interleave)
    width = -(-coded // frames)
    assert len(set(places.tolist())) == coded
    assert places.min() >= 0
    assert places.max() < frames * width
    rows = places // width
    counts = rows.bincount(minlength=frames)
    assert counts.max() - counts.min() <= 1
    for row in range(frames):  # neighbours in a row are as far apart in the message as the block has rows
        block = row // interleave * interleave
        bits = (rows == row).nonzero()[:, 0]
        assert (bits.diff() == min(interleave, frames - block)).all()
        assert (places[bits].diff() == 1).all()


def test_without_interleaving_bits_travel_in_order():
    assert (coded_places(2012, 50, interleave=1).diff() >= 1).all()


@pytest.mark.parametrize(("interleave", "unknown"), [(1, True), (8, False)])
def test_interleaving_recovers_a_lost_row(interleave, unknown):
    """Eight steps in a row are more than the code bridges, every eighth bit is not."""
    bits = payload(80, 8)
    received = ProtectedChannel(lose_rows(20, 50), ConvolutionalCode(), interleave=interleave)(bits, generator())
    assert bool((received == 0.5).any()) == unknown
    assert torch.equal(received, bits.float()) != unknown


@pytest.mark.parametrize(("interleave", "recovered"), [(1, False), (80, True)])
def test_interleaving_corrects_a_burst_of_errors(interleave, recovered):
    def burst(sent):
        received = sent.clone()
        received.flatten()[300:330] ^= 1  # clone is contiguous, flatten a view
        return received

    bits = payload(80, 8)
    received = ProtectedChannel(Watched(burst), ConvolutionalCode(), interleave=interleave)(bits, generator())
    assert torch.equal(received > 0.5, bits.bool()) == recovered


def test_unequal_protection_helps_the_protected_bits_alone():
    bits, rate, protected = payload(20_000, 8), 0.05, [0, 3, 7]
    channel = ProtectedChannel(BinarySymmetricChannel(rate), ConvolutionalCode(), protected_bits=protected)
    wrong = (channel(bits, generator()) > 0.5) != bits
    assert wrong[:, protected].float().mean() < rate / 10
    bare = sorted(set(range(8)) - set(protected))
    assert binomtest(int(wrong[:, bare].sum()), wrong[:, bare].numel(), rate).pvalue > 1e-4


def test_frames_are_lost_as_without_protection():
    """A channel that draws once a frame sees the frames: its losses are those of the bare payload."""
    bits, inner = payload(2, 60, 6), FrameErasureChannel(0.2)
    bare = inner(bits, generator(3)) == 0.5
    received = ProtectedChannel(inner, Repetition(3), protected_bits=[0, 1])(bits, generator(3))
    assert received.dtype == torch.float32
    assert 0 < bare.sum() < bare.numel()
    assert torch.equal(received == 0.5, bare)
    assert torch.equal(received[~bare], bits[~bare].float())


def test_unprotected_bits_keep_their_probability():
    inner = Watched(lambda sent: 0.125 + 0.75 * sent.float())
    bits = payload(12, 4)
    received = ProtectedChannel(inner, Hamming74(), protected_bits=[1, 2])(bits, generator())
    assert torch.equal(received[:, [1, 2]] > 0.875, bits[:, [1, 2]].bool())
    assert ((received > 0) & (received < 1)).all()
    assert torch.equal(received[:, [0, 3]], 0.125 + 0.75 * bits[:, [0, 3]].float())


@pytest.mark.parametrize("rate", [0.1, 0.9])
def test_hard_decisions_weigh_as_their_error_rate_tells(rate):
    """Protected ones by the lead of the majority, unprotected ones alone; beyond one half they mean the opposite."""
    bits, inner = payload(40, 2), BinarySymmetricChannel(rate)
    received = ProtectedChannel(inner, Repetition(3), protected_bits=[0])(bits, generator())
    leads = torch.logit(received.double()).abs() / math.log(9)
    assert torch.allclose(leads, leads.round(), atol=1e-4)
    assert set(leads[:, 0].round().tolist()) == {1.0, 3.0}
    assert set(leads[:, 1].round().tolist()) == {1.0}
    assert ((received > 0.5) != bits).float().mean() < 0.2


def test_decisions_are_uncertain_whatever_the_draw():
    """No error in a few frames is no reason to call them certain."""
    bits = payload(3, 4)
    for channel in (
        BinarySymmetricChannel(1e-6), MixedChannel([BinarySymmetricChannel(1e-6)]),
        SelectedBitsChannel(BinarySymmetricChannel(1e-6), [0]),
    ):  # fmt: skip
        received = ProtectedChannel(channel, ConvolutionalCode(), protected_bits=[0, 2])(bits, generator())
        assert received.dtype == torch.float32
        assert torch.equal(received > 0.5, bits.bool())
        assert ((received > 0) & (received < 1)).all()


def test_protected_channels_nest():
    inner = ProtectedChannel(lose_rows(3), Hamming74(), interleave=9)
    bits = payload(9, 8)
    assert torch.equal(ProtectedChannel(inner, Repetition(3), interleave=9)(bits, generator()), bits.float())


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_nested_codes_trust_certain_bits(rate):
    inner = ProtectedChannel(BinarySymmetricChannel(rate), Hamming74(), protected_bits=[0, 1])
    for channel in (inner, MixedChannel([inner]), SelectedBitsChannel(inner, range(24))):
        bits = payload(9, 8)
        received = ProtectedChannel(channel, Repetition(3))(bits, generator())
        assert torch.equal(received, bits.to(received.dtype))
        assert received.dtype == (torch.uint8 if rate == 0 else torch.float32)


def test_nested_codes_keep_doubts():
    """The outer code weighs the posteriors of the inner one: fewer errors than with its decisions."""
    bits = payload(2000, 8)
    inner = ProtectedChannel(BinarySymmetricChannel(0.15), Hamming74())
    received = ProtectedChannel(inner, ConvolutionalCode(), interleave=50)(bits, generator())
    decided = Watched(lambda sent: (inner(sent, generator()) > 0.5).to(torch.uint8))
    by_decisions = ProtectedChannel(decided, ConvolutionalCode(), interleave=50)(bits, generator())
    wrong, wrong_by_decisions = (int(((ones > 0.5) != bits).sum()) for ones in (received, by_decisions))
    assert 0 < wrong < 0.8 * wrong_by_decisions


def test_delay_is_that_of_the_interleavers():
    bsc = BinarySymmetricChannel(0.1)
    shallow, deep = (ProtectedChannel(bsc, Hamming74(), interleave=depth) for depth in (4, 16))
    assert (bsc.delay_frames, ProtectedChannel(bsc, Repetition(3)).delay_frames) == (0, 0)
    assert (shallow.delay_frames, deep.delay_frames) == (7, 31)  # blocks of 7 may straddle frames
    assert ProtectedChannel(deep, Repetition(3), interleave=4).delay_frames == 37
    assert MixedChannel([bsc, deep, shallow]).delay_frames == 31
    assert SelectedBitsChannel(shallow, [0]).delay_frames == 7


@pytest.mark.parametrize("code", [Repetition(2), ConvolutionalCode()], ids=lambda code: code.name)
@pytest.mark.parametrize("interleave", [1, 2, 5, 16])
def test_delay_is_the_longest_wait_for_a_row(code, interleave):
    """Frame f comes at time f. A row leaves one step after another, once the frames of its coded bits are there."""
    frames, bits = 80, 16
    coded = code.coded_length(frames * bits)
    rows = coded_places(coded, frames, interleave=interleave) // -(-coded // frames)
    frame = (torch.arange(coded) // 2).clamp(max=frames * bits - 1) // bits  # whose payload bit a coded bit comes with
    sent, last = [], -1
    for row in range(frames):
        last = max(last + 1, int(frame[rows == row].max()), row)
        sent.append(last)
    start = int((torch.tensor(sent) - torch.arange(frames)).max())  # rows follow each other without a gap from there on
    arrival = torch.arange(frames) + start
    waits = arrival[rows] - frame
    channel = ProtectedChannel(BinarySymmetricChannel(0.0), code, interleave=interleave)
    assert int(waits.max()) == channel.delay_frames


def test_names_tell_settings_apart():
    bsc = BinarySymmetricChannel(0.01)
    channel = ProtectedChannel(bsc, ConvolutionalCode(), protected_bits=[3, 0], interleave=4)
    assert channel.name == "bsc-0.01+convolutional-133-171-bits0,3-interleave4"
    assert (channel.family, channel.error_rate) == ("bsc", 0.01)
    assert ProtectedChannel(bsc, Hamming74()).name == "bsc-0.01+hamming-7-4"
    assert ProtectedChannel(bsc, Hamming74()).curve == "bsc+hamming-7-4"
    settings = itertools.product(CODES, [None, [0], [1]], [1, 2])
    names = {ProtectedChannel(bsc, c, protected_bits=bits, interleave=d).name for c, bits, d in settings}
    assert len(names) == 18


def test_no_frames_stay_no_frames():
    bits = torch.zeros(2, 0, 8, dtype=torch.uint8)
    assert ProtectedChannel(BinarySymmetricChannel(0.5), Hamming74())(bits, generator()).shape == bits.shape


@pytest.mark.parametrize(("settings", "match"), [
    ({"interleave": 0}, "interleave 0"),
    ({"protected_bits": []}, r"protected_bits \[\]"),
    ({"protected_bits": [1, 2, 1]}, r"\[1, 2, 1\] must be different"),
    ({"protected_bits": [-1]}, r"\[-1\]"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        ProtectedChannel(BinarySymmetricChannel(0.0), Hamming74(), **settings)


def test_payload_that_does_not_fit_is_refused():
    channel = ProtectedChannel(BinarySymmetricChannel(0.0), Hamming74(), protected_bits=[8])
    for call in (lambda: channel(payload(3, 8), generator()), lambda: channel.channel_bits(3, 8)):
        with pytest.raises(ValueError, match="8 bits of a frame"):
            call()
    with pytest.raises(ValueError, match=r"shape \[5\]"):
        channel(payload(5), generator())


def reach(code, bits, frames=24):
    """Frames by which rows run ahead, from the encoder itself: a row waits for the payload bits that change it."""
    channel = Watched()
    protected = ProtectedChannel(channel, code, frame_bits=bits)
    zero, latest = payload(1, frames, bits) * 0, torch.zeros(frames, dtype=torch.long)
    protected(zero, generator())
    base = channel.sent
    for frame in range(frames):
        for bit in range(bits):
            one = zero.clone()
            one[0, frame, bit] = 1
            protected(one, generator())
            changed = (channel.sent != base).any(-1)[0]
            latest[changed] = latest[changed].clamp_min(frame)
    return int((latest - torch.arange(frames)).max()), protected.delay_frames


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 16])
def test_rows_run_ahead_of_frames_by_the_whole_tail(bits):
    """A tail of six steps is spread over rows that hold few bits each: the row of a frame has those of later ones."""
    ahead, stated = reach(ConvolutionalCode(), bits)
    assert ahead <= stated == -(-6 // bits)
    assert stated - ahead <= 1


@pytest.mark.parametrize(("bits", "delay"), [(1, 6), (2, 2), (3, 2), (4, 0), (8, 0), (16, 0), (5, 2)])
def test_a_hamming_block_waits_for_the_frames_that_it_spans(bits, delay):
    assert ProtectedChannel(Watched(), Hamming74(), frame_bits=bits).delay_frames == delay


def test_a_tail_is_not_charged_as_padding_in_every_row():
    """12 bits of termination in 12 of 250 rows of 32 bits: under QPSK and 16-QAM only those rows are padded."""
    for modulation, expected in ((BPSK(), 8012), (QPSK(), 8024), (QAM16(), 8048)):
        radio = FadingChannel(5.0, modulation=modulation)
        assert ProtectedChannel(radio, ConvolutionalCode()).channel_bits(250, 16) == expected
    for wrapped in (MixedChannel([Watched(), Watched()]), Watched().with_known_error_rate()):
        assert ProtectedChannel(wrapped, ConvolutionalCode()).channel_bits(250, 16) == 8012
