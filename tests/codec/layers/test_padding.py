"""Reflection equals torch's own in value and gradient, without its operator."""

import pytest
import torch
import torch.nn.functional as F

from codec.errors import InvalidValue
from codec.layers.padding import reflect_ends
from tests.support.operators import OperatorNames


@pytest.mark.parametrize("shape", [(3, 9), (2, 4, 9), (2, 1, 9)])
@pytest.mark.parametrize("before", [0, 1, 4, 8])
@pytest.mark.parametrize("after", [0, 1, 5, 8])
def test_equals_reflection_padding(shape, before, after):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected = F.pad(x, (before, after), mode="reflect")
    found = reflect_ends(x, before, after)
    assert torch.equal(found, expected)
    slope = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, x, slope)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-14, atol=1e-14)


def test_runs_no_operator_without_a_deterministic_gradient():
    x = torch.randn(2, 1, 50, requires_grad=True)
    with OperatorNames() as ours:
        reflect_ends(x, 20, 30).square().sum().backward()
    with OperatorNames() as theirs:
        F.pad(x, (20, 30), mode="reflect").square().sum().backward()
    assert any("reflection_pad1d_backward" in name for name in theirs.names)
    assert not any("reflection_pad" in name for name in ours.names)


def test_without_padding_nothing_is_copied():
    x = torch.randn(2, 5)
    assert reflect_ends(x, 0, 0) is x


@pytest.mark.parametrize(("before", "after"), [(5, 0), (0, 5), (9, 9), (-1, 0), (0, -1)])
def test_refuses_reflections_as_long_as_the_signal(before, after):
    with pytest.raises(InvalidValue, match="5 samples"):
        reflect_ends(torch.zeros(1, 1, 5), before, after)
