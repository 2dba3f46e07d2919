"""Data-parallel training on 2 and 3 gloo ranks: the joint batch's gradients and weights, equal on all ranks."""

import os
import subprocess
import sys

import pytest
import torch

from tests.support import ranks as script
from tests.support.training import VoiceData, quiet_trainer, sgd, tiny_module, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def single():
    """The results of one process on the joint batches."""
    return script.scenarios(1)


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request, tmp_path_factory):
    """The results of each of 2 or 3 ranks, each on its part of the batches."""
    folder = tmp_path_factory.mktemp("ranks")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(request.param)]
    command = [*launch, "-m", "tests.support.ranks", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(request.param)]


def assert_equal(ranks, part):
    """All ranks hold the same, bit for bit."""
    for other in ranks[1:]:
        torch.testing.assert_close(part(other), part(ranks[0]), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["plain", "accumulated", "bsq"])
def test_gradients_and_weights_are_those_of_the_joint_batch(single, ranks, name):
    assert_equal(ranks, lambda rank: [rank[name]["state"], rank[name]["gradients"]])
    found, expected = ranks[0][name], single[name]
    assert len(found["gradients"]) == len(expected["gradients"]) == (2 if name == "accumulated" else 4)
    for gradient, joint in zip(found["gradients"], expected["gradients"], strict=True):
        assert float((gradient - joint).norm() / joint.norm()) < 1e-6
    for key, value in expected["state"].items():
        torch.testing.assert_close(found["state"][key], value, atol=1e-6, rtol=1e-4, msg=lambda m, k=key: f"{k}: {m}")


def test_concealment_is_that_of_the_joint_batch(single, ranks):
    assert_equal(ranks, lambda rank: rank["concealment"])
    found, expected = ranks[0]["concealment"], single["concealment"]
    for gradient, joint in zip(found["gradients"], expected["gradients"], strict=True):
        assert float((gradient - joint).norm() / joint.norm()) < 1e-4
    for key, value in expected["state"].items():
        torch.testing.assert_close(found["state"][key], value, atol=1e-6, rtol=1e-4)


def test_a_broken_batch_on_one_rank_is_skipped_and_counted_by_all(ranks):
    kept = tiny_module(optimizer=sgd, discriminator_optimizer=sgd, gradient_clip=0.0)
    quiet_trainer(max_steps=1).fit(kept, VoiceData(script.JOINT_BATCH))
    assert_equal(ranks, lambda rank: rank["broken"]["state"])
    assert [rank["broken"]["skipped"] for rank in ranks] == [2] * len(ranks)
    for name, value in weights(kept).items():
        torch.testing.assert_close(ranks[0]["broken"]["state"][name], value, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["moving_means", "channel_optimised"])
def test_codebooks_of_moving_means_are_those_of_the_joint_batch(single, ranks, name):
    assert_equal(ranks, lambda rank: rank[name])
    torch.testing.assert_close(ranks[0][name], single[name], rtol=1e-5, atol=1e-6)


def test_codebooks_are_the_same_on_all_ranks_and_have_learned(ranks):
    """k-means on batch 0, restarts, a batch that is broken on one rank; then uneven batches, broken ones among them."""
    state = ranks[0]["rvq"]["state"]
    assert len([name for name in state if "codebooks" in name]) == 4 * 3
    assert_equal(ranks, lambda rank: rank["rvq"]["state"])
    for stage in range(4):
        assert state[f"codec.quantizer.codebooks.{stage}.batches"] == 4  # the broken batch taught nothing
    assert_equal(ranks, lambda rank: rank["uneven"])
    for book in ranks[0]["uneven"].values():
        restarted = book["restarted"].tolist()
        assert restarted[0] == restarted[3] == 0
        assert min(restarted[2], restarted[4], restarted[5]) > 0
        assert book["batches"] == 4
