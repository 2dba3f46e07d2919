"""The shared record of a sweep (Optuna): one worker claims each trial; trials of dead workers are run again."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from codec.cli.sweeps.library import (
    BaseStorage,
    FrozenTrial,
    JournalFileBackend,
    JournalFileOpenLock,
    JournalStorage,
    RDBStorage,
    Trial,
    TrialState,
    UpdateFinishedTrialError,
    optuna,
)
from codec.errors import InvalidValue, UnreadableFile, first_line

Direction = Literal["minimize", "maximize"]
SUGGESTIONS = 10


class SharedStudy:
    """A study that many processes on many machines work on at once.

    A worker calls `alive` now and then. If it has not done so for `grace` seconds (the machines' clocks must agree that
    far), its trial is failed and the same values are queued again, `retries` times at most.

    Args:
        storage: `sqlite:///…`, `postgresql://…` or another URL of a database, or the path of a journal file, which
            may lie on NFS.
        name: of the study; workers with the same name and storage share it.
        direction: whether the score is to be small or large.
        sampler: how values are chosen; Optuna's TPE by default.
        pruner: when a run is given up early; never by default.
        grace: seconds without a sign of life after which a worker is taken for dead.
        retries: how often a trial whose worker died is run again.

    Raises:
        UserError: the storage cannot be reached, or has a study of that name with the other direction.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        *,
        direction: Direction,
        sampler: optuna.samplers.BaseSampler | None = None,
        pruner: optuna.pruners.BasePruner | None = None,
        grace: float = 300.0,
        retries: int = 3,
    ) -> None:
        try:
            self.storage = open_storage(storage, grace)
            self.study = optuna.create_study(
                storage=self.storage,
                study_name=name,
                direction=direction,
                load_if_exists=True,
                sampler=sampler or optuna.samplers.TPESampler(constant_liar=True),
                pruner=pruner or optuna.pruners.NopPruner(),
            )
        except Exception as error:  # each database has its own kinds
            raise UnreadableFile(
                f"The storage {storage} cannot be used ({first_line(error)})", remedy="check path or URL, and access"
            ) from error
        stated = self.study.direction.name.lower()
        if stated != direction:
            raise InvalidValue(
                f"Study {name!r} in {storage} is to {stated}, not", direction, remedy="name the new study differently"
            )
        self.grace, self.retries = grace, retries

    def trials(self) -> list[FrozenTrial]:
        """All trials except those that were dropped before they ran."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if "surplus" not in trial.user_attrs]

    def claim(self, count: int, suggest: Callable[[Trial], object]) -> Trial | None:
        """A trial for this worker: one to be run again, or a new one while there are fewer than `count`.

        Runs are functions of their options: values that another trial has are not run again, and where nothing else is
        suggested in `SUGGESTIONS` attempts, there is no new trial.

        Raises:
            ValueError: Optuna's, where `suggest` asks for other values than the study's earlier trials did.
        """
        self.retry_dead()
        for _ in range(SUGGESTIONS):
            trials = self.trials()
            queued = any(trial.state == TrialState.WAITING for trial in trials)
            if not queued and sum(_is_first(trial) for trial in trials) >= count:
                break
            trial = self.study.ask()
            try:
                suggest(trial)
                wanted = self._wanted(trial, count)
            except ValueError:
                self._drop(trial)
                raise
            if wanted:
                return trial
            self._drop(trial)
        return None

    def _wanted(self, trial: Trial, count: int) -> bool:
        """False where another worker took the last one, or the same values, at the same moment."""
        if not _is_first(trial):
            return True
        earlier = [other for other in self.trials() if _is_first(other) and other.number < trial.number]
        return len(earlier) < count and all(other.params != trial.params for other in earlier)

    def _drop(self, trial: Trial) -> None:
        trial.set_user_attr("surplus", True)
        self.finish(trial, TrialState.FAIL)

    def alive(self, trial: Trial) -> bool:
        """Record a sign of life of the trial; False if another worker has already failed it as dead."""
        try:
            trial.set_user_attr("alive", time.time())
        except UpdateFinishedTrialError:
            return False
        return True

    def retry_dead(self) -> None:
        """Fail and queue again the trials of workers that have died."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            silent = time.time() - last_sign(trial)
            if silent > self.grace:
                self.retry(trial, f"its worker gave no sign of life for {silent:.0f} s")

    def retry(self, trial: FrozenTrial, reason: str) -> None:
        """Fail a trial, keep the reason, and queue its values again unless that has been done `retries` times."""
        attempt = trial.user_attrs.get("attempt", 1)
        try:
            self.finish(trial, TrialState.FAIL, reason=reason)
        except (ValueError, UpdateFinishedTrialError):
            return  # another worker was first
        if attempt <= self.retries:
            first = trial.user_attrs.get("first", trial.number)
            self.study.enqueue_trial(trial.params, user_attrs={"attempt": attempt + 1, "first": first})

    def finish(
        self, trial: Trial | FrozenTrial, state: TrialState, *, value: float | None = None, reason: str = ""
    ) -> None:
        """Record how a trial ended; Optuna raises ValueError if another worker has done so already."""
        if reason:
            self.storage.set_trial_user_attr(trial._trial_id, "reason", reason)
        try:
            self.study.tell(trial.number, value, state=state)
        except RuntimeError:
            # An exhaustive sampler that has tried all values asks Optuna's own loop to stop, which there is not; the
            # trial is recorded by then.
            if not self.storage.get_trial(trial._trial_id).state.is_finished():
                raise

    def unfinished(self, since: float) -> bool:
        """Whether a trial is running whose worker has given no sign of life since then."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(last_sign(trial) < since for trial in running)


def open_storage(storage: str, grace: float) -> BaseStorage:
    """A database by its URL, or a journal file by its path; makes the file's folder."""
    if "://" in storage:
        return RDBStorage(storage)
    path = Path(storage).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    # The lock by exclusive creation holds on NFS 3 and later; of a dead owner it is broken up long before `grace` ends.
    lock = JournalFileOpenLock(str(path), grace_period=max(3, min(30, int(grace / 3))))
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def last_sign(trial: FrozenTrial) -> float:
    """Time of the last sign of life, in seconds since the epoch."""
    started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    return max(started, trial.user_attrs.get("alive", 0.0))


def _is_first(trial: Trial | FrozenTrial) -> bool:
    return "first" not in trial.user_attrs


def first_number(trial: Trial | FrozenTrial) -> int:
    """The number of the first attempt, after which the folder is named."""
    return trial.user_attrs.get("first", trial.number)
