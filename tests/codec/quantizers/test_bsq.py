"""BSQ: signs on the sphere, gradients by value, entropies against all codes, means of bits, broken batches."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.quantizers import BSQ, FSQ
from codec.quantizers.base import Quantizer
from tests.codec.quantizers.test_fsq import one_hot
from tests.support.training import VoiceData, quiet_trainer, tiny_module, whole_and_resumed


def points(dim: int, *, clips: int = 2, frames: int = 50, seed: int = 0) -> torch.Tensor:
    return torch.randn(clips, dim, frames, generator=torch.Generator().manual_seed(seed))


def test_latents_are_the_nearest_corners_of_the_sphere():
    """Of all 2 ** L codes the one chosen is nearest, at unit length, within the paper's bound of the error."""
    quantizer, z = BSQ(5, bits=5), points(5, frames=400)
    latents, codes, _ = quantizer(z)
    corners = quantizer.decode(torch.arange(32).view(1, 1, 32))[0].T  # [32, 5]
    torch.testing.assert_close(corners.norm(dim=1), torch.ones(32))
    u = torch.nn.functional.normalize(z, dim=1).transpose(1, 2)
    distances = (u[..., None, :] - corners).square().sum(-1)  # [B, F, 32]
    assert torch.equal(distances.argmin(-1), codes[:, 0])
    assert distances.min(-1).values.max() <= 2 - 2 / math.sqrt(5)
    torch.testing.assert_close(latents, quantizer.decode(codes))
    assert len(codes.unique()) == 32


def test_bits_are_signs_the_first_dimension_the_lowest_and_zero_is_negative():
    z = torch.tensor([[[0.3], [-2.0], [0.0], [1e-30], [-0.0]]])
    latents, codes, _ = BSQ(5, bits=5)(z)
    assert codes.item() == 0b01001
    assert (latents[0, :, 0] * math.sqrt(5)).tolist() == pytest.approx([1, -1, -1, 1, -1])


def test_the_gradient_is_that_of_the_normalisation():
    """Straight-through: of û it is that of u = v / |v|, which is orthogonal to v and falls with its length."""
    quantizer, z = BSQ(4, bits=4).eval(), points(4).requires_grad_()
    weights = torch.randn(2, 4, 50)
    (quantizer(z).latents * weights).sum().backward()
    u = torch.nn.functional.normalize(z.detach(), dim=1)
    expected = (weights - u * (u * weights).sum(1, keepdim=True)) / z.detach().norm(dim=1, keepdim=True)
    torch.testing.assert_close(z.grad, expected)


@pytest.mark.parametrize("dim", [3, 16])
def test_decode_gives_the_latents_of_forward_and_erasures_the_mean(dim):
    torch.manual_seed(0)
    quantizer = BSQ(dim, bits=3)
    latents, codes, _ = quantizer(points(dim))
    torch.testing.assert_close(quantizer.decode(codes), latents)
    erased = torch.zeros_like(codes, dtype=torch.bool)
    erased[..., ::2] = True
    mean = quantizer.decode(torch.arange(8).view(1, 1, 8)).mean(-1)[0]
    decoded = quantizer.decode(codes, erased)
    torch.testing.assert_close(decoded[0, :, 0], mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(decoded[..., 1::2], latents[..., 1::2])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 48), st.integers(0, 2**31))
def test_codes_and_bits_round_trip(bits, seed):
    quantizer = BSQ(bits, bits=bits)
    codes = torch.randint(2**bits, (2, 1, 9), generator=torch.Generator().manual_seed(seed))
    levels = quantizer.codes_to_levels(codes)
    assert levels.max() <= 1
    assert torch.equal(quantizer.levels_to_codes(levels), codes)
    assert torch.equal(quantizer(quantizer.decode(codes)).codes, codes)
    assert quantizer.digits == ((2,) * bits,)


def brute_force(u: torch.Tensor, tau: float) -> tuple[float, float, float]:
    """E[H(q)], H(E[q]) and the latter's factorised bound, from the softmax of τ c·u over all codes, in float64."""
    bits = u.shape[-1]
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * bits).double().view(-1, bits)
    q = (tau * u.double().flatten(0, 1) @ (signs / math.sqrt(bits)).T).softmax(-1)  # [N, 2 ** L]
    mean = q.mean(0)
    marginals = torch.stack([mean[signs[:, i] > 0].sum() for i in range(bits)])
    bound = torch.special.entr(marginals) + torch.special.entr(1 - marginals)
    return torch.special.entr(q).sum(-1).mean().item(), torch.special.entr(mean).sum().item(), bound.sum().item()


@pytest.mark.parametrize("tau", [0.5, 5.0, 80.0])
@pytest.mark.parametrize("bits", [1, 4, 7])
def test_entropies_are_those_of_the_softmax_over_all_codes(bits, tau):
    quantizer = BSQ(bits, bits=bits, inverse_temperature=tau)
    u = torch.nn.functional.normalize(points(bits).transpose(1, 2) + 0.4, dim=-1)
    frame, batch = quantizer.entropies(u)
    exact, joint, bound = brute_force(u, tau)
    assert frame.item() == pytest.approx(exact, abs=1e-5)
    assert batch.item() == pytest.approx(bound, abs=1e-5)
    assert batch.item() >= joint - 1e-6
    if bits == 1:
        assert batch.item() == pytest.approx(joint, abs=1e-5)


