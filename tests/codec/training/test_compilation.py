"""Compiled training: graphs of fixed shapes for training batches alone, and the same run as without."""

import copy
import functools
import io
from collections.abc import Iterator

import lightning as L
import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils.data import DataLoader

from codec import Adversary, CodecModule
from codec.training import compilation
from codec.training.compilation import compile_parts, release_parts
from codec.training.losses import Loss, LossInputs
from tests.support.distilling import save_teacher, student_of
from tests.support.training import VoiceData, discriminators, quiet_trainer, sgd, tiny_module, weights

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # looked at while tracing
ALWAYS = 4  # graphs of encoder, quantizer, decoder and reconstruction loss
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
    for name in ("compile_parts", "compile_method"):
        compile_with = getattr(compilation, name)
        monkeypatch.setattr(compilation, name, functools.partial(compile_with, backend="eager"))
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
    assert graphs == [0, *[ALWAYS] * 6]  # the sanity check; then all at the first batch


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
    assert counters["stats"]["unique_graphs"] == ALWAYS
    module.train()
    for samples in (1000, 2000):
        module.codec(torch.randn(1, 1, samples))
    compile_parts([module.codec], backend="eager")
    copied = copy.deepcopy(module.codec)
    torch.save(module.codec, io.BytesIO())
    copied(torch.randn(1, 1, 800))
    assert counters["stats"]["unique_graphs"] == ALWAYS
    module.codec(torch.randn(1, 1, 800))
    assert counters["stats"]["unique_graphs"] > ALWAYS
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
    assert graphs == [0, ALWAYS, ALWAYS, *[ALWAYS + 2] * (len(graphs) - 3)]  # the passes of the two steps
    for name, value in runs[False].items():
        torch.testing.assert_close(value, runs[True][name], atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


class Outputs(Loss):
    """Sees the discriminators' outputs; its gradient reaches the codec through them."""

    name = "outputs"

    def forward(self, inputs: LossInputs) -> torch.Tensor:
        assert inputs.real and inputs.fake
        return 100 * torch.stack([output.score.mean() for output in inputs.fake]).sum()


@pytest.mark.slow
@pytest.mark.parametrize("losses", [(), (Outputs(),)])
@pytest.mark.parametrize("simultaneous", [False, True])
def test_a_compiled_step_is_the_step_as_written(simultaneous, losses):
    runs = {}
    for compiled in (False, True):
        torch.manual_seed(0)
        adversary = Adversary(discriminators(), optimizer=sgd, simultaneous=simultaneous)
        module = tiny_module(adversary=adversary, optimizer=sgd, losses=losses, compiled=compiled)
        fit(module, 3)
        runs[compiled] = weights(module)
    for name, value in runs[False].items():
        torch.testing.assert_close(value, runs[True][name], atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


class Judge(Loss):
    """Keeps a network in eval mode."""

    name = "judge"

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.BatchNorm1d(1).requires_grad_(False).eval()

    def forward(self, inputs: LossInputs) -> torch.Tensor:
        return self.network(inputs.output.audio).square().mean()


@pytest.mark.filterwarnings("ignore:Found 1 module")
def test_a_validation_keeps_what_is_in_eval_mode():
    module = tiny_module(discriminators=[], losses=[Judge()])
    fit(module, 3, val_check_interval=1)
    network = module.get_submodule("judge.network")
    assert not network.training and network.num_batches_tracked == 0 and module.codec.training


def test_a_validation_that_fails_leaves_compiled_code_to_others():
    class Fail(L.Callback):
        def on_validation_batch_start(self, trainer, *_) -> None:
            if not trainer.sanity_checking:
                raise RuntimeError("no")

    module, searching = tiny_module(compiled=True, discriminator_start=100), torch.backends.cudnn.benchmark
    trainer = quiet_trainer(max_steps=2, callbacks=[Fail()], benchmark=True, val_check_interval=1, **SETTINGS)
    with pytest.raises(RuntimeError, match="no"):
        trainer.fit(module, Clips())
    assert torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = searching
    before = counters["stats"]["unique_graphs"]
    module.codec(torch.randn(1, 1, 800))
    assert counters["stats"]["unique_graphs"] == before
    torch.compile(torch.sin, backend="eager")(torch.zeros(1))
    assert counters["stats"]["unique_graphs"] == before + 1


def test_copies_of_a_module_in_training_have_no_compiled_methods():
    class Copy(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_) -> None:
            assert set(pl_module._compiled_methods) == {"_discriminator_loss", "_judged_terms"}
            assert not copy.deepcopy(pl_module)._compiled_methods

    module = tiny_module(compiled=True, discriminator_start=100)
    quiet_trainer(max_steps=1, callbacks=[Copy()]).fit(module, Clips())
    assert not module._compiled_methods


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
    assert count.graphs[-1] == ALWAYS


@pytest.mark.slow
def test_a_student_compiles_with_its_teachers_encoder(tmp_path):
    teacher = save_teacher(tmp_path / "teacher.ckpt")
    module = student_of(teacher, discriminator_start=100, compiled=True)
    graphs = fit(module, 2)
    assert graphs[-1] == ALWAYS + 2  # the teacher's encoder, and the quantizer without gradients
    plain = student_of(teacher, discriminator_start=100)
    fit(plain, 2)
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, module.state_dict()[name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_run_says_that_its_first_batch_is_slow_where_it_is(caplog, compiled):
    with caplog.at_level("INFO"):
        fit(tiny_module(compiled=compiled), 1, limit_val_batches=0)
    assert ("the first batch takes minutes longer" in caplog.text) is compiled
