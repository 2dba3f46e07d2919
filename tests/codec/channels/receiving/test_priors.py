"""Measured priors: counts, files, and posteriors of a Markov chain against sums over all sequences."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from codec import (
    FSQ,
    RVQ,
    AWGNChannel,
    BinarySymmetricChannel,
    CodePrior,
    FrameErasureChannel,
    LearnedCodebook,
    Link,
    MeanLatent,
    PermutedMap,
    PosteriorMean,
    ResidualFSQ,
    UnreadableFile,
)
from codec.channels import CodeCounts
from codec.channels.receiving.priors import chain_posteriors


def slow_codes(quantizer, frames=20_000, stay=0.9, seed=0):
    """Codes of which each digit keeps its value with probability `stay`, and seldom has value 0."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.zeros(1, len(quantizer.digits), frames, dtype=torch.long)
    for k, sizes in enumerate(quantizer.digits):
        place = 1
        for size in sizes:
            fresh = (torch.rand(frames, generator=generator).sqrt() * size).long()
            last = torch.where(torch.rand(frames, generator=generator) < stay, 0, torch.arange(frames)).cummax(0).values
            codes[0, k] += place * fresh[last]
            place *= size
    return codes


def prior_of(quantizer, codes, folder):
    counts = CodeCounts(quantizer.digits)
    counts.add(codes)
    counts.save(folder / "prior.npz")
    return CodePrior(folder / "prior.npz")


QUANTIZERS = {
    "fsq": lambda: FSQ(6, (4, 2, 2)),
    "rvq": lambda: RVQ(6, [LearnedCodebook(8, 4), LearnedCodebook(16, 4)]).eval(),
    "residual": lambda: ResidualFSQ(6, (4, 2), stages=2),
}
each_quantizer = pytest.mark.parametrize("make", QUANTIZERS.values(), ids=QUANTIZERS)


@each_quantizer
def test_counts_are_those_of_a_plain_loop_and_survive_the_file(make, tmp_path):
    quantizer = make()
    codes = torch.cat([slow_codes(quantizer, 300, seed=seed) for seed in range(2)])  # [2, K, F]
    prior = prior_of(quantizer, codes, tmp_path)
    for k, sizes in enumerate(quantizer.digits):
        place = 1
        for i, size in enumerate(sizes):
            digits = (codes[:, k] // place % size).tolist()
            values, pairs = np.zeros(size), np.zeros((size, size))
            for clip in digits:
                for value in clip:
                    values[value] += 1
                for before, after in pairwise(clip):  # not from one clip to the next
                    pairs[before, after] += 1
            histogram = (values + 1) / (values.sum() + size)
            np.testing.assert_allclose(prior.histograms[k][i], histogram, rtol=1e-6)
            chain = (pairs + size**0.5 * histogram) / (pairs.sum(1, keepdims=True) + size**0.5)
            np.testing.assert_allclose(prior.transitions[k][i], chain, rtol=1e-6)
            place *= size


def test_counts_of_parts_add_up():
    quantizer = FSQ(6, (4, 3))
    parts, whole = [CodeCounts(quantizer.digits) for _ in range(2)], CodeCounts(quantizer.digits)
    for part, seed in zip(parts, range(2), strict=True):
        codes = slow_codes(quantizer, 50, seed=seed)
        part.add(codes)
        whole.add(codes)
    parts[0].merge(parts[1])
    assert all(torch.equal(a, b) for a, b in zip(parts[0].values[0], whole.values[0], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(parts[0].pairs[0], whole.pairs[0], strict=True))


def test_chain_posteriors_are_bayes():
    """Against the sum over all sequences of a short clip, for each look-ahead."""
    torch.manual_seed(0)
    frames, size = 5, 3
    likelihoods = torch.rand(2, 2, frames, size, dtype=torch.float64)
    histograms, chains = torch.rand(2, size).softmax(1), torch.rand(2, size, size).mul(3).softmax(2)
    for lookahead in (0, 1, 2, None):
        found = chain_posteriors(likelihoods, histograms, chains, lookahead)
        for clip, digit in product(range(2), range(2)):
            histogram, chain = histograms[digit], chains[digit]
            for frame in range(frames):
                end = frames if lookahead is None else min(frames, frame + lookahead + 1)
                mass = np.zeros(size)
                for sequence in product(range(size), repeat=end):
                    p = float(histogram[sequence[0]])
                    for before, after in pairwise(sequence):
                        p *= float(chain[before, after])
                    for f, value in enumerate(sequence):
                        p *= float(likelihoods[clip, digit, f, value])
                    mass[sequence[frame]] += p
                np.testing.assert_allclose(found[clip, digit, frame], mass / mass.sum(), rtol=1e-5)


def test_bits_that_rule_out_every_value_are_no_nan():
    likelihoods = torch.tensor([[[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]]])
    never = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # the value never changes, which the bits contradict
    found = chain_posteriors(likelihoods, torch.tensor([[0.5, 0.5]]), never, None)
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 1, 3, dtype=torch.float64))


