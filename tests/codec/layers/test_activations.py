"""SnakeBeta by its formula; the anti-aliased operator against plain convolutions in float64, with its gradients."""

import subprocess
import sys

import pytest
import torch

from codec.layers import anti_aliased
from codec.layers.activations import AntiAliasedActivation, SnakeBeta
from codec.layers.anti_aliased import BLOCK, anti_aliased_snake, by_convolution
from tests.support.paths import ROOT


def random_inputs(rows, channels, length, taps=12):
    """Audio, α and 1 / β that need gradients, the filter, and a gradient of the output, all in float64."""
    torch.manual_seed(length)
    lowpass = AntiAliasedActivation(SnakeBeta(1), taps).lowpass.double()
    factors = ((0.5 * torch.randn(2, channels, 1, dtype=torch.double)).exp()).unbind(0)
    x, gz = torch.randn(2, rows, channels, length, dtype=torch.double).unbind(0)
    return [t.detach().clone().requires_grad_() for t in (x, *factors)], lowpass, gz


def with_gradients(function, inputs, lowpass, gz):
    z = function(*inputs, lowpass)
    return [z.detach(), *torch.autograd.grad(z, inputs, gz)]


def relative_error(value, wanted):
    return float((value.double() - wanted).norm() / wanted.norm())


def test_snake_beta_is_its_formula():
    snake, x = SnakeBeta(3), torch.randn(2, 3, 7)
    torch.nn.init.normal_(snake.log_alpha)
    torch.nn.init.normal_(snake.log_beta)
    alpha, beta = snake.log_alpha.exp(), snake.log_beta.exp()
    torch.testing.assert_close(snake(x), x + torch.sin(alpha * x) ** 2 / beta)


@pytest.mark.parametrize("taps", [6, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("length", [1, 2, 5, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 1000])
def test_operator_equals_convolutions_in_float64(taps, length):
    arguments = random_inputs(2, 5, length, taps)
    values = with_gradients(anti_aliased_snake, *arguments)
    for value, wanted in zip(values, with_gradients(by_convolution, *arguments), strict=True):
        torch.testing.assert_close(value, wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("length", [7, 1000])
def test_float32_is_within_1e_5_of_float64(length):
    inputs, lowpass, gz = random_inputs(3, 4, length)
    wanted = with_gradients(by_convolution, inputs, lowpass, gz)
    inputs = [t.detach().float().requires_grad_() for t in inputs]
    values = with_gradients(anti_aliased_snake, inputs, lowpass.float(), gz.float())
    assert max(relative_error(v, w) for v, w in zip(values, wanted, strict=True)) < 1e-5


def test_bfloat16_keeps_its_type_and_computes_in_float32():
    inputs, lowpass, gz = random_inputs(1, 4, 500)
    rounded = [
        inputs[0].detach().bfloat16().requires_grad_(),
        *(t.detach().float().requires_grad_() for t in inputs[1:]),
    ]
    values = with_gradients(anti_aliased_snake, rounded, lowpass.float(), gz.bfloat16())
    exact = [rounded[0].detach().double().requires_grad_(), *inputs[1:]]
    wanted = with_gradients(by_convolution, exact, lowpass, gz.bfloat16().double())
    assert values[0].dtype == values[1].dtype == torch.bfloat16 and values[2].dtype == torch.float32
    for value, exactly in zip(values, wanted, strict=True):
        bound = 2**-8 if value.dtype == torch.bfloat16 else 1e-5
        assert relative_error(value, exactly) < bound


def test_only_inputs_are_kept_for_backward():
    activation, x = AntiAliasedActivation(SnakeBeta(4)), torch.randn(1, 4, 1000, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        activation(x)
    assert sum(kept) <= x.numel() + 10 * 4 + 12 and max(kept) == x.numel()


def test_many_rows_go_in_groups(monkeypatch):
    arguments = random_inputs(2, 7, 100)
    wanted = with_gradients(anti_aliased_snake, *arguments)
    monkeypatch.setattr(anti_aliased, "CACHE_SIZE", 250)
    for value, other in zip(with_gradients(anti_aliased_snake, *arguments), wanted, strict=True):
        torch.testing.assert_close(value, other, atol=1e-12, rtol=1e-12)


def test_operator_is_registered_correctly():
    inputs, lowpass, _ = random_inputs(1, 3, 40)
    torch.library.opcheck(torch.ops.codec.anti_aliased_snake.default, (*inputs, lowpass))


def test_compiler_takes_it_as_one_operator():
    activation, x = AntiAliasedActivation(SnakeBeta(3)), torch.randn(2, 3, 50)
    compiled = torch.compile(activation, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), activation(x))


@pytest.mark.slow
def test_triton_kernels_equal_convolutions_when_interpreted():
    pytest.importorskip("triton")
    subprocess.run([sys.executable, "-m", "tests.support.interpreted_triton"], cwd=ROOT, check=True, timeout=300)


@pytest.mark.parametrize("taps", [4, 7])
def test_other_taps_are_refused(taps):
    with pytest.raises(ValueError, match=f"taps {taps} must be even and at least 6"):
        AntiAliasedActivation(SnakeBeta(1), taps)
