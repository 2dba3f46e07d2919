"""What the YAML file of a sweep says, and the configuration and command line of each of its trials."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codec.cli.sweeps.library import BasePruner, BaseSampler, FrozenTrial, Trial
from codec.cli.sweeps.space import Option, nested
from codec.cli.sweeps.study import Direction, SharedStudy, first_number
from codec.errors import InvalidValue


@dataclass(kw_only=True)
class Sweep:
    """What a sweep's YAML file says.

    Args:
        study: name; trial 3 runs in `folder`/`study`/0003.
        configs: configurations of every run, later ones over earlier ones.
        space: options to vary, by dotted path; see `codec.cli.sweeps.space.Option`.
        metric: name of a logged scalar; the last value that a run logs is its score.
        direction: whether the score is to be small or large.
        trials: how many at most, over all workers and all calls; raise it to go on. No values are run twice.
        overrides: fixed options of every run, by dotted path.
        storage: URL of a database or path of a journal file; `folder`/`study`/journal.log by default.
        folder: of all runs.
        sampler: how values are chosen; Optuna's TPE by default. Workers with the same seed suggest the same.
        pruner: when a run is given up early; never by default.
        heartbeat: seconds between a worker's signs of life, and between two looks at a run's scores.
        grace: seconds without a sign of life after which a worker is taken for dead.
        retries: how often a trial whose worker died is run again; it goes on from its last checkpoint.
    """

    study: str
    configs: list[str]
    space: dict[str, Any]
    metric: str
    direction: Direction
    trials: int
    overrides: dict[str, Any] = field(default_factory=dict)
    storage: str | None = None
    folder: str = "runs"
    sampler: BaseSampler | None = None
    pruner: BasePruner | None = None
    heartbeat: float = 30.0
    grace: float = 300.0
    retries: int = 3

    def __post_init__(self) -> None:
        if not self.space:
            raise InvalidValue(
                f"The search space of {self.study} is empty", remedy="name at least one option in `space`"
            )
        if self.trials < 1:
            raise InvalidValue("trials", self.trials, "must be at least 1")
        if self.grace < 3 * self.heartbeat:
            raise InvalidValue(
                "grace", f"{self.grace:g} s", f"must be at least three heartbeats ({3 * self.heartbeat:g} s)"
            )
        self.options = [Option(path, form) for path, form in self.space.items()]
        self.root = Path(self.folder) / self.study

    def open(self) -> SharedStudy:
        """The shared record of the trials.

        Raises:
            UserError: see `SharedStudy`.
        """
        return SharedStudy(
            self.storage or str(self.root / "journal.log"),
            self.study,
            direction=self.direction,
            sampler=self.sampler,
            pruner=self.pruner,
            grace=self.grace,
            retries=self.retries,
        )

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A trial's value of each option."""
        return {option.path: option.suggest(trial) for option in self.options}

    def configuration(self, trial: Trial) -> dict[str, Any]:
        """What a trial lays over the base configurations: overrides, the trial's values and its folder."""
        place = {"save_dir": self.folder, "name": f"{self.study}/{self.folder_of(trial).name}", "version": ""}
        logger = {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": place}
        return nested({**self.overrides, **self.suggest(trial), "trainer.logger": logger})

    def folder_of(self, trial: Trial | FrozenTrial) -> Path:
        """Where a trial runs: the same folder for all attempts."""
        return self.root / f"{first_number(trial):04d}"

    def arguments(self, trial: Trial | FrozenTrial) -> list[str]:
        """The command-line arguments of a trial's run, after `train.py`."""
        overlay = str(self.folder_of(trial) / "trial.yaml")
        return ["fit", *(part for config in [*self.configs, overlay] for part in ("--config", config))]