@each_quantizer
def test_a_prior_lowers_the_latent_error_behind_noise_and_losses(make, tmp_path):
    quantizer = make()
    prior = prior_of(quantizer, slow_codes(quantizer), tmp_path)
    codes = slow_codes(quantizer, 3000, seed=1)
    sent = quantizer.decode(codes)
    links = {
        "equal": Link(concealment=PosteriorMean()),
        "live": Link(concealment=PosteriorMean(lookahead=0), prior=prior),
        "two ahead": Link(concealment=PosteriorMean(lookahead=2), prior=prior),
        "chain": Link(concealment=PosteriorMean(), prior=prior),
    }
    for channel in (AWGNChannel(-3.0, soft=True), FrameErasureChannel(0.3)):
        errors = {}
        for name, link in links.items():
            connection = link.connect(quantizer)
            received = channel(connection.send(codes), torch.Generator().manual_seed(0))
            latents = connection.latents(connection.receive(received))
            errors[name] = (latents - sent).square().mean().item()
        assert errors["chain"] < errors["two ahead"] < errors["live"] < 0.95 * errors["equal"]
    assert links["two ahead"].connect(quantizer).delay_frames == 2
    assert links["live"].connect(quantizer).delay_frames == 0


def test_the_mean_of_a_lost_frame_is_the_measured_one(tmp_path):
    quantizer = FSQ(6, (4, 3, 2))
    codes = slow_codes(quantizer)
    prior = prior_of(quantizer, codes, tmp_path)
    connection = Link(concealment=MeanLatent(), prior=prior).connect(quantizer)
    lost = connection.receive(torch.full((1, 1, connection.bits_per_frame), 0.5))
    measured = quantizer.decode(codes).mean(-1)
    torch.testing.assert_close(connection.latents(lost)[..., 0], measured, atol=2e-3, rtol=0)
    equal = Link(concealment=MeanLatent()).connect(quantizer)
    assert (equal.latents(lost)[..., 0] - measured).abs().max() > 0.02


def test_a_map_that_mixes_digits_uses_the_histograms(tmp_path):
    quantizer = FSQ(6, (4, 4, 4))
    prior = prior_of(quantizer, slow_codes(quantizer), tmp_path)
    codes = slow_codes(quantizer, 2000, seed=1)
    errors = []
    for used in (None, prior):
        connection = Link(PermutedMap(), PosteriorMean(), prior=used).connect(quantizer)
        received = AWGNChannel(-3.0, soft=True)(connection.send(codes), torch.Generator().manual_seed(0))
        latents = connection.latents(connection.receive(received))
        errors.append((latents - quantizer.decode(codes)).square().mean().item())
    assert errors[1] < 0.95 * errors[0]


