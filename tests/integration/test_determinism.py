"""`--trainer.deterministic true`: no operation of a training step is among those that then raise on CUDA."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F

from callbacks import CodebookUsage, CodecEMA
from codec import CodecModule, StudentEncoder
from codec.layers.l3ac import running_sum
from tests.integration.test_hot_path import CHANNELS, KINDS
from tests.support.determinism import Nondeterministic
from tests.support.distilling import save_teacher, student_of
from tests.support.operators import DuringTraining
from tests.support.training import VoiceData, quiet_trainer, tiny_module


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def raising(module: CodecModule) -> set[str]:
    watch = DuringTraining(Nondeterministic())
    trainer = quiet_trainer(max_steps=2, deterministic=True, callbacks=[watch, CodecEMA(), CodebookUsage(1)])
    trainer.fit(module, VoiceData())
    return watch.mode.found


@pytest.mark.parametrize("make", [*KINDS.values(), CHANNELS["mixed"]], ids=[*KINDS, "mixed"])
def test_no_operation_of_a_step_raises_on_cuda(make: Callable[[], CodecModule]):
    assert not raising(make())


@pytest.mark.parametrize("causal", [False, True])
def test_no_operation_of_a_distillation_raises_on_cuda(tmp_path, causal):
    module = student_of(save_teacher(tmp_path / "teacher.ckpt"))
    small = dict(widths=(4, 4), strides=(4,), depths=(1, 1), attention_stride=40, attention_depth=1, heads=1)
    module.codec.encoder = StudentEncoder(16, window=4, causal=causal, **small)
    assert not raising(module)


def test_operations_that_raise_are_found():
    x = torch.randn(1, 2, 8, requires_grad=True)
    with Nondeterministic() as mode:
        F.pad(x, (2, 2), mode="reflect").sum().backward()
        F.interpolate(x, scale_factor=2, mode="linear").sum().backward()
        x.cumsum(-1)
        torch.arange(3).cumsum(0)  # of whole numbers: deterministic
        torch.bincount(torch.arange(3))
    assert mode.found == {"reflection_pad1d_backward", "upsample_linear1d_backward", "cumsum"}


@pytest.mark.parametrize("length", [1, 2, 7, 64, 1000])
def test_running_sums_are_the_same_either_way(length):
    x = torch.randn(2, 3, length, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, length, dtype=torch.float64)
    results = []
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        sums = running_sum(x)
        (gradient,) = torch.autograd.grad((sums * weights).sum(), x)
        results.append((sums.detach(), gradient))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_each_batch_seeds_the_gpus_too_so_that_no_checkpoint_need_hold_their_states(monkeypatch):
    """A resumed run draws on a GPU what an uninterrupted one would: each batch's seed is a function of its number."""
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)
    quiet_trainer(max_steps=3).fit(tiny_module(), VoiceData())
    whole = seeds[-3:]
    quiet_trainer(max_steps=3).fit(tiny_module(), VoiceData())
    assert len(set(whole)) == 3 and seeds[-3:] == whole
