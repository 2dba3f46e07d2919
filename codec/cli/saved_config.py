"""The whole configuration of a command, written into the run's folder."""

from lightning import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from codec.training.runs.folders import run_folder
from codec.training.runs.placement import note_services


class SaveConfig(SaveConfigCallback):
    """Writes the whole configuration: `config.yaml` in `fit`, and `test.yaml` and the like beside it afterwards."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            self.config_filename = stage + ".yaml"  # of an enum, whose format differs between Python versions
        self.save_to_log_dir = False  # Lightning's place depends on the kind of the first logger
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it into the run's folder, on rank 0."""
        path = run_folder(trainer) / self.config_filename
        path.parent.mkdir(parents=True, exist_ok=True)
        self.parser.save(self.config, path, skip_none=False, overwrite=True, multifile=False)
        if stage == "fit":
            note_services(path.parent, trainer.loggers)
