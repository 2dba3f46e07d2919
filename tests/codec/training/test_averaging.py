"""Gradients averaged during the backward pass equal those averaged after it, on two ranks."""

import pytest
import torch

from codec.training.distributed.averaging import overlapped_average
from tests.support.averaging import Net, on_two_ranks, work

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return on_two_ranks(work, tmp_path_factory.mktemp("averaging"))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("bucket", [1, 40, 2**20])
@pytest.mark.parametrize("passes", [1, 3])
def test_means_are_those_of_a_plain_reduction_to_the_bit(ranks, passes, bucket, apart):
    """Also where rank 1 has no gradient of a branch, and where earlier passes have accumulated some."""
    for rank in ranks:
        found, expected = rank[f"{passes} {bucket} {apart}"]
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert found[3].abs().max() > 0 and found[5].abs().max() > 0  # the weights of both branches


def test_frozen_parameters_have_no_gradient_and_unreached_ones_zeros(ranks):
    names = [name for name, _ in Net().named_parameters()]
    for rank in ranks:
        found = dict(zip(names, rank["1 40 False"][0], strict=True))
        assert found["frozen"] is None and torch.equal(found["unreached"], torch.zeros(3))


def test_buckets_begin_in_the_backward_pass_in_one_order_on_all_ranks(ranks):
    (sizes, within), (other_sizes, other_within) = (rank["launches"] for rank in ranks)
    assert sizes == other_sizes == [35, 35, 3, 5]  # a branch each, what no pass reaches, and float64
    assert within == 2 and other_within == 0  # rank 1 has no gradient for the first


def test_a_pass_for_one_side_leaves_the_other_alone(ranks):
    torch.testing.assert_close(ranks[0]["two sides"], ranks[1]["two sides"], rtol=0, atol=0)


def test_tensors_of_several_types_are_averaged(ranks):
    for rank in ranks:
        assert rank["tensors"][0].tolist() == [0.5] * 3 and rank["tensors"][1] == 1 and len(rank["tensors"]) == 2
        assert rank["tensors"][1].dtype == torch.float64


def test_objects_go_over_one_group_between_cpus_that_is_kept(ranks):
    for rank in ranks:
        assert rank["objects"] == [{"a": 1}, None]
        assert rank["group"] == (True, True, "gloo")


def test_a_second_pass_is_an_error_and_leaves_no_hook(ranks):
    for rank in ranks:
        assert "one backward pass" in rank["second pass"] and rank["second pass"].endswith("hooks left: 0")


def test_one_rank_has_nothing_to_average():
    net = Net()
    with overlapped_average(net.parameters()):
        net(torch.ones(2, 6), both=False).backward()
    assert net.unreached.grad is None and net.first.weight.grad is not None
