"""Optuna, which searches; it is in the extra `sweep`, and the modules of sweeps take it from here."""

from codec.errors import MissingDependency

try:
    import optuna
    from optuna import Trial
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise MissingDependency("Sweeps", allowed="need the optuna package", remedy="pip install '.[sweep]'") from error

__all__ = [
    "BasePruner",
    "BaseSampler",
    "BaseStorage",
    "FrozenTrial",
    "JournalFileBackend",
    "JournalFileOpenLock",
    "JournalStorage",
    "RDBStorage",
    "Trial",
    "TrialState",
    "UpdateFinishedTrialError",
    "optuna",
]
