"""Sharded training on two ranks equals unsharded training on two ranks, and resumes."""

import os
import subprocess
import sys

import pytest
import torch

from tests.support.sharded import HALF, STEPS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two ranks have trained unsharded, sharded, sharded for half the steps, and from there to the end."""
    folder = tmp_path_factory.mktemp("sharded")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "tests.support.sharded", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def saved(folder, name):
    return torch.load(folder / name, weights_only=True)


def assert_close(found, expected, *, exact=False):
    torch.testing.assert_close(found, expected, **({"rtol": 0, "atol": 0} if exact else {"rtol": 1e-4, "atol": 1e-6}),
                               equal_nan=True)  # fmt: skip


def test_losses_and_weights_equal_those_of_unsharded_training(folder):
    """Also those of the validation on averaged weights, where rank 1 has no clip, and the norms used for clipping."""
    whole, sharded = (saved(folder, f"{name}0.pt")["losses"] for name in ("whole", "sharded"))
    assert len(whole) == STEPS and {"val/mel", "gradient_norm/generator", "train/discriminator"} <= set(whole[-1])
    assert_close(sharded, whole)
    whole, sharded = (saved(folder, f"{name}.ckpt") for name in ("whole", "sharded"))
    for part in ("state_dict", "codec_ema"):
        assert_close(sharded[part], whole[part])


def test_a_rank_keeps_its_shard(folder):
    whole, *shares = (saved(folder, f"{name}.pt")["kept"] for name in ("whole0", "sharded0", "sharded1"))
    assert max(shares) < 0.6 * whole <= sum(shares)


def test_a_resumed_run_equals_an_uninterrupted_one(folder):
    assert_close(saved(folder, "resumed0.pt")["losses"], saved(folder, "sharded0.pt")["losses"][HALF:], exact=True)
    whole, resumed = (saved(folder, f"{name}.ckpt") for name in ("sharded", "resumed"))
    for part in ("state_dict", "codec_ema", "optimizer_states"):
        assert_close(resumed[part], whole[part], exact=True)


def test_weights_are_gathered_in_bfloat16_for_training_and_in_float32_for_evaluation(folder):
    found = {name: saved(folder, f"{name}0.pt")["computed"] for name in ("sharded", "whole_bf16", "sharded_bf16")}
    assert found["sharded"] == found["whole_bf16"] == {"training": ["torch.float32"], "evaluation": ["torch.float32"]}
    assert found["sharded_bf16"] == {"training": ["torch.bfloat16"], "evaluation": ["torch.float32"]}


def test_losses_in_bfloat16_equal_those_of_unsharded_training_to_its_rounding(folder):
    """All losses of the first batch, and the reconstruction throughout; what is kept stays in float32."""
    whole, sharded = (saved(folder, f"{name}_bf160.pt")["losses"] for name in ("whole", "sharded"))
    for name, value in whole[0].items():
        assert sharded[0][name] == pytest.approx(value, rel=0.005, abs=1e-3, nan_ok=True), name
    for one, other in zip(whole, sharded, strict=True):
        for name in {"train/mel", "val/mel"} & set(one):
            assert other[name] == pytest.approx(one[name], rel=0.005)
    state = saved(folder, "sharded_bf16.ckpt")["state_dict"]
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}
