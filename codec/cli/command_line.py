"""The command line's manners: nearest valid names in errors, rates stated once, configurations in checkpoints."""

import difflib
import inspect
import json
import re
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import torch.distributed as dist
from jsonargparse import ArgumentParser
from lightning import Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, RichProgressBar, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from codec.checkpoints.files import SafeCheckpointIO, checkpoint_folder
from codec.checkpoints.reading import newest_checkpoint, read_checkpoint, resolve_checkpoint
from codec.training.distributed.stop_signals import RunStopped

PACKAGES = ["callbacks", "codec", "data", "lightning", "torch"]


class HelpfulParser(LightningArgumentParser):
    """Adds the nearest valid name to an error about an unknown option or class."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and exit with status 2."""
        super().error(message + nearest_names(message, self) if self.exit_on_error else message, ex)


class BatchProgressBar(TQDMProgressBar):
    """Counts batches up to `max_steps`: the training stream has no epochs."""

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Start a bar that goes on where an interrupted run stopped: Lightning starts no epoch then."""
        super().on_train_start(trainer)
        self._count_batches(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Keep the bar's total, which Lightning takes from the epoch."""
        super().on_train_epoch_start(trainer)
        self._count_batches(trainer)

    def _count_batches(self, trainer: Trainer) -> None:
        self.train_progress_bar.set_description("Training")
        self.train_progress_bar.n = self.train_progress_bar.initial = trainer.global_step
        if trainer.max_steps > 0:
            self.train_progress_bar.total = trainer.max_steps


class CodecCLI(LightningCLI):
    """LightningCLI for codec modules and the data module.

    - `data.sample_rate`, `data.output_sample_rate` and `data.hop_length` come from the model's codec.
    - The configuration of the command line is never overridden by a checkpoint's; the model's part of it is kept in
      the checkpoints, where `codec.load_codec` finds it.
    - `forced_callbacks` are on in every run, each configured under its own key.
    - Checkpoints are written by `SafeCheckpointIO`, whatever the strategy, and `--ckpt_path last` (of all commands),
      `best` and `auto` (of `fit`: the newest complete one, else a fresh start) pass over damaged ones with a warning.
    - Lightning does not shard the data again (`use_distributed_sampler`): the data module has done so.
    """

    def __init__(
        self, model_class: type, datamodule_class: type, *, forced_callbacks: dict[str, type] | None = None
    ) -> None:
        self.forced_callbacks = forced_callbacks or {}
        super().__init__(
            model_class,
            datamodule_class,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"use_distributed_sampler": False, "max_epochs": -1},
            seed_everything_default=0,
            parser_class=HelpfulParser,
            parser_kwargs={"allow_abbrev": False},
            subclass_mode_model=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the codec's rates to the data, add callbacks that are always on, and keep the usage to one line."""
        parser.usage = "%(prog)s [--config FILE] ... [--OPTION VALUE] ..."
        for name in ("sample_rate", "output_sample_rate", "hop_length"):
            parser.link_arguments("model", f"data.{name}", compute_fn=_codec_attribute(name), apply_on="instantiate")
        for name, callback in self.forced_callbacks.items():
            parser.add_lightning_class_args(callback, name)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with a progress bar that counts batches and checkpoints that survive a crash."""
        warnings.filterwarnings(
            "ignore", message=r"It is recommended to use `self\.log\(.*sync_dist"
        )  # reduced already
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        trainer = super().instantiate_trainer(**kwargs)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for index, callback in enumerate(callbacks):
            if type(callback) in (RichProgressBar, TQDMProgressBar):
                callbacks[index] = BatchProgressBar()
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = SafeCheckpointIO()
        return trainer

    def after_instantiate_classes(self) -> None:
        """Choose the checkpoint, and give the model its own configuration, which it writes into its checkpoints."""
        wanted = self._get(self.config, "ckpt_path")
        if wanted in ("auto", "last", "best"):
            self.config_init[self.subcommand].ckpt_path = self._choose_checkpoint(wanted)
        if self.subcommand == "predict":  # the writer has them; Lightning would keep all in memory
            chosen = self.config_init.predict
            chosen.return_predictions = bool(chosen.return_predictions)
        self.model.config = json.loads(json.dumps(self._get(self.config, "model").as_dict(), default=str))

    def _choose_checkpoint(self, wanted: str) -> str | None:
        """The file that `auto`, `last` or `best` stands for in this run's folder; None for a fresh start.

        Refuses to score, or to go on, without one: Lightning would do so with untrained weights.
        """
        given = [getattr(saver, "dirpath", None) for saver in self.trainer.checkpoint_callbacks]
        folder = next((Path(path) for path in given if path), checkpoint_folder(self.trainer))
        fit = self.subcommand == "fit"
        if wanted == "best" and not fit and (folder / "best.ckpt").is_file():
            try:
                read_checkpoint(folder / "best.ckpt", keep=True)
            except ValueError as error:
                self._fail(str(error))
            return str(folder / "best.ckpt")
        found = newest_checkpoint(folder, resumable=fit, keep=True) if wanted != "best" else None
        if found is None and not (fit and wanted == "auto"):
            remedy = "start with --ckpt_path auto" if fit else "train first"
            self._fail(f"There is no {wanted} checkpoint in {folder}: {remedy}, or give its path as ckpt_path.")
        rank_zero_info(f"No checkpoint in {folder}: a fresh start." if found is None else f"Going on from {found}.")
        return None if found is None else str(found)

    def before_instantiate_classes(self) -> None:
        """Refuse, in one sentence, what would fail later and less clearly."""
        options = self._get(self.config, "trainer")
        for wrong, right in (("gradient_clip_val", "gradient_clip"), ("accumulate_grad_batches", "accumulate")):
            if options[wrong] not in (None, 1 if right == "accumulate" else 0):
                self._fail(f"trainer.{wrong} {options[wrong]:g} must be unset: use model.init_args.{right} instead.")
        path = self._get(self.config, "ckpt_path")
        if path and path not in ("auto", "last", "best", "hpc", "registry"):
            try:
                checkpoint = read_checkpoint(path, keep=True)
                if resolve_checkpoint(path).suffix == ".safetensors":
                    self._fail(f"{path} holds weights alone: give it as model.init_args.init_from.")
                if self.subcommand == "fit" and not checkpoint.get("optimizer_states"):
                    self._fail(
                        f"{path} holds no optimizer's state to go on from: give it as model.init_args.init_from."
                    )
            except ValueError as error:
                self._fail(str(error))

    def instantiate_classes(self) -> None:
        """Build everything; a part that refuses its arguments ends the command with its own sentence."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            reasons = re.findall(r"^\s*- (.+)$", str(error), re.MULTILINE) or str(error).splitlines()[:1]
            self._fail(next((r for r in reasons if not r.startswith("Expected a")), str(error)))

    def _run_subcommand(self, subcommand: str) -> None:
        """Run; a ValueError that this project raises on purpose ends the command with its sentence."""
        try:
            super()._run_subcommand(subcommand)
            _leave_together()
        except RunStopped:  # on all ranks at the same batch
            _leave_together()
            raise
        except ValueError as error:
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            origin = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
            if origin.split(".")[0] not in ("callbacks", "codec", "data"):
                raise
            self._fail(str(error))

    def _fail(self, message: str) -> NoReturn:
        self._parser(self.subcommand).error(message)

    def _parse_ckpt_path(self) -> None:
        """Keep the command line: Lightning would put the checkpoint's hyper-parameters over it (PL#20801)."""


