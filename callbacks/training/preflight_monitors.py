"""Whether the values that callbacks monitor will be logged: names are known before the first batch."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from lightning.pytorch.callbacks import Checkpoint

from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.scores import summarise
from callbacks.training.preflight_space import Finding
from codec.errors import counted

DECLARED = ("callbacks", "codec", "lightning", "pytorch_lightning")  # packages whose parts log declared names, or none


def monitors(trainer: Any, module: Any) -> Iterator[Finding]:
    """The values that callbacks monitor must be logged in training or validation.

    A name that no part declares ends the run where all parts are ours or Lightning's; parts of a user's own may log any
    name, which the sanity check shows (`after_sanity_check`).
    """
    interval = getattr(trainer, "val_check_interval", None)
    never = isinstance(interval, int) and 0 < trainer.max_steps < interval
    known, complete = declared_names(trainer, module)
    channel = [name for evaluation in evaluations(trainer) for name in channel_names(evaluation)]
    for owner, monitor in monitored(trainer):
        if never:
            yield Finding(
                f"{owner} monitors {monitor}, but there is no validation in {counted(trainer.max_steps, 'batch')}: set "
                f"trainer.val_check_interval {interval} to that or less."
            )
        elif monitor.startswith("channel/") and monitor not in channel:
            yield _unknown(owner, monitor, channel)
        elif complete and monitor not in known:
            yield _unknown(owner, monitor, known)


def after_sanity_check(trainer: Any, module: Any) -> Iterator[Finding]:
    """Monitored values of a validation of a user's own, whose names the sanity check has just shown.

    Names outside of `val/` may come from a later batch, so that they are only named in a warning.
    """
    known, complete = declared_names(trainer, module)
    shown = [*known, *(name for name in trainer.callback_metrics if name not in known)]
    for owner, monitor in [] if complete else monitored(trainer):
        if monitor not in shown and not monitor.startswith("channel/"):
            own_callbacks = any(not _is_declared(callback) for callback in trainer.callbacks)
            yield _unknown(owner, monitor, shown, fatal=monitor.startswith("val/") and not own_callbacks)


def declared_names(trainer: Any, module: Any) -> tuple[list[str], bool]:
    """Names that module and callbacks say they log in `fit`, and whether these are all."""
    parts = [module, *trainer.callbacks]
    names = list(module.logged_names()) if hasattr(module, "logged_names") else []
    for callback in trainer.callbacks:
        if hasattr(callback, "logged_names"):
            names += callback.logged_names(module)
    for evaluation in evaluations(trainer):
        names += channel_names(evaluation)
    return names, hasattr(module, "logged_names") and all(_is_declared(part) for part in parts)


def channel_names(evaluation: ChannelEvaluation) -> list[str]:
    """Names of a channel evaluation's means."""
    rows = summarise([], evaluation.channels, evaluation.metrics, repeats=1, bootstrap=Bootstrap(0, 0.95, 0))
    return [row.key for row in rows]


def evaluations(trainer: Any) -> list[ChannelEvaluation]:
    """The channel evaluations that take part in `fit`."""
    return [c for c in trainer.callbacks if isinstance(c, ChannelEvaluation) and c.fit_clips != 0]


def monitored(trainer: Any) -> list[tuple[str, str]]:
    """(callback's name, monitored value) of each callback that monitors one; `step` is every checkpoint's."""
    found = [(c, c.monitor) for c in trainer.callbacks if isinstance(getattr(c, "monitor", None), str)]
    return [
        (type(callback).__name__, monitor)
        for callback, monitor in found
        if not (isinstance(callback, Checkpoint) and monitor in ("step", "epoch"))
    ]


def _is_declared(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] in DECLARED


def _unknown(owner: str, monitor: str, known: list[str], *, fatal: bool = True) -> Finding:
    nearest = difflib.get_close_matches(monitor, known, n=1, cutoff=0.0)
    remedy = f"the nearest that is logged is {nearest[0]}" if nearest else "nothing like it is logged"
    how = "which no validation will log" if monitor.startswith(("val/", "channel/")) else "which is not logged"
    return Finding(f"{owner} monitors {monitor}, {how}: {remedy}.", fatal)
