"""FSQ: levels, thresholds, straight-through and dithered rounding, precision, index map, means of codes."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.quantizers import FSQ, Dithered, DoubleTanhBound, StraightThrough, TanhBound
from codec.quantizers.rounding import round_ste


@pytest.mark.parametrize(("bound", "thresholds"), [
    (TanhBound(), (-1.150, -0.346, 0.457)),
    (DoubleTanhBound(), (-0.809, -0.243, 0.408)),
])  # fmt: skip
def test_thresholds_of_four_levels(bound, thresholds):
    """The published NeuCodec weights' decision thresholds, and the single bound's."""
    z = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    steps = bound(z[:, None], torch.tensor([4])).round()[:, 0]
    crossings = z[1:][steps.diff() != 0]
    assert crossings.tolist() == pytest.approx(thresholds, abs=6e-4)
    assert steps.unique().tolist() == [-2, -1, 0, 1]


@pytest.mark.parametrize("levels", [(2,), (3,), (4,), (5,), (8,), (8, 5, 5, 5), (4,) * 8])
def test_every_level_is_reached_and_no_other(levels):
    fsq = FSQ(len(levels), levels)
    z = torch.randn(1, len(levels), 20_000, generator=torch.Generator().manual_seed(0)) * 3
    latents, codes, _ = fsq(z)
    for dimension, count in enumerate(levels):
        values = latents[0, dimension].unique()
        assert len(values) == count
        expected = (torch.arange(count) - count // 2) / (count // 2)
        torch.testing.assert_close(values, expected)
    assert codes.min() >= 0
    assert codes.max() < fsq.codebook_sizes[0]


def test_half_step_offset_of_even_levels():
    """Zero input stays at value zero, and the extremes reach −2 and 1 of four levels."""
    assert TanhBound()(torch.zeros(1, 1, dtype=torch.float64), torch.tensor([4])).item() == pytest.approx(0, abs=1e-7)
    assert TanhBound(0.0)(torch.tensor([[-40.0]]), torch.tensor([4])).item() == pytest.approx(-2.0)
    assert TanhBound(0.0)(torch.tensor([[40.0]]), torch.tensor([4])).item() == pytest.approx(1.0)


def test_rounding_has_gradient_one():
    x = torch.tensor([-1.7, -0.2, 0.4, 2.6], requires_grad=True)
    y = round_ste(x)
    assert y.tolist() == [-2, 0, 0, 3]
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1]


def test_gradient_of_quantizer_is_that_of_its_bound():
    fsq = FSQ(3, (4, 5, 8))
    z = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    fsq(z).latents.sum().backward()
    smooth = z.detach().clone().requires_grad_()
    (fsq.bound(smooth.transpose(1, 2), fsq.levels_tensor) / fsq.middle).sum().backward()
    torch.testing.assert_close(z.grad, smooth.grad)
    assert (z.grad > 0).all()


def test_codes_follow_the_mixed_radix_formula():
    """Index = Σ levelᵢ · Π_{j<i} Lⱼ; for [4] * 8 that is Σ levelᵢ · 4ⁱ."""
    fsq = FSQ(8, (4,) * 8)
    levels = torch.arange(8).view(1, 8, 1) % 4
    assert fsq.levels_to_codes(levels).item() == sum((i % 4) * 4**i for i in range(8))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=6), st.integers(0, 2**31))
def test_codes_and_levels_round_trip(levels, seed):
    fsq = FSQ(len(levels), levels)
    codes = torch.randint(fsq.codebook_sizes[0], (2, 1, 9), generator=torch.Generator().manual_seed(seed))
    split = fsq.codes_to_levels(codes)
    assert (split < torch.tensor(levels)[:, None]).all()
    assert torch.equal(fsq.levels_to_codes(split), codes)


@pytest.mark.parametrize("dim", [4, 16])
def test_decode_gives_the_latents_of_forward(dim):
    fsq = FSQ(dim, (8, 5, 5, 4))
    latents, codes, loss = fsq(torch.randn(3, dim, 11))
    torch.testing.assert_close(fsq.decode(codes), latents)
    assert codes.shape == (3, 1, 11)
    assert codes.dtype == torch.int64
    assert loss.item() == 0


def test_erased_codes_decode_to_the_zero_point():
    fsq = FSQ(16, (4, 4))
    codes = torch.tensor([[[3, 3, 15]]])
    erased = torch.tensor([[[False, True, False]]])
    decoded = fsq.decode(codes, erased)
    torch.testing.assert_close(decoded[..., 0], fsq.decode(codes)[..., 0])
    torch.testing.assert_close(decoded[0, :, 1], fsq.project_out(torch.zeros(2)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_do_not_change_under_autocast(dtype):
    fsq = FSQ(32, (8, 8, 8, 5, 5, 5))
    z = torch.randn(2, 32, 500, generator=torch.Generator().manual_seed(1)) * 2
    expected = fsq(z)
    with torch.autocast("cpu", dtype=dtype):
        output = fsq(z)
        decoded = fsq.decode(output.codes)
    assert torch.equal(output.codes, expected.codes)
    assert output.latents.dtype == decoded.dtype == torch.float32
    torch.testing.assert_close(output.latents, expected.latents)


@pytest.mark.parametrize("levels", [(), (1, 4), (8,) * 20])
def test_impossible_levels_are_refused_by_value(levels):
    with pytest.raises(ValueError, match=r"levels \["):
        FSQ(4, levels)


def test_casting_the_module_keeps_working():
    """A property must not shadow nn.Module's own methods, `half` among them."""
    fsq = FSQ(8, (4, 4)).half().float()
    assert fsq(torch.randn(1, 8, 3)).latents.dtype == torch.float32


