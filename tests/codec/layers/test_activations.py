"""SnakeBeta by its formula; the anti-aliased form equal in blocks and as convolutions, gradients too."""

import pytest
import torch

from codec.layers.activations import BLOCK, AntiAliasedActivation, SnakeBeta


def random_snake(channels):
    torch.manual_seed(channels)
    snake = SnakeBeta(channels)
    torch.nn.init.normal_(snake.log_alpha)
    torch.nn.init.normal_(snake.log_beta)
    return snake


def factors(snake):
    return snake.log_alpha.exp(), 1 / (snake.log_beta.exp() + 1e-9)


def test_snake_beta_is_its_formula():
    snake, x = random_snake(3), torch.randn(2, 3, 7)
    alpha, beta = snake.log_alpha.exp(), snake.log_beta.exp()
    torch.testing.assert_close(snake(x), x + torch.sin(alpha * x) ** 2 / beta)


@pytest.mark.parametrize("taps", [6, 8, 10, 12])
@pytest.mark.parametrize("length", [1, 2, 5, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 1000])
def test_blocks_and_convolutions_agree(taps, length):
    activation, x = AntiAliasedActivation(random_snake(5), taps), torch.randn(2, 5, length)
    convolved = activation._by_convolution(x, *factors(activation.activation))
    assert activation(x).shape == x.shape
    torch.testing.assert_close(activation(x), convolved, atol=1e-5, rtol=1e-5)


def test_their_gradients_agree():
    activation = AntiAliasedActivation(random_snake(4))
    x = torch.randn(2, 4, 77, requires_grad=True)
    wanted = torch.randn(2, 4, 77)
    parameters = (x, activation.activation.log_alpha, activation.activation.log_beta)
    blocks = torch.autograd.grad((activation(x) * wanted).sum(), parameters)
    convolved = activation._by_convolution(x, *factors(activation.activation))
    for one, other in zip(blocks, torch.autograd.grad((convolved * wanted).sum(), parameters), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_many_channels_go_in_groups(monkeypatch):
    activation, x = AntiAliasedActivation(random_snake(7)), torch.randn(1, 7, 100)
    expected = activation(x)
    monkeypatch.setattr("codec.layers.activations.CACHE_SIZE", 250)
    assert torch.equal(activation(x), expected)


@pytest.mark.parametrize("taps", [4, 7])
def test_other_taps_are_refused(taps):
    with pytest.raises(ValueError, match=f"taps {taps} must be even and at least 6"):
        AntiAliasedActivation(SnakeBeta(1), taps)
