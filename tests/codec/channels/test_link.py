"""From codes to bits to latents: index maps, what a receiver knows, concealment, soft decisions."""

from itertools import chain, permutations

import pytest
import torch

from codec import (
    FSQ,
    RVQ,
    BinarySwitchingMap,
    CodePrior,
    GrayMap,
    Hamming74,
    InterpolatedLatent,
    LearnedCodebook,
    Link,
    MeanLatent,
    NaturalMap,
    PermutedMap,
    PosteriorMean,
    ProtectedChannel,
    RepeatLast,
    Repetition,
    ResidualFSQ,
    ZeroLatent,
)
from codec.channels import AWGNChannel, BinarySymmetricChannel, CodeCounts
from codec.channels.index_maps import binary_switching
from codec.channels.link import Connection, bit_displacements
from codec.quantizers.base import joint_probabilities

MAPS = [NaturalMap(), GrayMap(), PermutedMap(), PermutedMap(3)]
BLOCKS = [PermutedMap(1, width=2), PermutedMap(width=1)]


def fsq(levels=(4, 4, 4)):
    torch.manual_seed(0)
    return FSQ(6, levels)


def rvq(size=16):
    torch.manual_seed(0)
    return RVQ(6, [LearnedCodebook(size, 4), LearnedCodebook(size, 4)]).eval()


def random_codes(quantizer, frames=40, batch=2):
    return torch.stack([torch.randint(size, (batch, frames)) for size in quantizer.codebook_sizes], 1)


@pytest.mark.parametrize("quantizer", [fsq(), rvq()])
@pytest.mark.parametrize("index_map", [*MAPS, *BLOCKS, BinarySwitchingMap()])
def test_every_map_is_a_bijection_that_brings_codes_back(quantizer, index_map):
    for k, size in enumerate(quantizer.codebook_sizes):
        assert sorted(index_map.codeword_table(quantizer, k).tolist()) == list(range(size))
    connection, codes = Connection(Link(index_map=index_map), quantizer), random_codes(quantizer)
    bits = connection.send(codes)
    assert bits.shape == (2, 40, connection.bits_per_frame) and bits.dtype == torch.uint8
    reception = connection.receive(bits)
    assert torch.equal(reception.codes, codes) and not reception.erased.any()


def test_maps_leave_codewords_without_a_code_as_erasures():
    quantizer = fsq((5, 5, 5))  # 125 of 128 codewords
    for index_map in (NaturalMap(), PermutedMap()):
        connection = Connection(Link(index_map=index_map), quantizer)
        everything = torch.tensor([[int(b) for b in f"{number:07b}"] for number in range(128)], dtype=torch.uint8)
        reception = connection.receive(everything[None])
        assert int(reception.erased.sum()) == 3
        assert sorted(reception.codes[~reception.erased].tolist()) == list(range(125))


def test_gray_neighbours_differ_in_one_bit_and_natural_ones_do_not():
    quantizer = fsq((4, 8, 2))

    def flips_between_neighbours(index_map):
        connection, found = Connection(Link(index_map=index_map), quantizer), set()
        for dimension, size in enumerate((4, 8, 2)):
            levels = torch.zeros(1, 3, size, dtype=torch.long)
            levels[:, dimension] = torch.arange(size)
            bits = connection.send(quantizer.levels_to_codes(levels))[0]  # [size, n]
            found |= set((bits[1:] != bits[:-1]).sum(1).tolist())
        return found

    assert flips_between_neighbours(GrayMap()) == {1}
    assert max(flips_between_neighbours(NaturalMap())) == 3


def test_gray_needs_powers_of_two():
    with pytest.raises(ValueError, match="power of two"):
        Connection(Link(index_map=GrayMap()), fsq((5, 4)))
    with pytest.raises(ValueError, match="too large"):
        Connection(Link(index_map=PermutedMap()), FSQ(16, (8,) * 8))