def one_hot(codes, sizes):
    """Probabilities `[B, F, size]` of each codebook that are certain of `codes`."""
    return [torch.nn.functional.one_hot(codes[:, k], size).float() for k, size in enumerate(sizes)]


@pytest.mark.parametrize("dim", [4, 16])
def test_the_mean_of_a_certain_code_is_its_latent(dim):
    fsq = FSQ(dim, (8, 5, 3, 4))
    codes = torch.randint(480, (2, 1, 50))
    torch.testing.assert_close(fsq.decode_mean(one_hot(codes, fsq.codebook_sizes)), fsq.decode(codes))
    assert fsq.digits == ((8, 5, 3, 4),)


def test_the_mean_of_uncertain_codes_is_the_weighted_latent():
    fsq = FSQ(16, (4, 4, 3))
    probabilities = torch.rand(2, 7, 48).softmax(-1)
    every = fsq.decode(torch.arange(48).view(1, 1, 48))[0]  # [16, 48]
    expected = torch.einsum("bfc,dc->bdf", probabilities, every)
    torch.testing.assert_close(fsq.decode_mean([probabilities]), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(fsq.decode_mean([probabilities]), expected)


def test_means_that_cannot_be_taken_are_refused():
    with pytest.raises(ValueError, match=r"codebook of 4294967296 entries is too large .* 2\^20"):
        FSQ(8, (16,) * 8).decode_mean([torch.zeros(1, 1, 1)])
    for wrong in ([], [torch.ones(1, 5, 15)], [torch.ones(5, 16)], [torch.ones(1, 5, 16)] * 2):
        with pytest.raises(ValueError, match=r"must be \[B, F, size\] for codebooks of \[16\]"):
            FSQ(8, (4, 4)).decode_mean(wrong)


def dithered(shares, *, clips=4000):
    """What `Dithered` makes of clips between steps: input and output `[B, F, d]`."""
    torch.manual_seed(0)
    x = 4 * torch.rand(clips, 6, 2) - 2
    x = torch.where((x - x.round()).abs() < 0.01, x + 0.1, x)  # no value that rounding leaves as it is
    return x, Dithered(shares[0], shares[1], noise=shares[2])(x)


@pytest.mark.parametrize("shares", [(0.5, 0.25, 0.25), (0.2, 0.1, 0.7), (0.5, 0.0, 0.5), (0.0, 1.0, 0.0)])
def test_dither_treats_the_stated_shares_of_clips(shares):
    x, y = dithered(shares)
    rounded, same = (y == x.round()).all((1, 2)), (y == x).all((1, 2))
    other = ~rounded & ~same
    for share, kind in zip(shares, (rounded, same, other), strict=True):
        tolerance = 4 * (share * (1 - share) / len(x)) ** 0.5 + 1e-9
        assert kind.float().mean().item() == pytest.approx(share, abs=tolerance)
    torch.testing.assert_close(y[rounded], x[rounded].round())
    assert (y[other] != x[other].round()).float().mean() > 0.99 or not other.any()  # whole clips, not single values


def test_dither_noise_is_uniform_over_one_step():
    x, y = dithered((0.0, 0.0, 1.0))
    noise = (y - x).flatten()
    assert noise.abs().max() <= 0.5 + 1e-6
    counts = torch.histc(noise, 10, min=-0.5, max=0.5)
    expected = len(noise) / 10
    assert ((counts - expected).abs() < 5 * expected**0.5).all()
    neighbours = torch.corrcoef(torch.stack(((y - x)[:, 0, 0], (y - x)[:, 0, 1])))
    assert abs(neighbours[0, 1]) < 0.1


@pytest.mark.parametrize("shares", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_every_kind_of_rounding_has_gradient_one(shares):
    x = torch.randn(5, 6, 2, requires_grad=True)
    Dithered(shares[0], shares[1], noise=shares[2])(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_dither_leaves_codes_and_evaluation_alone():
    plain = FSQ(16, (4, 4, 5))
    noisy = copy.deepcopy(plain)
    noisy.rounding = Dithered(0.2, 0.2, noise=0.6)
    z = torch.randn(8, 16, 40)
    expected, output = plain(z), noisy(z)
    assert torch.equal(output.codes, expected.codes)
    assert not torch.allclose(output.latents, expected.latents, atol=0.01)
    noisy.eval()
    assert torch.equal(noisy(z).latents, expected.latents)
    assert noisy.state_dict().keys() == plain.state_dict().keys()


def test_straight_through_is_the_default():
    assert isinstance(FSQ(4, (4, 4)).rounding, StraightThrough)
    assert FSQ(16, (4, 4)).state_dict().keys() == {
        f"project_{way}.{kind}" for way in ("in", "out") for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.5, -0.5, 0.0), (0.1, 0.1, 0.1)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(ValueError, match=rf"quantized {shares[0]}, .* sum to 1"):
        Dithered(shares[0], shares[1], noise=shares[2])


@pytest.mark.parametrize("bound", [TanhBound(), DoubleTanhBound()])
@pytest.mark.parametrize("levels", [255, 1024, 4001, 2**16])
def test_many_levels_stay_within_their_range(bound, levels):
    """A margin in proportion would reach beyond the outermost level from 1001 levels on."""
    fsq = FSQ(1, (levels,), bound=bound)
    codes = fsq(torch.tensor([[[-50.0, 50.0]]])).codes
    assert codes.flatten().tolist() == [0, levels - 1]


@pytest.mark.parametrize("bound", [TanhBound(), DoubleTanhBound()])
def test_two_levels_are_both_used_by_latents_around_zero(bound):
    """Of standard normal values half fall on either level, with a gradient at the boundary; the outputs stay inside."""
    torch.manual_seed(0)
    z = torch.randn(10_000, 3, requires_grad=True)
    bounded = bound(z, torch.tensor([2, 2, 4]))
    levels = bounded.round()[:, :2]
    assert set(levels.unique().tolist()) == {-1.0, 0.0}
    assert abs(levels.mean().item() + 0.5) < 0.02
    assert torch.equal(levels == 0, z[:, :2] > 0)
    (gradient,) = torch.autograd.grad(bounded[:, :2].sum(), z)
    near = z[:, :2].abs() < 0.1
    assert gradient[:, :2][near].min() > 0.15
    quantizer = FSQ(8, (2,) * 8, bound=bound).train()
    output = quantizer(torch.randn(1, 8, 2000))
    used = quantizer.codes_to_levels(output.codes).double().mean((0, 2))
    assert (used - 0.5).abs().max() < 0.05
