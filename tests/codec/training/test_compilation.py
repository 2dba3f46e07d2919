"""Compiled training: graphs of fixed shapes for training batches alone, and the same run as without."""

import copy
import io
from collections.abc import Iterator

import lightning as L
import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils.data import DataLoader

from codec import CodecModule
from codec.training import compilation
from codec.training.compilation import compile_parts, release_parts
from tests.support.distilling import save_teacher, student_of
from tests.support.training import VoiceData, quiet_trainer, sgd, tiny_module, weights

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # looked at while tracing
SETTINGS = {"limit_val_batches": 2, "check_val_every_n_epoch": None, "num_sanity_val_steps": 2}


class Clips(VoiceData):
    """Two validation clips of different lengths, neither that of a crop."""

    def val_dataloader(self) -> DataLoader:
        return DataLoader(super().val_dataloader(), batch_size=None)


class Count(L.Callback):
    """How many graphs had been compiled after each batch and validation."""

    def __init__(self) -> None:
        self.graphs: list[int] = []

    def on_train_batch_end(self, *_) -> None:
        self.graphs.append(counters["stats"]["unique_graphs"])

    def on_validation_end(self, *_) -> None:
        self.graphs.append(counters["stats"]["unique_graphs"])


@pytest.fixture(autouse=True)
def traced(monkeypatch) -> Iterator[None]:
    """Parts are traced and guarded as ever, but their graphs run as they are: code generation takes minutes."""
    compile_with = compilation.compile_parts
    monkeypatch.setattr(compilation, "compile_parts", lambda *a: compile_with(*a, backend="eager"))
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def fit(module: CodecModule, steps: int, **settings) -> list[int]:
    count = Count()
    quiet_trainer(max_steps=steps, callbacks=[count], **SETTINGS | settings).fit(module, Clips())
    return count.graphs


def test_sanity_check_and_validation_compile_nothing():
    graphs = fit(tiny_module(discriminator_start=100, compiled=True), 4, val_check_interval=2)
    assert graphs == [0, 2, 2, 2, 2, 2, 2]  # the sanity check; then encoder and decoder, at the first batch


def test_cudnn_searches_for_algorithms_in_training_alone():
    class Look(L.Callback):
        def on_train_batch_start(self, *_) -> None:
            seen.append(("train", torch.backends.cudnn.benchmark))

        def on_validation_batch_start(self, *_) -> None:
            seen.append(("val", torch.backends.cudnn.benchmark))

    before = torch.backends.cudnn.benchmark
    for asked in (True, False):
        seen: list[tuple[str, bool]] = []
        trainer = quiet_trainer(max_steps=2, benchmark=asked, callbacks=[Look()], val_check_interval=1, **SETTINGS)
        trainer.fit(tiny_module(discriminators=[]), Clips())
        assert seen[0] == ("val", False) and set(seen) == {("val", False), ("train", asked)}
    torch.backends.cudnn.benchmark = before


def test_evaluation_after_training_compiles_nothing_and_copies_know_nothing_of_it():
    module = tiny_module(discriminators=[], compiled=True)
    fit(module, 1)
    assert counters["stats"]["unique_graphs"] == 2
    module.train()
    for samples in (1000, 2000):
        module.codec(torch.randn(1, 1, samples))
    compile_parts([module.codec], backend="eager")
    copied = copy.deepcopy(module.codec)
    torch.save(module.codec, io.BytesIO())
    copied(torch.randn(1, 1, 800))
    assert counters["stats"]["unique_graphs"] == 2
    module.codec(torch.randn(1, 1, 800))
    assert counters["stats"]["unique_graphs"] > 2
    release_parts([module.codec])
    before = counters["stats"]["unique_graphs"]
    module.codec(torch.randn(1, 1, 810))
    assert counters["stats"]["unique_graphs"] == before


@pytest.mark.slow
def test_discriminators_compile_once_when_they_join_and_the_run_stays_the_same(tmp_path):
    runs = {}
    for compiled in (False, True):
        module = tiny_module(discriminator_start=2, optimizer=sgd, discriminator_optimizer=sgd, compiled=compiled)
        graphs = fit(module, 5, val_check_interval=3)
        runs[compiled] = weights(module)
    after_joining = graphs[3]
    assert graphs == [
        0,
        2,
        2,
        after_joining,
        after_joining,
        after_joining,
        after_joining,
        *[after_joining] * (len(graphs) - 7),
    ]
    assert after_joining <= 2 + 2 * 3  # at most one graph of each discriminator for each of its uses
    for name, value in runs[False].items():
        torch.testing.assert_close(value, runs[True][name], atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
def test_a_resumed_run_compiles_what_a_fresh_one_does(tmp_path):
    module = tiny_module(discriminators=[], compiled=True)
    trainer = quiet_trainer(max_steps=2, **SETTINGS, val_check_interval=2)
    trainer.fit(module, Clips())
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    torch._dynamo.reset()
    counters.clear()
    count = Count()
    resumed = quiet_trainer(max_steps=4, callbacks=[count], **SETTINGS, val_check_interval=2)
    resumed.fit(tiny_module(discriminators=[], compiled=True), Clips(), ckpt_path=tmp_path / "run.ckpt")
    assert count.graphs[-1] == 2


@pytest.mark.slow
def test_a_student_compiles_with_its_teachers_encoder(tmp_path):
    teacher = save_teacher(tmp_path / "teacher.ckpt")
    module = student_of(teacher, discriminator_start=100, compiled=True)
    graphs = fit(module, 2)
    assert graphs[-1] == 3
    plain = student_of(teacher, discriminator_start=100)
    fit(plain, 2)
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, module.state_dict()[name], atol=1e-5, rtol=1e-3)