def test_squared_error_of_one_flip_is_the_known_one():
    """Four uniform levels: 2.5 natural, 3.0 Gray; eight: 7.0 and 9.0, in steps squared (closed form)."""
    for size, expected in ((4, {NaturalMap: 2.5, GrayMap: 3.0}), (8, {NaturalMap: 7.0, GrayMap: 9.0})):
        quantizer = FSQ(1, (size,))
        codes = torch.arange(size)[None, None]
        spread = (torch.arange(size).double().var(correction=0)).item()
        for kind, error in expected.items():
            moved = bit_displacements(Connection(Link(index_map=kind()), quantizer), codes)
            assert moved.mean().item() * spread == pytest.approx(error)


def single_flip_cost(codewords, distances, bits):
    """Σᵢ Σⱼ d(i, j) over codes whose codewords differ in one bit, by brute force."""
    code_at = {int(codeword): code for code, codeword in enumerate(codewords)}
    return sum(
        float(distances[code, code_at[int(codeword) ^ (1 << bit)]])
        for code, codeword in enumerate(codewords)
        for bit in range(bits)
    )


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6])
def test_a_permutation_in_blocks_keeps_a_flip_inside_its_block(width):
    quantizer = FSQ(6, (4,) * 6)  # 12 bits
    connection = Connection(Link(index_map=PermutedMap(5, width=width)), quantizer)
    assert connection.index_map.name == f"permuted in {width} bits-5"
    codes = random_codes(quantizer, 500)
    bits = connection.send(codes)
    for bit in range(12):
        flipped = bits.clone()
        flipped[..., bit] ^= 1
        changed = connection.receive(flipped).codes ^ codes  # natural bits that change
        block = (11 - bit) // width
        outside = changed & ~((2**width - 1) << block * width)
        assert not outside.any() and (changed != 0).all()
    tables = {tuple(PermutedMap(seed, width=width).codewords(quantizer, 0).tolist()) for seed in range(4)}
    assert len(tables) == (4 if width > 2 else len(tables))
    table = PermutedMap(5, width=width).codewords(quantizer, 0)
    blocks = {tuple((table[torch.arange(2**width) << s] ^ table[0]).tolist()) for s in range(0, 12, width)}
    assert width < 3 or len(blocks) == 12 // width  # each block has a permutation of its own


def test_blocks_that_do_not_fit_are_refused():
    for quantizer, width in ((fsq(), 4), (fsq((5, 5, 5)), 1)):
        with pytest.raises(ValueError, match=f"width {width} must divide"):
            Connection(Link(index_map=PermutedMap(width=width)), quantizer)
    with pytest.raises(ValueError, match="width 0"):
        PermutedMap(width=0)


@pytest.mark.parametrize(("index_map", "separate"), [
    (NaturalMap(), True), (GrayMap(), True), (PermutedMap(2, width=2), True), (PermutedMap(2, width=1), True),
    (BinarySwitchingMap(), True), (PermutedMap(2, width=4), False), (PermutedMap(2), False),
])  # fmt: skip
def test_digits_that_keep_their_bits_apart_have_likelihoods(index_map, separate):
    """Their product over digits is that of the whole codeword, for every code."""
    quantizer = FSQ(6, (4, 4, 4, 4))
    connection = Connection(Link(index_map=index_map), quantizer)
    bits = torch.rand(2, 3, 8)
    digits = connection.digit_likelihoods(bits)
    if not separate:
        assert digits is None
        return
    joint = joint_probabilities(digits[0])
    expected = connection.code_probabilities(bits)[0].double()
    torch.testing.assert_close(joint / joint.sum(-1, keepdim=True), expected, atol=1e-6, rtol=1e-5)
    groups = connection.bit_groups()
    assert sorted(chain.from_iterable(groups.values())) == list(range(8)) and groups["dimension 0"] == [6, 7]


def test_natural_order_is_the_optimum_of_equally_likely_levels():
    quantizer = fsq((4, 4, 8))
    assert torch.equal(BinarySwitchingMap().codewords(quantizer, 0), torch.arange(128))


