"""Entropy-coded codes through a channel: exact without errors, counted as sent, damaged inside packets alone."""

import pytest
import torch
from torch import Tensor

from codec.channels import (
    BinarySymmetricChannel,
    CodePrior,
    ConvolutionalCode,
    EntropyCode,
    EntropyCodedChannel,
    GrayMap,
    InsertionDeletionChannel,
    Link,
    Markers,
    PacketLossChannel,
)
from codec.channels.base import Channel
from codec.channels.entropy_coding.channel import received_codes
from codec.errors import InvalidValue
from codec.quantizers import FSQ, RVQ, LearnedCodebook

pytest.importorskip("constriction")
PRIOR = CodePrior("small_fsq")
QUANTIZER = FSQ(8, [4] * 8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def likely_codes(frames: int, seed: int = 0) -> Tensor:
    """Codes `[1, 1, F]` drawn from the prior's chain, so that coding shortens them."""
    digits = []
    for i, (histogram, rows) in enumerate(zip(PRIOR.histograms[0], PRIOR.transitions[0], strict=True)):
        draws, chain = generator(100 * seed + i), []
        for _ in range(frames):
            chances = rows[chain[-1]] if chain else histogram
            chain.append(int(torch.multinomial(chances, 1, generator=draws)))
        digits.append(torch.tensor(chain) * 4**i)
    return torch.stack(digits).sum(0)[None, None]


class Flip(Channel):
    """Flips one bit, counted over all rows; remembers what was sent."""

    family, name, error_rate = "flip", "flip", 0.0

    def __init__(self, row: int, lost: bool = False) -> None:
        self.row, self.lost, self.sent = row, lost, torch.zeros(0)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        self.sent = bits
        if self.lost:
            received = bits.float()
            received[self.row, 0] = 0.5
            return received
        received = bits.clone()
        received[self.row, 0] ^= 1
        return received


@pytest.mark.parametrize("packet_frames", [None, 1, 5, 50])
@pytest.mark.parametrize("prior", [None, PRIOR])
def test_without_errors_every_code_arrives(packet_frames, prior):
    connection = Link(entropy_code=EntropyCode(packet_frames, prior=prior)).connect(QUANTIZER)
    codes = likely_codes(61)
    sent = connection.send(codes)
    channel = connection.protect(BinarySymmetricChannel(0.0))
    assert isinstance(channel, EntropyCodedChannel)
    received = channel(sent, generator())
    assert torch.equal(received, sent) and received.dtype == torch.uint8
    assert torch.equal(connection.carry(codes, BinarySymmetricChannel(0.0), generator()).codes, codes)


def test_several_codebooks_other_codewords_and_clips_at_once():
    connection = Link(entropy_code=EntropyCode(7), index_map=GrayMap()).connect(QUANTIZER)
    codes = torch.cat([likely_codes(20), likely_codes(20, 1)])
    sent = connection.send(codes)
    assert torch.equal(connection.protect(BinarySymmetricChannel(0.0))(sent, generator()), sent)
    rvq = Link(entropy_code=EntropyCode(7)).connect(RVQ(4, [LearnedCodebook(16) for _ in range(3)]))
    codes = torch.randint(0, 16, (2, 3, 30), generator=generator())
    assert torch.equal(rvq.carry(codes, BinarySymmetricChannel(0.0), generator()).codes, codes)


@pytest.mark.parametrize("packet_frames", [None, 10])
def test_the_bits_that_are_counted_are_those_that_are_sent(packet_frames):
    connection = Link(entropy_code=EntropyCode(packet_frames, prior=PRIOR)).connect(QUANTIZER)
    bits = connection.send(likely_codes(95))[0]
    channel = connection.protect(BinarySymmetricChannel(0.0))
    coder = connection.packet_coder
    packets = coder.packets(connection.receive(bits[None]).codes[0].numpy())
    count = sum(len(packet.bits) + coder.header_bits(packet) for packet in packets)
    assert channel.sent_bits(bits) == count < 95 * 16 * 0.95
    assert BinarySymmetricChannel(0.0).sent_bits(bits) == 95 * 16
    with pytest.raises(InvalidValue, match="sent_bits"):
        channel.channel_bits(95, 16)
    marked = connection.protect(InsertionDeletionChannel(0.0, 0.0, markers=Markers([0, 1], spacing=8)))
    assert marked.sent_bits(bits) > 1.2 * (count - sum(map(coder.header_bits, packets)))


def test_a_flip_damages_what_follows_in_its_packet_alone():
    connection = Link(entropy_code=EntropyCode(10, prior=PRIOR)).connect(QUANTIZER)
    codes = likely_codes(60)
    wrong = []
    for row in range(0, 60, 3):
        received = connection.carry(codes, Flip(row), generator())
        damaged = (received.codes != codes)[0, 0] | received.erased[0, 0]
        places = damaged.nonzero().flatten()
        assert len(places) and places.min() >= row // 10 * 10 and places.max() < row // 10 * 10 + 10
        wrong.append(len(places))
    assert sum(wrong) / len(wrong) > 2
    stream = Link(entropy_code=EntropyCode(prior=PRIOR)).connect(QUANTIZER)
    found = stream.carry(codes, Flip(5), generator())
    assert ((found.codes != codes) | found.erased).sum() > 40
    assert torch.equal(found.codes[..., :4], codes[..., :4])


def test_lost_bits_cost_the_frames_that_they_could_change():
    connection = Link(entropy_code=EntropyCode(10, prior=PRIOR)).connect(QUANTIZER)
    codes = likely_codes(40)
    received = connection.carry(codes, Flip(16, lost=True), generator())
    lost = received.erased[0, 0]
    assert lost[17:20].all() and not lost[:14].any() and not lost[20:].any()
    assert torch.equal(received.codes[~received.erased], codes[~received.erased])
    nothing = connection.carry(codes, PacketLossChannel(1.0, 1), generator())
    assert nothing.erased.all()


def test_what_a_lost_bit_cannot_change_is_kept_to_the_frame():
    coder = EntropyCode(prior=PRIOR).fitted(QUANTIZER)
    codes = likely_codes(30)[0].numpy()
    (packet,) = coder.packets(codes)
    kept = []
    for first in range(0, len(packet.bits), 17):
        lost = torch.zeros(len(packet.bits), dtype=torch.bool).numpy()
        lost[first] = True
        found = received_codes(coder, packet, lost)
        assert (found == codes[:, : found.shape[1]]).all()
        kept.append(found.shape[1])
    assert kept == sorted(kept) and kept[0] == 0 and 25 <= kept[-1] < 30


def test_a_link_has_error_correction_or_entropy_coding():
    with pytest.raises(InvalidValue, match="do not go together"):
        Link(code=ConvolutionalCode(), entropy_code=EntropyCode()).connect(QUANTIZER)


def test_the_delay_is_that_of_a_packet():
    for packet_frames, frames in ((None, 0), (50, 49)):
        connection = Link(entropy_code=EntropyCode(packet_frames)).connect(QUANTIZER)
        channel = connection.protect(BinarySymmetricChannel(0.1))
        assert channel.delay_frames == frames
        assert channel.curve.startswith("bsc+arithmetic") and channel.error_rate == 0.1
    empty = torch.zeros(0, 16, dtype=torch.uint8)
    assert channel(empty, generator()).shape == (0, 16)