def _leave_together() -> None:
    """Close the process group while its threads run: left to the exit, a rank is now and then aborted by it."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _codec_attribute(name: str) -> Any:
    def read(model: Any) -> int:
        return getattr(model if hasattr(model, name) else model.codec, name)

    read.__name__ = f"codec.{name}"
    return read


def nearest_names(message: str, parser: ArgumentParser) -> str:
    """A sentence with the valid name nearest to each unknown one in an error message; empty where there is none."""
    sentences = []
    for owner, wrong in _unknown_names(message):
        nearest = difflib.get_close_matches(wrong, _valid_names(owner, parser), n=1, cutoff=0.0)
        if nearest:
            sentences.append(f"\nDid you mean '{nearest[0]}' instead of '{wrong}'?")
    return "".join(dict.fromkeys(sentences))


def _unknown_names(message: str) -> list[tuple[str, str]]:
    """(owner, unknown name) of each complaint: a class or module path, or empty for the command's own options."""
    found = re.findall(r"class_path '([\w.]+)':\s*Option '(\w+)' is not accepted", message)
    found += re.findall(r"module '([\w.]+)' has no attribute '(\w+)'", message)
    found += [("", name) for name in re.findall(r"(?:does not accept o|^O)ption '([\w.]+)'", message)]
    found += [("", name) for name in re.findall(r"unrecognized arguments: --([\w.]+)", message)]
    found += [("*", name) for name in re.findall(r"No module named '(\w+)'", message)]
    return [(o, n) if o.split(".")[0] in ["", "*", *PACKAGES] else ("*", o.split(".")[0]) for o, n in found]


def _valid_names(owner: str, parser: ArgumentParser) -> list[str]:
    if owner == "*":
        return PACKAGES
    if not owner:
        subcommands = [p for a in parser._actions if isinstance(a.choices, dict) for p in a.choices.values()]
        return [action.dest for p in (parser, *subcommands) for action in p._actions if action.dest != "help"]
    try:
        target = import_module(owner)
    except ImportError:
        module, _, name = owner.rpartition(".")
        return list(inspect.signature(getattr(import_module(module), name)).parameters)
    return [name for name in dir(target) if not name.startswith("_")]