def test_a_prior_moves_binary_switching(tmp_path):
    """Levels 0 and 3 alone: the optimum puts their codewords one flip of a harmless kind apart from the seldom ones."""
    quantizer = FSQ(2, (4, 4))
    counts = CodeCounts(quantizer.digits)
    levels = torch.where(torch.rand(1, 2, 2000) < 0.5, 1, 2)
    counts.add(quantizer.levels_to_codes(levels))
    counts.save(tmp_path / "prior.npz")
    prior = CodePrior(tmp_path / "prior.npz")
    found = BinarySwitchingMap(prior=prior).codewords(quantizer, 0)[:4] & 3
    weights = prior.histograms[0][0].double()
    distances = (torch.arange(4)[:, None] - torch.arange(4)).square() * (weights[:, None] + weights)
    costs = {order: single_flip_cost(torch.tensor(order), distances, 2) for order in permutations(range(4))}
    assert costs[tuple(found.tolist())] == pytest.approx(min(costs.values()))
    assert costs[0, 1, 2, 3] > 1.05 * min(costs.values())


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_binary_switching_ends_where_no_exchange_helps(bits):
    generator = torch.Generator().manual_seed(bits)
    entries = torch.randn(2**bits, 4, generator=generator, dtype=torch.float64)
    distances = torch.cdist(entries, entries).square()
    codewords = binary_switching(distances, bits)
    assert sorted(codewords.tolist()) == list(range(2**bits))
    cost = single_flip_cost(codewords, distances, bits)
    assert cost < single_flip_cost(torch.arange(2**bits), distances, bits)
    for a in range(2**bits):
        for b in range(a):
            other = codewords.clone()
            other[[a, b]] = codewords[[b, a]]
            assert single_flip_cost(other, distances, bits) >= cost - 1e-9


def test_binary_switching_finds_gray_order_on_a_line():
    """Points on a circle: the optimum is a Gray cycle, in which circle neighbours are one flip apart."""
    angle = torch.arange(8, dtype=torch.float64) * torch.pi / 4
    ring = torch.stack((angle.cos(), angle.sin()), 1)
    codewords = binary_switching(torch.cdist(ring, ring).square(), 3)
    gray = single_flip_cost(torch.arange(8) ^ (torch.arange(8) >> 1), torch.cdist(ring, ring).square(), 3)
    assert single_flip_cost(codewords, torch.cdist(ring, ring).square(), 3) <= gray + 1e-9


def test_binary_switching_lowers_the_displacement_of_a_learned_codebook():
    quantizer = rvq(64)
    natural, switched = (bit_displacements(Connection(Link(index_map=m), quantizer)).mean() for m in
                         (NaturalMap(), BinarySwitchingMap()))  # fmt: skip
    assert switched < 0.85 * natural


def test_entries_are_what_a_code_adds():
    quantizer = rvq()
    codes = random_codes(quantizer)
    parts = [quantizer.entry_latents(torch.arange(16), k).double()[codes[:, k]] for k in range(2)]
    constant = quantizer.decode(codes, torch.ones_like(codes, dtype=torch.bool)).double()  # the projections' biases
    torch.testing.assert_close(
        (parts[0] + parts[1]).transpose(1, 2) - constant, quantizer.decode(codes).double(), atol=1e-5, rtol=1e-5
    )


def receive_with_losses(connection, codes, lost):
    bits = connection.send(codes).float()
    bits[:, lost] = 0.5
    return connection.receive(bits)


def test_a_lost_bit_loses_its_codeword_alone():
    connection, codes = Connection(Link(), rvq()), random_codes(rvq())
    bits = connection.send(codes).float()
    bits[0, 3, 5] = 0.5  # second codebook's codeword
    reception = connection.receive(bits)
    assert reception.erased.nonzero().tolist() == [[0, 1, 3]]
    assert reception.codes[0, 1, 3] == 0
    assert torch.equal(reception.codes[~reception.erased], codes[~reception.erased])


