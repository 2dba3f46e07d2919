"""Muon: orthogonal steps for matrices, AdamW's for the rest."""

import copy

import pytest
import torch
from torch import nn

from codec import InvalidValue, Muon
from codec.training.muon import is_matrix, orthogonalised
from codec.training.optimizers import make_optimizer


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (24, 80), (80, 24)])
def test_orthogonalised_sets_all_singular_values_to_about_one(rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(0)
    smaller = min(rows, columns)
    left = torch.linalg.qr(torch.randn(rows, smaller, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(columns, smaller, generator=generator)).Q
    values = torch.logspace(0, -2, smaller)  # the largest is a hundred times the smallest
    found = orthogonalised(left @ torch.diag(values) @ right.T, 5).float()
    assert found.shape == (rows, columns)
    along = left.T @ found @ right  # the singular vectors are kept: what is off their diagonal is rounding
    assert along.diagonal().min() > 0.6 and along.diagonal().max() < 1.3
    assert (along - torch.diag(along.diagonal())).abs().max() < 0.05


def test_no_gradient_moves_no_matrix() -> None:
    assert torch.equal(orthogonalised(torch.zeros(20, 30), 5).float(), torch.zeros(20, 30))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((16, 16), True), ((15, 900), False), ((900, 15), False), ((64, 1, 7), False), ((64, 3, 7), True), ((64,), False)],
)
def test_a_matrix_has_sixteen_rows_and_columns(shape: tuple[int, ...], *, expected: bool) -> None:
    assert is_matrix(torch.zeros(shape)) is expected


def test_the_step_of_a_matrix_is_its_learning_rate_in_every_direction() -> None:
    tall = nn.Parameter(torch.zeros(64, 16))
    tall.grad = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    Muon([tall], lr=9.0, matrix_lr=0.1, weight_decay=0.0).step()
    sizes = torch.linalg.svdvals(tall.detach()) / (0.1 * 2)  # the square root of 64 / 16
    assert sizes.min() > 0.6 and sizes.max() < 1.3
    assert (tall.detach() * tall.grad).sum() < 0  # downhill


def test_what_is_no_matrix_moves_as_under_adamw() -> None:
    torch.manual_seed(2)
    ours, theirs = nn.Linear(8, 12), nn.Linear(8, 12)
    theirs.load_state_dict(ours.state_dict())
    muon = Muon(ours.parameters(), lr=0.01, betas=(0.8, 0.9), weight_decay=0.1)
    adamw = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.8, 0.9), weight_decay=0.1)
    for seed in range(5):
        x = torch.randn(4, 8, generator=torch.Generator().manual_seed(seed))
        for model, optimizer in ((ours, muon), (theirs, adamw)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_it_goes_on_from_its_state_as_if_it_had_not_stopped() -> None:
    torch.manual_seed(3)
    one = nn.Sequential(nn.Linear(32, 24), nn.GELU(), nn.Linear(24, 4))
    other = copy.deepcopy(one)

    def steps(model: nn.Module, optimizer: Muon, seeds: range) -> None:
        for seed in seeds:
            x = torch.randn(6, 32, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()

    whole = Muon(one.parameters())
    steps(one, whole, range(6))
    first = Muon(other.parameters())
    steps(other, first, range(3))
    second = Muon(other.parameters())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(other, second, range(3, 6))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matrix_lr": -1.0}, "matrix_lr -1.0 of Muon must be a number of at least 0"),
        ({"lr": float("nan")}, "lr nan of Muon"),
        ({"momentum": 1.0}, "momentum 1.0 of Muon must lie between 0 and 1"),
        ({"betas": (0.9, 1.5)}, "betas 1.5 of Muon"),
        ({"iterations": 0}, "iterations 0 of Muon must be at least 1"),
    ],
)
def test_settings_outside_their_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Muon([nn.Parameter(torch.zeros(20, 20))], **options)


def test_shards_are_refused_in_a_sentence_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.training.muon.DTensor", nn.Parameter)  # as a sharded parameter is one
    with pytest.raises(InvalidValue) as caught:
        make_optimizer(Muon, [nn.Parameter(torch.zeros(20, 20))], option="optimization.optimizer")
    assert str(caught.value) == "Muon needs whole matrices, not shards: take torch.optim.AdamW."
