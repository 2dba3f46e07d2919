"""Data-parallel training on gloo ranks: the joint batch's weights, equal on all ranks; skipped steps skipped by all."""

import subprocess
import sys

import pytest
import torch

from tests.codec.training import VoiceData, quiet_trainer, sgd, tiny_module, weights

SETTINGS = {"optimizer": sgd, "discriminator_optimizer": sgd, "gradient_clip": 0.0}


def two_ranks(folder, *, steps, size, accumulate=1, broken=-1, rvq=0):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [folder, steps, size, accumulate, broken, rvq]
    result = subprocess.run(
        [*launch, "-m", "tests.codec.ranks", *map(str, words)], capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_equal_one_with_the_joint_batch(tmp_path, accumulate):
    single = tiny_module(**SETTINGS, accumulate=accumulate)
    quiet_trainer(max_steps=2).fit(single, VoiceData(4))
    first, second = two_ranks(tmp_path, steps=2, size=2, accumulate=accumulate)
    for name, value in weights(single).items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_a_broken_batch_on_one_rank_is_skipped_by_all(tmp_path):
    kept = tiny_module(**SETTINGS)
    quiet_trainer(max_steps=1).fit(kept, VoiceData(4))
    first, second = two_ranks(tmp_path, steps=2, size=2, broken=1)
    assert first["skipped"] == second["skipped"] == 2
    for name, value in weights(kept).items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, atol=1e-6, rtol=1e-4)


def test_codebooks_are_the_same_on_both_ranks_and_have_learned(tmp_path):
    """k-means on batch 0, restarts, a batch that is broken on one rank; then uneven batches, broken ones among them."""
    first, second = two_ranks(tmp_path, steps=5, size=2, broken=2, rvq=1)
    tables = [name for name in first if "codebooks" in name]
    assert len(tables) == 4 * 3
    for name in first:
        if name != "skipped":
            assert torch.equal(first[name], second[name]), name
    for stage in range(4):
        assert first[f"codec.quantizer.codebooks.{stage}.batches"] == 4  # the broken batch taught nothing
    first, second = (torch.load(tmp_path / f"codebooks{rank}.pt", weights_only=True) for rank in (0, 1))
    for kind, state in first.items():
        for name, value in state.items():
            assert torch.equal(value, second[kind][name]), (kind, name)
        restarted = state["restarted"].tolist()
        assert restarted[0] == restarted[3] == 0
        assert min(restarted[2], restarted[4], restarted[5]) > 0
        assert state["batches"] == 4
