"""Canaries: each private name of Lightning that `lightning_internals` touches is there and does what it is used for."""

import csv
import inspect
import re
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from codec import CodecModule
from codec.cli.lightning_internals import option_names
from codec.training import codec_module
from codec.training import lightning_internals as internals
from tests.support.paths import ROOT
from tests.support.training import VoiceData, quiet_trainer, tiny_module


class Data(VoiceData):
    """Validation clips in one loader."""

    def val_dataloader(self):
        return DataLoader(super().val_dataloader(), batch_size=None)


class Watch(L.Callback):
    """Notes what the internals say after each batch."""

    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        due, last = internals.validation_is_due(trainer), internals.training_is_done(trainer)
        self.seen.append((trainer.global_step, due, last, set(internals.values_due(trainer))))
        if last:
            self.checkpoint = internals.dump_checkpoint(trainer)
            internals.log_values(trainer, {"owed": 3.0})
            self.logged = dict(trainer.logged_metrics)

    def on_validation_start(self, trainer, pl_module):
        if trainer.global_step == 4:
            assert "val/mel" in trainer.callback_metrics  # of the validation after batch 2
            internals.forget_value(trainer, "val/mel")
            assert "val/mel" not in trainer.callback_metrics


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run of four batches with two optimizers, a validation every two and a log every second batch."""
    watch = Watch()
    trainer = quiet_trainer(
        max_steps=4, callbacks=[watch], limit_val_batches=1, val_check_interval=2, check_val_every_n_epoch=None,
        log_every_n_steps=2, logger=CSVLogger(tmp_path_factory.mktemp("logs")),
    )  # fmt: skip
    module = tiny_module()
    trainer.fit(module, Data())
    return watch, trainer, module


def test_batches_are_counted_once_however_many_optimizers_step(watched):
    watch, trainer, module = watched
    assert len(module.lightning_optimizers()) == 2
    assert [step for step, *_ in watch.seen] == [1, 2, 3, 4] and trainer.global_step == 4


def test_due_validations_the_last_batch_and_due_values_are_known(watched):
    seen = watched[0].seen
    assert [due for _, due, _, _ in seen] == [False, True, False, True]
    assert [last for _, _, last, _ in seen] == [False, False, False, True]
    assert ["train/mel" in values for *_, values in seen] == [False, True, False, True]


def test_a_checkpoint_is_dumped_without_being_written(watched):
    checkpoint = watched[0].checkpoint
    assert checkpoint["global_step"] == 4 and len(checkpoint["optimizer_states"]) == 2 and "loops" in checkpoint


def test_values_are_logged_outside_of_a_step(watched):
    assert watched[0].logged["owed"] == 3


def test_training_is_extended_and_validated_at_once():
    validated = []

    class Extend(L.Callback):
        def on_train_start(self, trainer, pl_module):
            internals.extend_training(trainer, 1)
            internals.run_validation(trainer)
            assert trainer.training

        def on_validation_end(self, trainer, pl_module):
            validated.append(trainer.global_step)

    trainer = quiet_trainer(max_steps=1, callbacks=[Extend()], limit_val_batches=2, num_sanity_val_steps=0)
    trainer.fit(tiny_module(discriminators=[]), Data())
    assert trainer.global_step == 2 and validated[0] == 0


def test_the_attached_trainer_cluster_and_sampler_are_known(watched):
    _, trainer, module = watched
    assert internals.attached_trainer(module) is trainer
    assert internals.attached_trainer(tiny_module(discriminators=[])) is None
    assert internals.cluster_environment(trainer) is None or isinstance(
        internals.cluster_environment(trainer), LightningEnvironment
    )
    assert internals.shards_clips_again(trainer) is False
    connector = quiet_trainer(use_distributed_sampler=True)._accelerator_connector
    assert connector.use_distributed_sampler is True


def test_how_often_a_model_checkpoint_saves_is_known():
    assert internals.every_n_train_steps(ModelCheckpoint(every_n_train_steps=7)) == 7


def test_launchers_and_weights_of_ranks_have_their_private_names():
    assert callable(internals._sync_module_states)
    assert callable(internals._SubprocessScriptLauncher.kill)
    internals.kill_launched(object())  # of another kind: nothing to end


def test_a_strategy_takes_the_backend_that_is_chosen_for_it():
    strategy = DDPStrategy(parallel_devices=[torch.device("cpu")])
    internals.choose_backend(strategy, "cpu:gloo,cuda:nccl")
    assert strategy.process_group_backend == strategy._get_process_group_backend() == "cpu:gloo,cuda:nccl"


def test_lightning_asks_for_sigterm_under_the_name_that_is_replaced():
    trainer = quiet_trainer()
    loop = trainer.fit_loop.epoch_loop
    assert "self._broadcast_sigterm_tensor()" in inspect.getsource(type(loop).advance)
    own = loop._broadcast_sigterm_tensor
    internals.stop_asking_for_sigterm(trainer)
    assert loop._broadcast_sigterm_tensor != own and loop._broadcast_sigterm_tensor() is None


def test_the_command_line_has_the_private_methods_that_ours_replaces():
    for name in ("_get", "_parser", "_run_subcommand", "_parse_ckpt_path"):
        assert callable(getattr(LightningCLI, name))
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_argument("--depth", type=int)
    assert "depth" in list(option_names(parser))


def test_no_other_file_touches_a_private_name_of_lightning():
    """By text: a name after `trainer.`, a loop or a connector, an import, or the command line's own; two files may."""
    pattern = re.compile(r"trainer\._\w|loop\._\w|_connector\b|from lightning\S* import _|import _\w+")
    for path in [*(ROOT / "codec").rglob("*.py"), *(ROOT / "callbacks").rglob("*.py"), *(ROOT / "data").rglob("*.py")]:
        if path.name != Path(internals.__file__).name:
            found = [line for line in path.read_text().splitlines() if pattern.search(line)]
            assert not [line for line in found if "torch.distributed" not in line], path


