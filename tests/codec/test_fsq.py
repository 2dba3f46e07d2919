"""FSQ: levels, thresholds, straight-through gradient, precision, index map."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.quantizers import FSQ, DoubleTanhBound, TanhBound
from codec.quantizers.fsq import round_ste


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
