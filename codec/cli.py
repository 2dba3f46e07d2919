"""The command line's manners: nearest valid names in errors, rates stated once, configurations in checkpoints."""

import difflib
import inspect
import json
import re
import warnings
from importlib import import_module
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from codec.checkpoint import read_checkpoint

PACKAGES = ["callbacks", "codec", "data", "lightning", "torch"]


class HelpfulParser(LightningArgumentParser):
    """Adds the nearest valid name to an error about an unknown option or class."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and exit with status 2."""
        super().error(message + nearest_names(message, self) if self.exit_on_error else message, ex)


class BatchProgressBar(TQDMProgressBar):
    """Counts batches up to `max_steps`: the training stream has no epochs."""

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Start a bar that goes on where an interrupted run stopped."""
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description("Training")
        if trainer.max_steps > 0:
            self.train_progress_bar.total = trainer.max_steps


class CodecCLI(LightningCLI):
    """LightningCLI for codec modules and the data module.

    - `data.sample_rate`, `data.output_sample_rate` and `data.hop_length` come from the model's codec.
    - The configuration of the command line is never overridden by a checkpoint's; the model's part of it is kept in
      the checkpoints, where `codec.load_codec` finds it.
    - `forced_callbacks` are on in every run, each configured under its own key.
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
        """The trainer, its default progress bar replaced by one that counts batches."""
        warnings.filterwarnings(
            "ignore", message=r"It is recommended to use `self\.log\(.*sync_dist"
        )  # reduced already
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        trainer = super().instantiate_trainer(**kwargs)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for index, callback in enumerate(callbacks):
            if type(callback) in (RichProgressBar, TQDMProgressBar):
                callbacks[index] = BatchProgressBar()
        return trainer

    def after_instantiate_classes(self) -> None:
        """Give the model its own configuration, which it writes into its checkpoints; refuse to score without weights.

        Where there is no last checkpoint, Lightning would go on with untrained weights.
        """
        if self.subcommand != "fit" and self._get(self.config, "ckpt_path") == "last":
            savers = [saver for saver in self.trainer.checkpoint_callbacks if isinstance(saver, ModelCheckpoint)]
            if not any(saver._find_last_checkpoints(self.trainer) for saver in savers):
                folder = self.trainer.loggers[0].log_dir if self.trainer.loggers else self.trainer.default_root_dir
                self._fail(f"There is no last checkpoint in {folder}: train first, or give its path as ckpt_path.")
        self.model.config = json.loads(json.dumps(self._get(self.config, "model").as_dict(), default=str))

    def before_instantiate_classes(self) -> None:
        """Refuse, in one sentence, what would fail later and less clearly."""
        options = self._get(self.config, "trainer")
        for wrong, right in (("gradient_clip_val", "gradient_clip"), ("accumulate_grad_batches", "accumulate")):
            if options[wrong] not in (None, 1 if right == "accumulate" else 0):
                self._fail(f"trainer.{wrong} {options[wrong]:g} must be unset: use model.init_args.{right} instead.")
        path = self._get(self.config, "ckpt_path")
        if path and path not in ("last", "best", "hpc", "registry"):
            try:
                read_checkpoint(path)
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
    found += [("", name) for name in re.findall(r"does not accept option '([\w.]+)'", message)]
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