def test_repeat_last_holds_the_last_good_frame():
    quantizer = fsq()
    connection, codes = Connection(Link(concealment=RepeatLast()), quantizer), random_codes(quantizer, 8)
    latents = connection.latents(receive_with_losses(connection, codes, [0, 3, 4, 7]))
    expected = quantizer.decode(codes[..., [1, 1, 2, 2, 2, 5, 6, 6]])
    torch.testing.assert_close(latents[..., 1:], expected[..., 1:])
    torch.testing.assert_close(latents[..., 0], mean_of_all_codes(quantizer).expand(2, -1))


@pytest.mark.parametrize("index_map", [NaturalMap(), GrayMap(), PermutedMap(1, width=2)])
def test_repeat_last_keeps_the_digits_that_arrived(index_map):
    """Bits of one dimension are lost in frames 2 and 3: the others keep their levels, this one repeats frame 1's."""
    quantizer = fsq()
    connection = Connection(Link(index_map=index_map, concealment=RepeatLast()), quantizer)
    codes = random_codes(quantizer, 6)
    bits = connection.send(codes).float()
    bits[:, 2, 0], bits[:, 3, 1] = 0.5, 0.5  # the high and the low bit of the last dimension
    expected = quantizer.codes_to_levels(codes)
    expected[:, 2, [2, 3]] = expected[:, 2, [1, 1]]
    latents = connection.latents(connection.receive(bits))
    torch.testing.assert_close(latents, quantizer.decode(quantizer.levels_to_codes(expected)))


def test_repeat_last_gives_a_digit_its_mean_until_it_arrives():
    quantizer = FSQ(2, (4, 4))
    connection = Connection(Link(concealment=RepeatLast()), quantizer)
    bits = torch.tensor([[[1.0, 1.0, 0.5, 0.0], [1.0, 0.0, 0.0, 1.0]]])  # the first dimension's bits come last
    latents = connection.latents(connection.receive(bits))
    torch.testing.assert_close(latents[0, :, 0], torch.tensor([-0.25, 0.5]))
    torch.testing.assert_close(latents[0, :, 1], torch.tensor([-0.5, 0.0]))


def test_repeat_last_takes_a_codeword_without_a_code_as_lost_in_floats_too():
    quantizer = RVQ(6, [LearnedCodebook(5, 4)]).eval()
    connection = Connection(Link(concealment=RepeatLast()), quantizer)
    bits = torch.tensor([[[0, 0, 1], [1, 1, 1]]], dtype=torch.uint8)
    received = [connection.latents(connection.receive(part)) for part in (bits, bits.float())]
    torch.testing.assert_close(*received)
    torch.testing.assert_close(received[0], quantizer.decode(torch.tensor([[[1, 1]]])))


def test_interpolation_lies_on_the_line():
    quantizer = fsq()
    connection, codes = Connection(Link(concealment=InterpolatedLatent()), quantizer), random_codes(quantizer, 9)
    latents = connection.latents(receive_with_losses(connection, codes, [0, 3, 4, 5, 8]))
    sent = quantizer.decode(codes)
    torch.testing.assert_close(latents[..., [1, 2, 6, 7]], sent[..., [1, 2, 6, 7]])
    for step, frame in enumerate((3, 4, 5), start=1):
        torch.testing.assert_close(latents[..., frame], torch.lerp(sent[..., 2], sent[..., 6], step / 4))
    torch.testing.assert_close(latents[..., [0, 8]], sent[..., [1, 7]])


@pytest.mark.parametrize("concealment", [RepeatLast(), InterpolatedLatent(), PosteriorMean()])
def test_without_losses_concealment_changes_nothing(concealment):
    for quantizer in (fsq(), rvq()):
        connection, codes = Connection(Link(concealment=concealment), quantizer), random_codes(quantizer, 200)
        latents = connection.latents(connection.receive(connection.send(codes)))
        torch.testing.assert_close(latents, quantizer.decode(codes), atol=1e-5, rtol=1e-5)


