"""Truncated frames: the first bits alone are sent, counted and decoded; nested FSQ decodes them alone."""

import pytest
import torch

from codec import BSQ, FSQ, RVQ, BinarySymmetricChannel, EMACodebook, Link, PosteriorMean, ResidualFSQ, TruncatedChannel
from codec.channels import FrameErasureChannel, MixedChannel, ProtectedChannel, Repetition, SelectedBitsChannel


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def random_bits(*shape: int) -> torch.Tensor:
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_the_first_bits_arrive_and_the_others_are_lost():
    bits = random_bits(2, 50, 16)
    received = TruncatedChannel(5)(bits, generator())
    assert torch.equal(received[..., :5], bits[..., :5].float())
    assert (received[..., 5:] == 0.5).all()
    lost = SelectedBitsChannel(FrameErasureChannel(1.0), list(range(5, 16)))(bits, generator())
    assert torch.equal(received, lost)
    assert torch.equal(TruncatedChannel(16)(bits, generator()), bits.float())


def test_only_what_is_sent_counts():
    channel = TruncatedChannel(5, ProtectedChannel(BinarySymmetricChannel(0.1), Repetition(3)))
    assert channel.channel_bits(40, 16) == 40 * 5 * 3
    assert TruncatedChannel(5).channel_bits(40, 16) == 200


def test_errors_on_the_way_are_those_of_the_channel_alone():
    bits, inner = random_bits(2, 50, 16), BinarySymmetricChannel(0.1)
    received = TruncatedChannel(8, inner)(bits, generator())
    expected = inner(bits[..., :8], generator())
    assert torch.equal(received[..., :8] > 0.5, expected.bool())
    assert received[..., :8].unique().tolist() == pytest.approx([0.1, 0.9])
    known = TruncatedChannel(8, inner).with_known_error_rate()
    assert torch.equal(known(bits, generator()), received)
    channel = TruncatedChannel(8, inner)
    assert (channel.family, channel.error_rate, channel.name) == ("bsc", 0.1, "bsc-0.1-first8")
    assert channel.curve == "bsc-first8"


def test_impossible_lengths_are_refused():
    with pytest.raises(ValueError, match="first_bits 0 must be at least 1"):
        TruncatedChannel(0)
    with pytest.raises(ValueError, match="first_bits 17 must be at most the 16 bits"):
        TruncatedChannel(17)(random_bits(1, 16), generator())
    with pytest.raises(ValueError, match="first_bits 17 must be at most the 16 bits"):
        TruncatedChannel(17).channel_bits(1, 16)


@pytest.mark.parametrize("concealment", [None, PosteriorMean()])
def test_nested_fsq_decodes_the_first_half_of_a_frame_as_its_first_stage(concealment):
    torch.manual_seed(0)
    quantizer = ResidualFSQ(16, [2] * 8, stages=2).eval()
    codes = quantizer(2 * torch.randn(2, 16, 40)).codes
    connection = Link(concealment=concealment).connect(quantizer)
    latents = connection.transmit(codes, TruncatedChannel(8), generator())
    torch.testing.assert_close(latents, quantizer.decode(codes[:, :1]), atol=1e-6, rtol=1e-5)


def test_any_prefix_of_nested_fsq_is_the_mean_of_what_may_follow():
    """At every length, the posterior mean is the average over all codes that begin with the bits received."""
    torch.manual_seed(0)
    quantizer = ResidualFSQ(6, [2] * 3, stages=2).eval()
    codes = quantizer(2 * torch.randn(1, 6, 20)).codes
    connection = Link(concealment=PosteriorMean()).connect(quantizer)
    every = torch.cartesian_prod(torch.arange(8), torch.arange(8)).T[None]  # [1, 2, 64]
    words, values = connection.send(every)[0], quantizer.decode(every)[0]  # [64, 6], [D, 64]
    for first in range(1, 7):
        latents = connection.transmit(codes, TruncatedChannel(first), generator())[0]
        for frame, word in enumerate(connection.send(codes)[0]):
            begins = (words[:, :first] == word[:first]).all(1)
            assert begins.sum() == 2 ** (6 - first)
            torch.testing.assert_close(latents[:, frame], values[:, begins].mean(1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("make", [
    lambda: FSQ(8, (4,) * 4), lambda: BSQ(8, bits=8), lambda: RVQ(8, [EMACodebook(16, 4), EMACodebook(16, 4)]),
], ids=["fsq", "bsq", "rvq"])  # fmt: skip
def test_latents_come_closer_with_every_half_of_the_bits(make):
    """Of equally likely codes, of which the posterior mean is the mean."""
    torch.manual_seed(0)
    quantizer = make().eval()
    codes = torch.stack([torch.randint(size, (4, 500)) for size in quantizer.codebook_sizes], 1)
    connection = Link(concealment=PosteriorMean()).connect(quantizer)
    whole = quantizer.decode(codes)
    errors = [
        (connection.transmit(codes, TruncatedChannel(first), generator()) - whole).square().mean().item()
        for first in (2, 4, 6, 8)
    ]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] == pytest.approx(0, abs=1e-9)


def test_a_mixture_of_lengths_trains_for_all_of_them():
    bits = random_bits(400, 3, 16)
    received = MixedChannel([TruncatedChannel(4), TruncatedChannel(12), BinarySymmetricChannel(0.0)])(bits, generator())
    lengths = (received != 0.5).sum(-1)[:, 0]
    assert sorted(lengths.unique().tolist()) == [4, 12, 16]
    for length in (4, 12, 16):
        assert (lengths == length).float().mean().item() == pytest.approx(1 / 3, abs=0.1)


def test_what_the_channel_loses_is_stated():
    truncated = TruncatedChannel(8, FrameErasureChannel(0.2))
    assert (truncated.error_rate, truncated.lost_share) == (0.2, 0.2)
