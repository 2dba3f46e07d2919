"""Residual FSQ: one stage is FSQ, K stages are a uniform grid of L ** K levels, prefixes, erasures, means, dropout."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.quantizers import FSQ, Dithered, DoubleTanhBound, ResidualFSQ, TanhBound
from codec.quantizers.codes import code_bits
from tests.codec.quantizers.test_fsq import one_hot


def latents(dim: int, *, seed: int = 0, frames: int = 400) -> torch.Tensor:
    return 2 * torch.randn(3, dim, frames, generator=torch.Generator().manual_seed(seed))


def residual(dim: int, levels: tuple[int, ...], **changes) -> ResidualFSQ:
    torch.manual_seed(0)
    return ResidualFSQ(dim, levels, **changes)


@pytest.mark.parametrize("bound", [TanhBound(), DoubleTanhBound()])
@pytest.mark.parametrize("dim", [4, 16])
@pytest.mark.parametrize("levels", [(4, 4, 4, 4), (8, 5, 3, 2)])
def test_one_stage_is_fsq(levels, dim, bound):
    one = residual(dim, levels, stages=1, bound=bound)
    torch.manual_seed(0)
    fsq = FSQ(dim, levels, bound=bound)
    expected, output = fsq(latents(dim)), one(latents(dim))
    assert torch.equal(output.codes, expected.codes)
    assert torch.equal(output.latents, expected.latents)
    erased = torch.rand(expected.codes.shape) < 0.3
    assert torch.equal(one.decode(output.codes, erased), fsq.decode(expected.codes, erased))
    assert one.state_dict().keys() == fsq.state_dict().keys()
    assert (one.digits, one.codebook_sizes) == (fsq.digits, fsq.codebook_sizes)


@pytest.mark.parametrize(("levels", "stages"), [((4,), 2), ((4,), 3), ((3,), 3), ((5, 2), 2), ((4,) * 8, 2)])
def test_stages_make_a_uniform_grid(levels, stages):
    """The same latents as FSQ of L ** K levels, every one of which is reached, at even distances."""
    dim = len(levels)
    quantizer = ResidualFSQ(dim, levels, stages=stages)
    z = latents(dim, frames=20_000)
    output, fine = quantizer(z), FSQ(dim, [level**stages for level in levels])(z)
    assert torch.equal(output.latents, fine.latents)
    torch.testing.assert_close(quantizer.decode(output.codes), output.latents)
    for dimension, level in enumerate(levels):
        values = (output.latents[:, dimension] * (level**stages // 2)).round().unique()
        assert torch.equal(values, torch.arange(level**stages) - float(level**stages // 2))


@pytest.mark.parametrize(("levels", "stages"), [((4,), 3), ((3,), 3), ((5, 2), 2)])
def test_each_stage_rounds_what_the_one_before_left(levels, stages):
    """Successive rounding, stated without digits: cells of the residual, an L-th as wide at each stage."""
    dim = len(levels)
    quantizer = ResidualFSQ(dim, levels, stages=stages)
    z, width = latents(dim), torch.tensor(levels)[:, None].float()
    codes = quantizer(z).codes
    grid = width**stages
    low = quantizer.bound(z.transpose(1, 2), quantizer.levels_tensor).transpose(1, 2) + grid // 2 + 0.5
    left, cell = low / grid, torch.ones_like(width)  # the position in [0, 1), and the width of a cell
    for stage in range(stages):
        cell = cell / width
        digit = torch.minimum((left / cell).floor().clamp_min(0), width - 1)
        left = left - digit * cell
        index = (digit.long() * quantizer.basis[:, None]).sum(1)
        assert (index == codes[:, stage]).float().mean() > 0.999  # but for values on an edge


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 6), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 2**31))
def test_codes_and_levels_round_trip(levels, stages, seed):
    quantizer = ResidualFSQ(len(levels), levels, stages=stages)
    size = quantizer.codebook_sizes[0]
    codes = torch.randint(size, (2, stages, 9), generator=torch.Generator().manual_seed(seed))
    fine = quantizer.codes_to_levels(codes)
    assert (fine < torch.tensor(levels)[:, None] ** stages).all()
    assert torch.equal(quantizer.levels_to_codes(fine), codes)


def test_gradient_is_that_of_the_bound():
    quantizer = ResidualFSQ(2, (4, 3), stages=3)
    z = latents(2, frames=20).requires_grad_()
    quantizer(z).latents.sum().backward()
    smooth = z.detach().clone().requires_grad_()
    (quantizer.bound(smooth.transpose(1, 2), quantizer.levels_tensor) / quantizer.middle).sum().backward()
    torch.testing.assert_close(z.grad, smooth.grad)


def test_first_codes_decode_to_the_centre_of_their_cell():
    quantizer = ResidualFSQ(2, (4, 5), stages=2)
    z = latents(2, frames=20_000)
    output = quantizer(z)
    coarse = quantizer.decode(output.codes[:, :1])
    for dimension, level in enumerate((4, 5)):
        for centre in coarse[:, dimension].unique():
            inside = output.latents[:, dimension][coarse[:, dimension] == centre].unique()
            assert len(inside) == level
            torch.testing.assert_close(inside.mean(), centre, atol=1e-6, rtol=0)


def test_an_erased_stage_contributes_nothing():
    quantizer = residual(16, (4, 4), stages=2)
    codes = quantizer(latents(16, frames=20)).codes
    erased = torch.zeros_like(codes, dtype=torch.bool)
    erased[:, 1, ::2] = True
    decoded = quantizer.decode(codes, erased)
    torch.testing.assert_close(decoded[..., ::2], quantizer.decode(codes[:, :1])[..., ::2])
    torch.testing.assert_close(decoded[..., 1::2], quantizer.decode(codes)[..., 1::2])
    nothing = quantizer.decode(codes, torch.ones_like(erased))
    torch.testing.assert_close(nothing[0, :, 0], quantizer.project_out(torch.zeros(2)))
    lost = torch.tensor([True, False])[None, :, None].expand(codes.shape)
    first_lost = quantizer.decode(codes, lost)
    fine = quantizer.decode(codes) - quantizer.decode(codes[:, :1]) + nothing
    torch.testing.assert_close(first_lost, fine)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_means_of_codes(stages):
    quantizer = residual(16, (4, 3), stages=stages)
    codes = torch.randint(12, (2, stages, 30))
    sizes = quantizer.codebook_sizes
    for kept in range(1, stages + 1):
        certain = one_hot(codes[:, :kept], sizes[:kept])
        torch.testing.assert_close(quantizer.decode_mean(certain), quantizer.decode(codes[:, :kept]))
    spread = [torch.rand(1, 1, 12).softmax(-1) for _ in range(stages)]
    every = torch.cartesian_prod(*[torch.arange(12)] * stages).view(-1, stages).T[None]  # [1, K, 12 ** K]
    weight = torch.stack([p[0, 0, every[0, k]] for k, p in enumerate(spread)]).prod(0)
    expected = (quantizer.decode(every) * weight).sum(-1, keepdim=True)
    torch.testing.assert_close(quantizer.decode_mean(spread), expected)
    torch.testing.assert_close(super(FSQ, quantizer).decode_mean(spread), expected)  # the implementation for all


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_do_not_change_under_autocast(dtype):
    quantizer = residual(32, (4,) * 8, stages=2, rounding=Dithered(1.0, 0.0, noise=0.0))
    expected = quantizer(latents(32))
    with torch.autocast("cpu", dtype=dtype):
        output = quantizer(latents(32))
        decoded = quantizer.decode(output.codes)
    assert torch.equal(output.codes, expected.codes)
    assert output.latents.dtype == decoded.dtype == torch.float32
    torch.testing.assert_close(output.latents, expected.latents)
    torch.testing.assert_close(decoded, expected.latents)


def test_dropout_decodes_fewer_stages_in_training_only():
    quantizer = ResidualFSQ(8, (4,) * 8, stages=3, dropout=0.5)
    torch.manual_seed(0)
    z = 2 * torch.randn(3000, 8, 2)
    output = quantizer(z)
    shares = []
    for kept in (1, 2, 3):
        same = (output.latents - quantizer.decode(output.codes[:, :kept])).abs().amax((1, 2)) < 1e-5
        shares.append(same.float().mean().item())
    assert shares == pytest.approx([0.25, 0.25, 0.5], abs=0.04)
    quantizer.eval()
    torch.testing.assert_close(quantizer(z).latents, quantizer.decode(output.codes))


def test_dropout_keeps_the_gradient():
    z = latents(2, frames=20)
    gradients = []
    for dropout in (0.0, 1.0):
        x = z.clone().requires_grad_()
        ResidualFSQ(2, (4, 4), stages=2, dropout=dropout)(x).latents.sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_bits_are_those_of_all_stages():
    assert code_bits(ResidualFSQ(8, (4,) * 8, stages=2).codebook_sizes) == (16, 16)
    assert ResidualFSQ(2, (4, 5), stages=3).digits == ((4, 5),) * 3


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="stages 0 of levels"):
        ResidualFSQ(4, (4, 4), stages=0)
    with pytest.raises(ValueError, match=r"stages 9 of levels .* 2\^16"):
        ResidualFSQ(4, (4, 4), stages=9)
    with pytest.raises(ValueError, match=r"dropout 1\.5"):
        ResidualFSQ(4, (4, 4), dropout=1.5)
    quantizer = ResidualFSQ(2, (4, 4), stages=2)
    for wrong in (torch.zeros(1, 3, 4, dtype=torch.long), torch.zeros(1, 0, 4, dtype=torch.long)):
        with pytest.raises(ValueError, match="first 1 to 2 codebooks"):
            quantizer.decode(wrong)