def test_priors_that_do_not_fit_or_do_not_exist_are_refused(tmp_path):
    quantizer = FSQ(6, (4, 3, 2))
    prior = prior_of(quantizer, slow_codes(quantizer, 50), tmp_path)
    with pytest.raises(ValueError, match=r"digits \[4, 3, 2\], the codec's are \[4, 4\]"):
        Link(prior=prior).connect(FSQ(6, (4, 4)))
    with pytest.raises(UnreadableFile, match="There is no prior"):
        CodePrior(tmp_path / "none.npz")
    for content in (b"", b"PK\x03\x04 broken", b"no archive", (tmp_path / "prior.npz").read_bytes()[:200]):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(UnreadableFile, match="is damaged or no prior"):
            CodePrior(tmp_path / "broken.npz")
    with pytest.raises(ValueError, match="lookahead -1"):
        PosteriorMean(lookahead=-1)
    with pytest.raises(ValueError, match="4097"):
        CodeCounts([(4097,)])


@each_quantizer
def test_a_known_error_rate_lets_the_prior_correct_flips(make, tmp_path):
    quantizer = make()
    prior = prior_of(quantizer, slow_codes(quantizer), tmp_path)
    codes = slow_codes(quantizer, 3000, seed=1)
    sent, errors = quantizer.decode(codes), []
    for known in (False, True):
        connection = Link(concealment=PosteriorMean(), prior=prior, known_error_rate=known).connect(quantizer)
        channel = connection.protect(BinarySymmetricChannel(0.1))
        assert (channel.name, channel.channel_bits(10, 16)) == ("bsc-0.1", 160)
        received = channel(connection.send(codes), torch.Generator().manual_seed(0))
        assert received.unique().tolist() == (pytest.approx([0.1, 0.9]) if known else [0, 1])
        errors.append((connection.latents(connection.receive(received)) - sent).square().mean().item())
    assert errors[1] < 0.6 * errors[0]
    clean = Link(known_error_rate=True).connect(quantizer).protect(BinarySymmetricChannel(0.0))
    bits = torch.randint(2, (1, 5, 8), dtype=torch.uint8)
    assert torch.equal(clean(bits, torch.Generator()), bits)


@pytest.mark.parametrize("change", [
    {"values_0_0": np.array([-1, 3, 3, 3])}, {"values_0_0": np.array([0.25, 0.25, 0.25, 0.25])},
    {"values_0_0": np.array([7])}, {"pairs_0_0": np.ones(4, dtype=int)}, {"digits": np.array([[4.0, 2.0, 2.0]])},
    {"values_0_0": np.full(4, 2**63, dtype=np.uint64)}, {"digits": np.array([4, 2, 2])},
])  # fmt: skip
def test_counts_that_there_cannot_be_are_refused(tmp_path, change):
    quantizer = FSQ(6, (4, 2, 2))
    prior_of(quantizer, slow_codes(quantizer, 50), tmp_path)
    with np.load(tmp_path / "prior.npz") as stored:
        arrays = dict(stored)
    np.savez(tmp_path / "wrong.npz", **(arrays | change))
    with pytest.raises(UnreadableFile, match="is damaged or no prior"):
        CodePrior(tmp_path / "wrong.npz")
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(UnreadableFile, match="is damaged or no prior"):
        CodePrior(tmp_path / "array.npy")


def test_looking_ahead_needs_a_prior(tmp_path):
    quantizer = FSQ(6, (4, 2, 2))
    with pytest.raises(ValueError, match="lookahead 3 needs a prior"):
        Link(concealment=PosteriorMean(lookahead=3)).connect(quantizer)
    prior = prior_of(quantizer, slow_codes(quantizer, 50), tmp_path)
    mixed = Link(PermutedMap(), PosteriorMean(lookahead=3), prior=prior).connect(quantizer)
    assert mixed.delay_frames == 0  # its digits have no chains