class Steps(L.Callback):
    """Keeps each batch's logged values and those that the callbacks see, and the calls of `log`."""

    def __init__(self, monkeypatch) -> None:
        self.given: list[dict[str, float]] = []
        self.seen: list[dict[str, float]] = []
        self.calls: list[int] = []
        self._batch = 0
        step, log = codec_module.log_step, L.LightningModule.log

        def noting(module, values, **options):
            if not options:
                self.given.append({name: float(value) for name, value in values.items()})
            step(module, values, **options)

        def counting(module, *args, **options):
            self.calls.append(self._batch)
            log(module, *args, **options)

        monkeypatch.setattr(codec_module, "log_step", noting)
        monkeypatch.setattr(L.LightningModule, "log", counting)

    def on_train_batch_end(self, trainer, *_):
        values = trainer.callback_metrics
        self.seen.append({name: float(values[name]) for name in self.given[-1]})
        self._batch += 1


def test_values_of_a_step_are_seen_at_each_batch_and_registered_with_lightning_once(monkeypatch, tmp_path):
    steps = Steps(monkeypatch)
    trainer = quiet_trainer(max_steps=6, callbacks=[steps], log_every_n_steps=2, logger=CSVLogger(tmp_path))
    trainer.fit(tiny_module(discriminator_start=3), Data())
    for seen, given in zip(steps.seen, steps.given, strict=True):
        assert seen == pytest.approx(given, rel=0, nan_ok=True)  # no norm before the discriminators join
    assert len({values["train/generator"] for values in steps.seen}) == 6
    assert set(steps.calls) == {0, 3}  # the first batch, and the discriminators' first
    with (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").open() as file:
        written = {int(row["step"]): float(row["train/generator"]) for row in csv.DictReader(file)}
    assert written == pytest.approx({step: steps.given[step]["train/generator"] for step in (1, 3, 5)})


class LogsByItself(CodecModule):
    """Logs a value after those of `CodecModule`."""

    def training_step(self, batch, batch_idx):
        outputs = super().training_step(batch, batch_idx)
        self.log("own", outputs["audio"].abs().mean())
        return outputs


def test_no_value_is_lost_at_the_first_batch_of_an_epoch_where_a_module_logs_by_itself(monkeypatch, tmp_path):
    steps = Steps(monkeypatch)
    module = tiny_module()
    module.__class__ = LogsByItself
    settings = {"limit_train_batches": 3, "log_every_n_steps": 1, "logger": CSVLogger(tmp_path)}
    quiet_trainer(max_steps=7, callbacks=[steps], **settings).fit(module, Data())
    for seen, given in zip(steps.seen, steps.given, strict=True):
        assert seen == pytest.approx(given, rel=0, nan_ok=True)
    with (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["own"]]
    assert [float(row["train/generator"]) for row in rows] == pytest.approx(
        [given["train/generator"] for given in steps.given]
    )
    assert set(steps.calls) > {0, 3, 6}
