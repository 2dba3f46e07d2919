"""The command line: links the codec's rates to the data, adds the usual callbacks, finds and checks checkpoints."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch.distributed as dist
import yaml
from lightning import Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from codec.checkpoints.files import SafeCheckpointIO
from codec.checkpoints.reading import newest_checkpoint, read_checkpoint, resolve_checkpoint
from codec.cli.failing_parts import FailedParts, failed_part
from codec.cli.last_resort import SHOW, FirstBatch, chain, failed_write, quiet_log_writer, refusal
from codec.cli.lightning_internals import CommandLine, take_as_text
from codec.cli.nearest_names import HelpfulParser
from codec.cli.saved_config import SaveConfig
from codec.cli.terminal import plain_output, silence_libraries, tell_values
from codec.cli.trainer_options import check_trainer_options, forget_empty_groups, listed_callbacks
from codec.errors import UserError
from codec.layers.ranks import wait_for_ranks
from codec.training.distributed.stop_signals import RunStopped
from codec.training.distributed.supported_callbacks import check_callbacks
from codec.training.lightning_internals import starts_elsewhere
from codec.training.runs.csv_log import keep_metrics
from codec.training.runs.folders import checkpoint_folder, forget_start, hold_folders, run_folder
from codec.training.runs.locks import release_all
from codec.training.runs.placement import SPECIAL as SPECIAL_CHECKPOINTS
from codec.training.runs.placement import Wish, place_run

LOGGER = {
    "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
    "init_args": {"save_dir": "runs", "name": "run", "version": ""},
}


class CodecCLI(CommandLine):
    """LightningCLI for codec modules and the data module.

    - `data.sample_rate`, `data.output_sample_rate` and `data.hop_length` come from the model's codec.
    - The configuration of the command line is never overridden by a checkpoint's; the model's part of it is kept in
      the checkpoints, where `codec.load_codec` finds it.
    - `usual_callbacks` are on in every run, each configured under its own key.
    - Runs are logged to TensorBoard in `runs/NAME`, where a configuration states `trainer.logger.init_args.name`.
    - Checkpoints are written by `SafeCheckpointIO`, whatever the strategy, and `--ckpt_path last` (of all commands),
      `best` and `auto` (of `fit`: the newest complete one, else a fresh start) pass over damaged ones with a warning.
    - Runs take one device unless `trainer.devices` says otherwise, so that a shared machine's other GPUs stay free;
      several choose `ddp_alternating` by themselves.
    - Lightning does not shard the data again (`use_distributed_sampler`): the data module has done so.
    - Errors of the kinds in `user_errors` end the command with their sentence and status 2.
    """

    def __init__(
        self,
        model_class: type,
        datamodule_class: type,
        *,
        usual_callbacks: Mapping[str, type],
        user_errors: tuple[type[Exception], ...] = (UserError,),
    ) -> None:
        self.usual_callbacks, self.user_errors = usual_callbacks, user_errors
        self.first_batch = FirstBatch()
        try:
            super().__init__(
                model_class,
                datamodule_class,
                save_config_callback=SaveConfig,
                save_config_kwargs={"overwrite": True},
                trainer_defaults={"use_distributed_sampler": False, "max_epochs": -1, "devices": 1, "logger": LOGGER},
                seed_everything_default=0,
                parser_class=HelpfulParser,
                parser_kwargs={"allow_abbrev": False},
                subclass_mode_model=True,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
            )
        except BaseException as error:
            if hasattr(self, "trainer") and self.subcommand == "fit" and not self.first_batch.reached:
                forget_start(run_folder(self.trainer))
            if isinstance(error, KeyboardInterrupt):  # while all is built; the trainer handles those that come later
                sys.exit("\nInterrupted.")
            raise
        finally:
            release_all()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the codec's rates to the data, add the usual callbacks, and keep the usage to one line."""
        parser.usage = "%(prog)s [--config FILE] ... [--OPTION VALUE] ..."
        for name in ("sample_rate", "output_sample_rate", "hop_length"):
            parser.link_arguments("model", f"data.{name}", compute_fn=_codec_attribute(name), apply_on="instantiate")
        take_as_text(parser, "data.predict_from")
        for name, callback in self.usual_callbacks.items():
            parser.add_lightning_class_args(callback, name)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with a progress bar that counts batches and checkpoints that survive a crash."""
        silence_libraries()
        quiet_log_writer()
        given_callbacks = listed_callbacks(self.config_init[self.subcommand].trainer.callbacks)
        if self.subcommand == "fit":
            check_callbacks(given_callbacks)
        for given in given_callbacks:
            key = next((name for name, usual in self.usual_callbacks.items() if type(given) is usual), None)
            if key is not None:
                self._fail(f"trainer.callbacks repeats {type(given).__name__}, which is always on: set it under {key}.")
        trainer = super().instantiate_trainer(**kwargs)
        keep_metrics(trainer.loggers)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        plain_output(callbacks, own=given_callbacks)
        callbacks.insert(0, self.first_batch)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = SafeCheckpointIO()
        return trainer

    def after_instantiate_classes(self) -> None:
        """Choose the checkpoint, and give the model its own configuration, which it writes into its checkpoints."""
        wanted = self.option("ckpt_path")
        trained = hasattr(self.model, "codec")  # else a comparison of several
        if self.subcommand == "fit" and not trained:
            self._fail(f"A {type(self.model).__name__} has nothing to train: use test, validate or predict.")
        if wanted and not trained:
            self._fail(f"ckpt_path {wanted} must be unset: name the checkpoints in the systems of the comparison.")
        if self.subcommand != "fit" and trained and not wanted and not self.option("model").init_args.get("init_from"):
            rank_zero_info("No ckpt_path: the codec has the weights that its configuration gives it, trained or not.")
        if self.subcommand == "fit":
            self._lock_folders()
        if wanted in SPECIAL_CHECKPOINTS:
            wanted = self.config_init[self.subcommand].ckpt_path = self._choose_checkpoint(wanted)
        if wanted:
            rank_zero_info(f"{'Going on' if self.subcommand == 'fit' else 'Weights'} from {wanted}.")
        if self.subcommand == "predict":  # the writer has them; Lightning would keep all in memory
            chosen = self.config_init.predict
            chosen.return_predictions = bool(chosen.return_predictions)
        if self.subcommand in ("test", "validate"):  # their tables are printed by what makes them
            self.config_init[self.subcommand].verbose = False
        self.model.config = json.loads(json.dumps(self.option("model").as_dict(), default=str))

    def after_fit(self) -> None:
        """Say where the run is, and how to go on."""
        if not self.option("trainer").fast_dev_run:
            folder = run_folder(self.trainer)
            command = f"python train.py test --config {folder / 'config.yaml'} --ckpt_path last"
            scored = any(self._checkpoint_folder().glob("*.ckpt"))
            rank_zero_info(f"The run is in {folder}." + f" To score it: {command}" * scored)

    def _checkpoint_folder(self) -> Path:
        given = [getattr(saver, "dirpath", None) for saver in self.trainer.checkpoint_callbacks]
        return next((Path(path) for path in given if path), checkpoint_folder(self.trainer))

    def _lock_folders(self) -> None:
        """Lock the run's folders before it makes anything; ranks that wait for each other do so once they are joined.

        Here a refusal would leave ranks that something else has started waiting for this one.
        """
        alone = self.trainer.world_size == 1 or not starts_elsewhere(self.trainer)
        dry = self.option("trainer").fast_dev_run
        if alone and rank_zero_only.rank == 0 and not dry:  # type: ignore[attr-defined]
            try:
                hold_folders(run_folder(self.trainer), self._checkpoint_folder())
            except UserError as error:
                self._fail(str(error))

    def _choose_checkpoint(self, wanted: str) -> str | None:
        """The file that `auto`, `last` or `best` means in this run's folder; None for a fresh start.

        Refuses to score, or to go on, without one: Lightning would do so with untrained weights.
        """
        folder = self._checkpoint_folder()
        fit = self.subcommand == "fit"
        if wanted == "best" and not fit and (folder / "best.ckpt").is_file():
            try:
                read_checkpoint(folder / "best.ckpt", keep=True)
            except UserError as error:
                self._fail(str(error))
            return str(folder / "best.ckpt")
        found = newest_checkpoint(folder, resumable=fit, keep=True) if wanted != "best" else None
        if found is None and not (fit and wanted == "auto"):
            remedy = "start with --ckpt_path auto" if fit else "train first"
            if wanted == "best" and not fit and any(folder.glob("*.ckpt")):
                remedy = "it is kept by a fit with checkpoint.monitor; take --ckpt_path last"
            self._fail(f"There is no {wanted} checkpoint in {folder}: {remedy}, or give its path as ckpt_path.")
        if found is None:
            rank_zero_info(f"No checkpoint in {folder}: a fresh start.")
        return None if found is None else str(found)

    def check_seed(self, seed: int) -> None:
        """Refuse what NumPy cannot take."""
        if not 0 <= seed < 2**32:
            self._fail(f"seed_everything {seed} must lie between 0 and {2**32 - 1}.")

    def before_instantiate_classes(self) -> None:
        """Refuse, in one sentence, what would fail later and less clearly."""
        options = self.option("trainer")
        try:
            check_trainer_options(options)
        except UserError as error:
            self._fail(str(error))
        forget_empty_groups(self.option("model"))
        path = self.option("ckpt_path")
        if path and path not in SPECIAL_CHECKPOINTS:
            self._check_checkpoint(path)
        self._stated = options.clone()
        wish = Wish(str(self.subcommand), path, self._checkpoint_option("dirpath"), self._configuration)
        place_run(options, wish, default=LOGGER)

    def _checkpoint_option(self, name: str) -> Any:
        return (self.config[self.subcommand].get("checkpoint") or {}).get(name)

    def _configuration(self) -> dict[str, Any]:
        """The command's configuration as `SaveConfig` writes it."""
        return yaml.safe_load(self.subcommand_parser().dump(self.config[self.subcommand], skip_none=False))

    def _check_checkpoint(self, path: str) -> None:
        try:
            checkpoint = read_checkpoint(path, keep=True)
        except UserError as error:
            self._fail(str(error))
        if resolve_checkpoint(path).suffix == ".safetensors":
            self._fail(f"{path} holds weights alone: give it as model.init_args.init_from.")
        if self.subcommand == "fit" and not checkpoint.get("optimizer_states"):
            self._fail(f"{path} holds no optimizer's state to go on from: give it as model.init_args.init_from.")

    def instantiate_classes(self) -> None:
        """Build everything; a part that refuses its arguments ends the command with its own sentence."""
        parts = FailedParts()
        self.parser.add_instantiator(parts, object, subclasses=True)
        try:
            super().instantiate_classes()
        except Exception as error:
            errors = [*chain(parts.last[1] if parts.last else None), *chain(error)]
            mistake = next((str(e) for e in errors if isinstance(e, self.user_errors)), None)
            made = hasattr(self, "config_init")  # then the trainer itself has failed
            if mistake is None and not made and not os.environ.get(SHOW):
                mistake = str(failed_part(*(parts.last or ("The model or the data", error))))
            mistake = mistake or refusal(error)
            if mistake is None:
                raise
            self._fail(mistake)
        self.config[self.subcommand].trainer = self._stated  # what is saved names no version: the next run has its own

    def run(self, run: Callable[[], None]) -> None:
        """Run the subcommand; a mistake of the user ends it with one sentence and status 2."""
        try:
            run()
            if self.subcommand in ("test", "validate"):
                tell_values(self.trainer)
            _leave_together()
        except RunStopped:  # on all ranks at the same batch
            _leave_together()
            raise
        except self.user_errors as error:
            if error.__cause__ is not None and os.environ.get(SHOW):
                raise
            self._fail(str(error))
        except Exception as error:
            told = failed_write(error) or (None if self.first_batch.reached else refusal(error))
            if told is None:
                raise
            self._fail(told)

    def _fail(self, message: str) -> NoReturn:
        self.subcommand_parser().error(message)


def _leave_together() -> None:
    """Close the process group while its threads run: left to the exit, a rank is now and then aborted by it."""
    if dist.is_available() and dist.is_initialized():
        wait_for_ranks()
        dist.destroy_process_group()


def _codec_attribute(name: str) -> Callable[[Any], int]:
    def read(model: Any) -> int:
        return getattr(model if hasattr(model, name) else model.codec, name)

    read.__name__ = f"codec.{name}"
    return read
