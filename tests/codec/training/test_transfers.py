"""Copies to the host: equal values, types and names, in few pieces, tensors held twice kept as one."""

from collections import OrderedDict

import pytest
import torch

from codec.training import transfers
from codec.training.transfers import fetch_state, fetch_tensors, fetch_values


@pytest.fixture
def copies(monkeypatch) -> list[int]:
    """Bytes of each copy; every tensor counts as one on the device."""
    made, cpu, tolist = [], torch.Tensor.cpu, torch.Tensor.tolist
    monkeypatch.setattr(transfers, "_on_device", lambda value: isinstance(value, torch.Tensor))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: made.append(self.nbytes) or cpu(self))
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: made.append(self.nbytes) or tolist(self))
    return made


def various() -> list[torch.Tensor]:
    return [torch.randn(3, 4), torch.randn(4, 3).T, torch.tensor(5.0), torch.tensor(7), torch.zeros(0, 2),
            torch.randn(2, 2).bfloat16(), torch.tensor([True, False]), torch.randn(6)[::2]]  # fmt: skip


def test_tensors_come_in_one_copy_of_each_type(copies):
    tensors = various()
    found = fetch_tensors(tensors)
    assert len(copies) == 4  # float32, int64, bfloat16, bool
    for copy, tensor in zip(found, tensors, strict=True):
        assert copy.dtype == tensor.dtype and torch.equal(copy, tensor) and copy.is_contiguous()
        assert copy.untyped_storage().nbytes() == tensor.nbytes  # what torch.save writes


def test_pieces_are_bounded(copies):
    tensors = [torch.randn(10) for _ in range(5)] + [torch.randn(100)]
    found = fetch_tensors(tensors, piece=80)
    assert copies == [80, 80, 40, 400]
    assert all(torch.equal(copy, tensor) for copy, tensor in zip(found, tensors, strict=True))


def test_a_state_keeps_its_form(copies):
    shared, metadata = torch.randn(5), {"": {"version": 3}}
    weights = OrderedDict(a=torch.randn(2, 2), b=shared)
    weights._metadata = metadata  # type: ignore[attr-defined]
    state = {
        "weights": weights,
        "optimizer": [{"step": torch.tensor(3.0), "other": (shared, 4)}],
        "name": "run",
        7: None,
    }
    found = fetch_state(state)
    assert len(copies) == 1
    assert list(found) == list(state) and found["name"] == "run" and found[7] is None
    assert type(found["weights"]) is OrderedDict and found["weights"]._metadata is metadata
    assert torch.equal(found["weights"]["a"], weights["a"]) and found["weights"]["a"] is not weights["a"]
    assert found["optimizer"][0]["other"][0] is found["weights"]["b"] and found["optimizer"][0]["other"][1] == 4
    assert torch.equal(found["optimizer"][0]["step"], torch.tensor(3.0))


def test_what_lies_on_the_host_is_not_copied():
    state = {"weights": {"a": torch.randn(2)}, "list": [torch.randn(1)]}
    found = fetch_state(state)
    assert found["weights"]["a"] is state["weights"]["a"] and found["list"][0] is state["list"][0]


def test_values_come_in_one_copy(copies):
    values = {"loss": torch.tensor(2.5), "rate": 0.125, "norm": torch.tensor([7.0]), "count": torch.tensor(3)}
    assert fetch_values(values) == {"loss": 2.5, "rate": 0.125, "norm": 7.0, "count": 3.0}
    assert list(fetch_values(values)) == list(values) and len(copies) == 2
