"""A worker of a sweep: claims trials, runs them, records their scores, and lists what all workers have found."""

import contextlib
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from codec.cli.nearest_names import HelpfulParser
from codec.cli.sweeps.library import Trial, TrialState, optuna
from codec.cli.sweeps.report import report
from codec.cli.sweeps.settings import Sweep
from codec.cli.sweeps.space import check_options
from codec.cli.sweeps.study import SharedStudy
from codec.cli.sweeps.trial import RunFailed, RunStopped, logged_values, run


def main(arguments: Sequence[str], parse: Callable[[], None], *, command: Sequence[str]) -> None:
    """Work on a sweep; see `codec.cli.sweeps.sweep`.

    Raises:
        ValueError: what is wrong about the sweep, in one sentence: a UserError, or an error of Optuna's.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    parser = HelpfulParser(prog="train.py sweep", description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="The sweep's YAML file.")
    parser.add_argument("--list", action="store_true", help="List the trials and run none.")
    parser.add_class_arguments(Sweep)
    parsed = parser.parse_args(list(arguments))
    blocks = {name: parsed.as_dict()[name] for name in ("space", "overrides")}  # for the runs to build, not here
    for name in blocks:
        del parsed[name]
    options = vars(parser.instantiate_classes(parsed)) | blocks
    only_list = options.pop("list")
    options.pop("config")
    sweep = Sweep(**options)
    if not only_list:
        check_options(parse, sweep.configs, overrides=sweep.overrides, options=sweep.options)
    study = sweep.open()
    if not only_list:
        work(sweep, study, command=command)
    print(report(sweep, study.trials()))


def work(sweep: Sweep, study: SharedStudy, *, command: Sequence[str]) -> None:
    """Run trials until none is left to claim and no running one may have lost its worker."""
    with stopped_by_signals():
        while True:
            idle_since = time.time()
            while (trial := study.claim(sweep.trials, sweep.suggest)) is None:
                if not study.unfinished(idle_since):
                    return
                time.sleep(min(1.0, sweep.heartbeat))
            perform(sweep, study, trial, command=command)


def perform(sweep: Sweep, study: SharedStudy, trial: Trial, *, command: Sequence[str]) -> None:
    """Run one trial and record its score, or why it has none; a worker that is stopped hands it back.

    Raises:
        ValueError: the run has never logged the metric, or the study has trials of another search space.
    """
    folder = sweep.folder_of(trial)
    try:
        outcome = _outcome(sweep, study, trial, folder=folder, command=command)
    except _GivenUp:
        print(f"trial {trial.number}: another worker has taken it over", flush=True)
        return
    except RunStopped as error:
        study.retry(study.storage.get_trial(trial._trial_id), str(error))
        return
    except ValueError as error:  # every trial would fail in the same way
        study.finish(trial, TrialState.FAIL, reason=str(error))
        raise
    except BaseException as error:
        study.retry(study.storage.get_trial(trial._trial_id), f"its worker ended: {error or type(error).__name__}")
        raise
    study.finish(trial, outcome.state, value=outcome.value, reason=outcome.reason)
    print(f"trial {trial.number}: {outcome.reason or outcome.value} ({folder})", flush=True)


class Outcome(NamedTuple):
    """How a trial ended: with a value, or with the reason why it has none."""

    state: TrialState
    value: float | None = None
    reason: str = ""


def _outcome(sweep: Sweep, study: SharedStudy, trial: Trial, *, folder: Path, command: Sequence[str]) -> Outcome:
    configuration = sweep.configuration(trial)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trial.yaml").write_text(yaml.safe_dump(configuration, sort_keys=False))
    again = ["--ckpt_path", "auto"] if trial.user_attrs.get("attempt", 1) > 1 else []
    watch = _watcher(sweep, study, trial, folder)
    try:
        run([*command, *sweep.arguments(trial), *again], folder, watch=watch, every=sweep.heartbeat)
        watch()
    except optuna.TrialPruned:
        return Outcome(TrialState.PRUNED, reason="worse than the others at the same batch")
    except RunFailed as error:
        return Outcome(TrialState.FAIL, reason=str(error))
    values = logged_values(folder, sweep.metric)
    if not values or not math.isfinite(values[-1][1]):
        reason = f"{sweep.metric} is {values[-1][1]}" if values else "the run has logged no metric at all"
        return Outcome(TrialState.FAIL, reason=reason)
    return Outcome(TrialState.COMPLETE, values[-1][1])


class _GivenUp(Exception):
    """Another worker has taken this one for dead, and its trial over."""


def _watcher(sweep: Sweep, study: SharedStudy, trial: Trial, folder: Path) -> Callable[[], None]:
    """Gives signs of life, and reports scores where there is a pruner that looks at them."""
    reported: set[int] = set()

    def watch() -> None:
        if not study.alive(trial):
            raise _GivenUp
        if sweep.pruner is None:
            return
        with contextlib.suppress(ValueError):  # not logged yet
            for step, value in logged_values(folder, sweep.metric):
                if step not in reported:
                    trial.report(value, step)
                    reported.add(step)
        if trial.should_prune():
            raise optuna.TrialPruned

    return watch


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Inside, SIGTERM and SLURM's SIGUSR1 end this process as an exception, so that its trial is handed back."""

    def stop(number: int, _: Any) -> NoReturn:
        raise SystemExit(f"stopped by {signal.Signals(number).name}")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