def mean_of_all_codes(quantizer):
    """The latent [D] of equally likely codes, by a plain mean over all of them."""
    every = torch.cartesian_prod(*(torch.arange(size) for size in quantizer.codebook_sizes))
    return quantizer.decode(every.view(len(every), -1).T[None]).mean(-1)[0]


@pytest.mark.parametrize("quantizer", [fsq(), rvq(), ResidualFSQ(6, (2, 3), stages=2)])
def test_when_all_is_lost_concealment_gives_the_mean_of_the_codes(quantizer):
    for concealment in (None, MeanLatent(), RepeatLast(), InterpolatedLatent(), PosteriorMean()):
        connection, codes = Connection(Link(concealment=concealment), quantizer), random_codes(quantizer)
        latents = connection.latents(receive_with_losses(connection, codes, list(range(40))))
        mean = mean_of_all_codes(quantizer)[:, None].expand_as(latents)
        torch.testing.assert_close(latents, mean, atol=1e-5, rtol=1e-4)


def test_a_code_lost_by_itself_contributes_its_mean_and_the_other_its_entry():
    quantizer = rvq()
    connection, codes = Connection(Link(), quantizer), random_codes(quantizer, 5)
    erased = torch.zeros_like(codes, dtype=torch.bool)
    erased[:, 1, 3] = True
    latents = connection.decode(codes, erased)
    every = torch.stack((codes[:, :1, 3].expand(-1, 16), torch.arange(16).expand(2, -1)), 1)  # [2, K, 16]
    torch.testing.assert_close(latents[..., 3], quantizer.decode(every).mean(-1))
    torch.testing.assert_close(latents[..., :3], quantizer.decode(codes)[..., :3])


def test_the_first_codebooks_decode_by_themselves():
    """Their latents have no bias of the stages that are not there."""
    quantizer = rvq()
    connection, codes = Connection(Link(), quantizer), random_codes(quantizer, 5)
    first, erased = codes[:, :1], torch.zeros(2, 1, 5, dtype=torch.bool)
    torch.testing.assert_close(connection.decode(first, erased), quantizer.decode(first))
    erased[..., 2] = True
    every = quantizer.decode(torch.arange(16)[None, None]).mean(-1)
    torch.testing.assert_close(connection.decode(first, erased)[..., 2], every.expand(2, -1))


def test_zero_latents_stay_for_those_who_want_them():
    quantizer = fsq()
    connection, codes = Connection(Link(concealment=ZeroLatent()), quantizer), random_codes(quantizer)
    latents = connection.latents(receive_with_losses(connection, codes, [0]))
    zero = quantizer.decode(codes, torch.ones_like(codes, dtype=torch.bool))
    torch.testing.assert_close(latents[..., 0], zero[..., 0])


@pytest.mark.parametrize("index_map", MAPS)
@pytest.mark.parametrize("levels", [(4, 4), (5, 3)])
def test_the_posterior_mean_is_bayes(index_map, levels):
    """Against a plain sum over all codes, codeword by codeword."""
    quantizer = fsq(levels)
    if isinstance(index_map, GrayMap) and levels != (4, 4):
        return
    connection = Connection(Link(index_map=index_map, concealment=PosteriorMean()), quantizer)
    bits = torch.rand(1, 3, connection.bits_per_frame)
    every = torch.arange(quantizer.codebook_sizes[0])[None, None]
    codewords, vectors = connection.send(every)[0], quantizer.decode(every)[0].T  # [size, n], [size, D]
    for frame in range(3):
        p = torch.where(codewords == 1, bits[0, frame], 1 - bits[0, frame]).prod(1)
        expected = (p / p.sum()) @ vectors
        torch.testing.assert_close(connection.latents(connection.receive(bits))[0, :, frame], expected)


