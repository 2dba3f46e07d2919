"""RVQ: gradients of value and commitment, refinement, prefixes, erasures, means, dropout, precision."""

import pytest
import torch

from codec.quantizers import RVQ, EMACodebook, LearnedCodebook
from tests.codec.quantizers.test_fsq import one_hot

KINDS = [EMACodebook, LearnedCodebook]
both_kinds = pytest.mark.parametrize("kind", KINDS)
both_widths = pytest.mark.parametrize("width", [8, 4])  # without and with projections


def clusters(seed: int = 0, *, batch: int = 4, dim: int = 8, frames: int = 50) -> torch.Tensor:
    """Latents `[B, D, F]` around 40 centres."""
    centres = 3 * torch.randn(40, dim, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(40, (batch, frames), generator=generator)
    return (centres[picks] + 0.3 * torch.randn(batch, frames, dim, generator=generator)).transpose(1, 2)


def rvq(stages: int = 3, *, kind: type = EMACodebook, dim: int = 8, width: int = 8, **settings) -> RVQ:
    torch.manual_seed(0)
    return RVQ(dim, [kind(16, width) for _ in range(stages)], **settings)


@both_kinds
@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_gradient_through_eight_stages_is_one(kind, dropout):
    latents = clusters().requires_grad_()
    output = rvq(8, kind=kind, dropout=dropout)(latents)
    assert not torch.allclose(output.latents, latents, atol=0.1)  # it does quantize
    output.latents.sum().backward()
    torch.testing.assert_close(latents.grad, torch.ones_like(latents))


def prefix(quantizer: RVQ, stages: int) -> RVQ:
    """The first stages alone, sharing their codebooks and projections."""
    first = RVQ(quantizer.dim, list(quantizer.codebooks)[:stages], commitment=quantizer.commitment)
    first.project_in, first.project_out = quantizer.project_in[:stages], quantizer.project_out[:stages]
    return first.train(quantizer.training)


@both_kinds
@both_widths
def test_commitment_of_every_stage_moves_the_encoder(kind, width):
    """What stage k of eight adds to the gradient: without projections 2 * commitment / numel of what it leaves over."""
    quantizer, latents = rvq(8, kind=kind, width=width, commitment=0.3), clusters()
    quantizer(clusters(1))  # seeds the tables
    quantizer.eval()
    before = torch.zeros_like(latents)
    for stages in range(1, 9):
        z = latents.clone().requires_grad_()
        output = prefix(quantizer, stages)(z)
        (output.loss * stages).backward()  # the loss is the mean over stages
        alone, before = z.grad - before, z.grad
        assert alone.abs().max() > 1e-6
        assert (alone.abs().amax(1) > 0).float().mean() > 0.95  # in nearly every frame
        if width == 8:
            left = latents - output.latents.detach()
            torch.testing.assert_close(alone, 2 * 0.3 * left / latents.numel(), atol=1e-8, rtol=1e-4)


@both_kinds
@both_widths
def test_decode_gives_the_latents_of_forward(kind, width):
    quantizer = rvq(kind=kind, width=width)
    quantizer(clusters())
    quantizer.eval()
    latents, codes, _ = quantizer(clusters(1))
    assert codes.shape == (4, 3, 50)
    torch.testing.assert_close(quantizer.decode(codes), latents)


@both_kinds
def test_first_codes_are_those_of_fewer_stages(kind):
    quantizer = rvq(kind=kind, width=4)
    quantizer(clusters())
    quantizer.eval()
    codes = quantizer(clusters(1)).codes
    short = prefix(quantizer, 2)(clusters(1))
    assert torch.equal(codes[:, :2], short.codes)
    torch.testing.assert_close(quantizer.decode(codes[:, :2]), short.latents)
    for wrong in (codes[:, :0], torch.cat((codes, codes), 1), codes[0]):
        with pytest.raises(ValueError, match="first 1 to 3 codebooks"):
            quantizer.decode(wrong)


@both_widths
def test_an_erased_stage_is_zero_before_its_projection_whose_bias_stays(width):
    quantizer = rvq(width=width).eval()
    codes = torch.randint(16, (1, 3, 5))
    erased = torch.zeros(1, 3, 5, dtype=torch.bool)
    erased[0, 1:, 2] = True
    decoded = quantizer.decode(codes, erased)
    first = quantizer.project_out[0](quantizer.codebooks[0].table[codes[0, 0, 2]])
    zero = torch.zeros(quantizer.codebooks[0].dim)
    torch.testing.assert_close(decoded[0, :, 2], first + sum(project(zero) for project in quantizer.project_out[1:]))
    torch.testing.assert_close(decoded[..., :2], quantizer.decode(codes)[..., :2])


@both_kinds
@both_widths
def test_means_of_codes(kind, width):
    quantizer = rvq(2, kind=kind, width=width).eval()
    codes = torch.randint(16, (2, 2, 30))
    assert quantizer.digits == ((16,), (16,))
    for kept in (1, 2):
        certain = one_hot(codes[:, :kept], (16, 16)[:kept])
        expected = quantizer.decode(codes[:, :kept])
        torch.testing.assert_close(quantizer.decode_mean(certain), expected)
        torch.testing.assert_close(quantizer.decode_digits([[p] for p in certain]), expected)
    spread = [torch.rand(1, 1, 16).softmax(-1) for _ in range(2)]
    every = torch.cartesian_prod(torch.arange(16), torch.arange(16)).T[None]  # [1, 2, 256]
    weight = (spread[0][..., :, None] * spread[1][..., None, :]).flatten()
    expected = (quantizer.decode(every) * weight).sum(-1, keepdim=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(quantizer.decode_mean(spread), expected)


def test_more_stages_leave_less_behind():
    quantizer = rvq(4)
    for seed in range(20):
        quantizer(clusters(seed))
    quantizer.eval()
    latents = clusters(100)
    codes = quantizer(latents).codes
    errors = [(quantizer.decode(codes[:, :kept]) - latents).square().mean().item() for kept in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * errors[0]


def test_dropout_decodes_fewer_stages_in_training_only():
    quantizer = rvq(3, dropout=0.5)
    quantizer(clusters())
    for book in quantizer.codebooks:
        book.decay, book.restart_below = 0.999999, 0.0  # tables hold still
        book.batches += 10**9
    torch.manual_seed(0)
    output = quantizer(clusters(1, batch=2000, frames=3))
    shares = []
    for kept in (1, 2, 3):
        same = (output.latents - quantizer.decode(output.codes[:, :kept])).abs().amax((1, 2)) < 1e-3
        shares.append(same.float().mean().item())
    assert shares == pytest.approx([0.25, 0.25, 0.5], abs=0.05)
    quantizer.eval()
    output = quantizer(clusters(1))
    torch.testing.assert_close(output.latents, quantizer.decode(output.codes))


def test_dropout_does_not_change_what_the_codebooks_learn():
    one, other = rvq(3), rvq(3, dropout=1.0)
    for seed in range(3):
        torch.manual_seed(seed)
        codes = one(clusters(seed)).codes
        torch.manual_seed(seed)
        assert torch.equal(other(clusters(seed)).codes, codes)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@both_kinds
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_do_not_change_under_autocast(kind, dtype):
    plain, cast = rvq(kind=kind, width=4), rvq(kind=kind, width=4)
    for seed in range(3):
        torch.manual_seed(seed)
        expected = plain(clusters(seed))
        torch.manual_seed(seed)
        with torch.autocast("cpu", dtype=dtype):
            output = cast(clusters(seed))
            decoded = cast.decode(output.codes)
        assert torch.equal(output.codes, expected.codes)
        assert output.latents.dtype == output.loss.dtype == decoded.dtype == torch.float32
        torch.testing.assert_close(output.latents, expected.latents, rtol=0, atol=0)


def test_evaluation_learns_nothing():
    quantizer = rvq().eval()
    before = {k: v.clone() for k, v in quantizer.state_dict().items()}
    quantizer(clusters())
    assert all(torch.equal(v, before[k]) for k, v in quantizer.state_dict().items())


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        RVQ(8, [])
    with pytest.raises(ValueError, match=r"dropout 1\.5"):
        rvq(dropout=1.5)