def test_the_factorised_entropy_does_not_see_that_bits_agree():
    """The stated limit: two bits that are always equal count as two even ones, though the codes are two, not four."""
    u = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]]) / math.sqrt(2)
    batch = BSQ(2, bits=2, inverse_temperature=50.0).entropies(u)[1]
    assert batch.item() == pytest.approx(2 * math.log(2), abs=1e-5)
    assert brute_force(u, 50.0)[1] == pytest.approx(math.log(2), abs=1e-5)


def test_the_loss_is_the_weighted_sum_in_training_only():
    quantizer = BSQ(4, bits=4, entropy_weight=0.3, diversity=0.7, inverse_temperature=5.0, commitment=0.2)
    z = points(4)
    u = torch.nn.functional.normalize(z, dim=1).transpose(1, 2)
    frame, _, batch = brute_force(u, 5.0)
    error = (2 - 2 * u.abs().sum(-1) / 2).mean().item()
    assert quantizer(z).loss.item() == pytest.approx(0.3 * (frame - 0.7 * batch) / 5 + 0.2 * error, abs=1e-5)
    assert quantizer.eval()(z).loss.item() == 0
    assert BSQ(4, bits=4, entropy_weight=0.0)(z).loss.item() == 0


def test_descending_the_loss_makes_bits_certain_and_even():
    torch.manual_seed(0)
    quantizer = BSQ(6, bits=6, entropy_weight=1.0)
    v = torch.nn.Parameter(points(6, frames=200) + 1.0)
    optimizer = torch.optim.Adam([v], lr=0.05)
    uneven, errors = [], []
    for _ in range(200):
        optimizer.zero_grad()
        output = quantizer(v)
        output.loss.backward()
        optimizer.step()
        uneven.append((quantizer.codes_to_levels(output.codes).double().mean((0, 2)) - 0.5).abs().max().item())
        errors.append((2 - 2 * torch.nn.functional.normalize(v.detach(), dim=1).abs().sum(1) / math.sqrt(6)).mean())
    assert uneven[0] > 0.3 and uneven[-1] < 0.22
    assert errors[0] > 0.2 and errors[-1] < 0.02


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_broken_and_silent_batches_stay_codes(value):
    quantizer, z = BSQ(4, bits=4, inverse_temperature=100.0), points(4).fill_(value).requires_grad_()
    output = quantizer(z)
    assert output.codes.min() >= 0 and output.codes.max() < 16
    assert output.loss.isfinite().item() is (value == 0.0)
    if value == 0.0:
        (output.latents.sum() + output.loss).backward()
        assert z.grad.isfinite().all()


def test_a_bit_that_never_changes_has_a_finite_gradient():
    quantizer = BSQ(2, bits=2, inverse_temperature=1000.0)
    z = points(2).abs().requires_grad_()
    quantizer(z).loss.backward()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_do_not_change_under_autocast(dtype):
    torch.manual_seed(0)
    quantizer, z = BSQ(32), points(32)
    expected = quantizer(z)
    with torch.autocast("cpu", dtype=dtype):
        output = quantizer(z)
        decoded = quantizer.decode(output.codes)
    assert torch.equal(output.codes, expected.codes)
    assert output.latents.dtype == decoded.dtype == output.loss.dtype == torch.float32
    torch.testing.assert_close(output.latents, expected.latents)
    torch.testing.assert_close(output.loss, expected.loss)


@pytest.mark.parametrize("dim", [6, 16])
def test_means_of_codes_and_of_bits_are_expectations(dim):
    torch.manual_seed(0)
    quantizer = BSQ(dim, bits=6)
    codes = torch.randint(64, (2, 1, 30))
    torch.testing.assert_close(quantizer.decode_mean(one_hot(codes, (64,))), quantizer.decode(codes))
    ones = torch.rand(2, 7, 6)
    every = torch.arange(64)
    bits = every[:, None] >> torch.arange(6) & 1
    weight = torch.where(bits > 0, ones[..., None, :], 1 - ones[..., None, :]).prod(-1)  # [B, F, 64]
    expected = torch.einsum("bfc,dc->bdf", weight, quantizer.decode(every.view(1, 1, 64))[0])
    torch.testing.assert_close(quantizer.decode_mean([weight]), expected)
    torch.testing.assert_close(super(FSQ.__base__, quantizer).decode_mean([weight]), expected)
    digits = [torch.stack((1 - p, p), -1) for p in ones.unbind(-1)]
    torch.testing.assert_close(quantizer.decode_digits([digits]), expected)
    torch.testing.assert_close(Quantizer.decode_digits(quantizer, [digits]), expected)


def test_it_compiles_to_the_same_result():
    quantizer, z = BSQ(4, bits=4), points(4)
    compiled = torch.compile(quantizer, backend="eager", fullgraph=True)
    for found, expected in zip(compiled(z), quantizer(z), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("wrong", [
    {"bits": 0}, {"bits": 49}, {"entropy_weight": -1.0}, {"diversity": float("inf")}, {"commitment": -0.5},
    {"inverse_temperature": 0.0},
])  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=rf"^{name} {value} must"):
        BSQ(16, **wrong)


def fit(steps: int, resume=None):
    module = tiny_module()
    torch.manual_seed(2)
    module.codec.quantizer = BSQ(16, bits=8, commitment=0.1)
    trainer = quiet_trainer(max_steps=steps)
    trainer.fit(module, VoiceData(), ckpt_path=resume)
    return trainer


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    whole, resumed = whole_and_resumed(fit, tmp_path)
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(whole[part], resumed[part], rtol=0, atol=0)
