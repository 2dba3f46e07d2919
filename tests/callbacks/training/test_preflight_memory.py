"""Preflight says before the first batch whether a training step fits the GPU."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from callbacks.training.preflight_memory import LiveBytes, compare, device_memory
from tests.gpu.pretend.stubs import build, environment, unavailable
from tests.support.paths import ROOT
from tests.support.training import tiny_module

no_pretend_gpu = pytest.mark.skipif(bool(unavailable()), reason=f"no pretend GPU: {unavailable()}")
CARD = 80 * 10**9

ESTIMATE = """
import json, torch
from types import SimpleNamespace
from lightning.pytorch.plugins import MixedPrecision
from callbacks.training.preflight_memory import step_bytes
from codec import Adversary, BinarySymmetricChannel, CodecModule, MixedChannel
from tests.gpu.pretend import operations
from tests.support.training import discriminators, tiny_module, weights
operations.install()
data = SimpleNamespace(audio_format=SimpleNamespace(rates=(16000,)), crop_samples=1920, batch_size=4)
def estimate(size, **changes):
    data.batch_size = size
    strategy = SimpleNamespace(root_device=torch.device("cuda", 0))
    plugin = MixedPrecision("bf16-mixed", "cuda")
    trainer = SimpleNamespace(strategy=strategy, precision_plugin=plugin, max_steps=-1, callbacks=[], datamodule=data)
    return step_bytes(trainer, tiny_module(**changes)) if changes else step_bytes(trainer, module)
class Seeding(CodecModule):
    def training_step(self, batch, batch_idx):
        torch.default_generator.manual_seed(5)
        return super().training_step(batch, batch_idx)
module = tiny_module()
module.__class__ = Seeding
def states():
    return torch.cat((torch.get_rng_state(), torch.cuda.get_rng_state()))
before, state = weights(module), states()
sizes = [estimate(size) for size in (16, 32, 64)]
same = all(torch.equal(value, before[name]) for name, value in weights(module).items())
print(json.dumps({
    "sizes": sizes, "same weights": same, "same state": torch.equal(state, states()),
    "device": torch.cuda.memory_allocated(), "gradients": any(p.grad is not None for p in module.parameters()),
    "channel": estimate(64, channel=MixedChannel([BinarySymmetricChannel(0.1), BinarySymmetricChannel(0.0)])),
    "simultaneous": estimate(64, adversary=Adversary(discriminators(), simultaneous=True)),
    "later": estimate(64, discriminator_start=1000), "accumulated": estimate(64, accumulate=2),
    "weights": sum(p.nbytes for p in module.parameters()),
}))
"""


def runner(batch_size: int = 12) -> Any:
    return SimpleNamespace(datamodule=SimpleNamespace(batch_size=batch_size))


@pytest.mark.parametrize(
    ("needed", "at_most", "fatal"),
    [(70e9, False, None), (79e9, False, False), (87e9, False, False), (89e9, False, True), (102e9, True, False)],
)
def test_a_step_is_refused_where_it_exceeds_the_card_by_a_tenth(needed, at_most, fatal):
    found = list(compare(int(needed), CARD, runner(), at_most=at_most))
    assert [finding.fatal for finding in found] == ([] if fatal is None else [fatal])


def test_the_sentence_states_sizes_and_remedies():
    (found,) = compare(int(102.4e9), CARD, runner(), at_most=False)
    assert found.text == (
        "A training step needs about 102.4 GB and the GPU has 80.0 GB: set data.batch_size 6 with twice the "
        "model.init_args.optimization.accumulate, or checkpointing true in encoder and backbone."
    )
    (found,) = compare(int(102.4e9), CARD, runner(batch_size=1), at_most=True)
    assert "needs up to 102.4 GB" in found.text and "batch_size" not in found.text


def test_bytes_alive_are_summed():
    with FakeTensorMode(), LiveBytes() as live:
        first = torch.empty(1000, device="cuda:0")  # 4000 bytes, rounded up to 4096
        view = first[:10]
        second = first + first
        assert (live.now, live.peak) == (2 * 4096, 2 * 4096)
        del first
        assert live.now == 2 * 4096  # the view keeps its storage
        del view, second
        assert (live.now, live.peak) == (0, 2 * 4096)
        torch.empty(1000)
        assert live.now == 0  # on the CPU


def test_what_cannot_be_estimated_is_said_and_stops_nobody():
    class Odd:
        accumulate = 1

        def training_step(self) -> None: ...

    strategy = SimpleNamespace(root_device=torch.device("cuda", 0))
    data = SimpleNamespace(batch_size=1, crop_samples=320)
    trainer = SimpleNamespace(strategy=strategy, datamodule=data, max_steps=1, world_size=1)
    (found,) = device_memory(trainer, Odd())
    assert not found.fatal and "\n" not in found.text
    assert found.text.startswith("The memory of a training step cannot be estimated (AttributeError: ")


def test_nothing_is_estimated_on_a_cpu():
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    assert not list(device_memory(SimpleNamespace(strategy=strategy), tiny_module()))


@pytest.mark.slow
@no_pretend_gpu
def test_an_estimate_touches_neither_module_nor_device_nor_random_state():
    known = {**os.environ, **environment(build()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", ESTIMATE], env=known, cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    small, middle, large = found["sizes"]
    assert found["same weights"] and found["same state"] and not found["device"] and not found["gradients"]
    assert large - middle == pytest.approx(2 * (middle - small), rel=0.1)  # activations are in proportion to the batch
    assert found["channel"] == large  # bits are sent on the CPU
    assert found["simultaneous"] == pytest.approx(large, rel=0.3)
    assert large == found["later"]  # discriminators that join later count from the start
    assert 0 <= found["accumulated"] - large <= 1.5 * found["weights"]