def test_a_posterior_mean_may_leave_lost_frames_to_another():
    quantizer = fsq()
    codes = random_codes(quantizer, 8)
    found = {}
    for name, concealment in (
        ("repeat", RepeatLast()),
        ("both", PosteriorMean(RepeatLast())),
        ("mean", PosteriorMean()),
    ):
        connection = Connection(Link(concealment=concealment), quantizer)
        bits = connection.send(codes).float().clamp(0.1, 0.9)
        bits[:, 4] = 0.5
        found[name] = connection.latents(connection.receive(bits))
    torch.testing.assert_close(found["both"][..., 4], found["repeat"][..., 4])
    torch.testing.assert_close(found["both"][..., :4], found["mean"][..., :4])
    assert not torch.allclose(found["mean"][..., 4], found["repeat"][..., 4])


def test_soft_decisions_lower_the_latent_error():
    quantizer = fsq((4,) * 4)
    codes = random_codes(quantizer, 2000)
    sent = quantizer.decode(codes)
    errors = {}
    for name, soft, concealment in (("hard", False, None), ("soft", True, PosteriorMean())):
        connection = Connection(Link(concealment=concealment) if concealment else Link(), quantizer)
        received = AWGNChannel(1.0, soft)(connection.send(codes), torch.Generator().manual_seed(0))
        errors[name] = (connection.latents(connection.receive(received)) - sent).square().mean().item()
    assert errors["soft"] < 0.8 * errors["hard"]


def test_sensitive_bits_are_protected_first():
    """The high bit of a level moves the latent by two steps, the low one by one."""
    quantizer = FSQ(2, (4, 4))
    connection = Connection(Link(code=Hamming74(), protected_bits=2), quantizer)
    channel = connection.protect(BinarySymmetricChannel(0.1))
    assert channel.protected_bits == [0, 2]  # codewords are high bit first: level 1's pair, then level 0's
    assert channel.channel_bits(10, 4) == 10 * 2 * 7 // 4 + 10 * 2
    with pytest.raises(ValueError, match="protected_bits 9"):
        Connection(Link(code=Hamming74(), protected_bits=9), quantizer)
    with pytest.raises(ValueError, match="positions from 0 to 3"):
        Connection(Link(code=Hamming74(), protected_bits=[4]), quantizer)


def test_later_codebooks_are_ignored_where_the_first_is_lost():
    """Where the first stage of a frame is lost, what is left of the frame is concealed with it."""
    quantizer = rvq()
    codes = random_codes(quantizer, 6)
    mean = mean_of_all_codes(quantizer)[:, None].expand(2, -1, 6)
    for concealment in (RepeatLast(), InterpolatedLatent()):
        connection = Connection(Link(concealment=concealment), quantizer)
        bits = connection.send(codes).float()
        bits[:, :, 0] = 0.5  # a bit of the first codebook's codeword in every frame
        torch.testing.assert_close(connection.latents(connection.receive(bits)), mean)


def test_a_quantizer_without_parameters_has_its_maps_and_displacements():
    quantizer = FSQ(4, (4,) * 4)
    connection = Connection(Link(index_map=BinarySwitchingMap()), quantizer)
    assert bit_displacements(connection).shape == (8,)


def test_probabilities_of_a_huge_codebook_are_refused_before_they_are_made():
    connection = Connection(Link(concealment=PosteriorMean()), FSQ(16, (5,) * 14))
    with pytest.raises(ValueError, match="too large"):
        connection.latents(connection.receive(torch.full((1, 64, 33), 0.5)))


def test_nested_protection_counts_both_parities():
    connection = Connection(Link(code=Hamming74()), fsq((4, 4)))
    nested = connection.protect(ProtectedChannel(BinarySymmetricChannel(0.1), Repetition(3)))
    assert nested.channel_bits(10, 4) == 10 * 7 * 3


@pytest.mark.parametrize(("settings", "match"), [
    ({"interleave": 0}, "interleave 0"),
    ({"interleave": 4}, "need a code"),
    ({"protected_bits": 3}, "need a code"),
    ({"protected_bits": True, "code": Hamming74()}, "protected_bits True"),
    ({"protected_bits": [1, 1], "code": Hamming74()}, "different positions"),
])  # fmt: skip
def test_links_that_make_no_sense_are_refused_when_connected(settings, match):
    with pytest.raises(ValueError, match=match):
        Connection(Link(**settings), fsq())
