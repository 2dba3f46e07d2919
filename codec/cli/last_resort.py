"""Errors of libraries before the first batch: one sentence where they speak of options, a traceback where it helps."""

import errno
import os
import threading
from collections.abc import Iterator
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException

SHOW = "CODEC_TRACEBACK"  # environment variable: if set, errors of libraries keep their traceback
OPTIONS = ("lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities", "jsonargparse")
VALUES = (*OPTIONS, "torch")  # which refuses learning rates and the like
LONGEST = 400
FULL = (errno.ENOSPC, errno.EDQUOT)


class FirstBatch(Callback):
    """Knows whether a batch has begun, of any stage but the sanity check.

    Attributes:
        reached: whether it has.
    """

    def __init__(self) -> None:
        self.reached = False

    def on_train_batch_start(self, *_: Any) -> None:
        self.reached = True

    def on_validation_batch_start(self, trainer: Any, *_: Any) -> None:
        self.reached |= not trainer.sanity_checking

    def on_test_batch_start(self, *_: Any) -> None:
        self.reached = True

    def on_predict_batch_start(self, *_: Any) -> None:
        self.reached = True


def refusal(error: Exception) -> str | None:
    """The sentence for an error that a library raised about options, before the first batch; None for all others.

    It is for those that Lightning and jsonargparse raise themselves, values that torch refuses, packages that are
    missing, and files that cannot be written. An error that our own code raises is a mistake of ours: it keeps its
    traceback, as do all where `CODEC_TRACEBACK` is set.
    """
    if os.environ.get(SHOW):
        return None
    told = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None:
        remedy = "give a folder that you may write to, such as trainer.logger.init_args.save_dir, or correct the path"
        return f"{error.filename} cannot be used ({error.strerror}): {remedy}."
    origin = _package(error)
    refused = isinstance(error, MisconfigurationException) or (
        (
            isinstance(error, ValueError | TypeError | ImportError | RuntimeError | NotImplementedError)
            and origin in OPTIONS
        )
        or (isinstance(error, ValueError | TypeError) and origin in VALUES)
    )
    if not refused or not told:
        return None
    if "Errors: - " in told:  # jsonargparse lists a class's error among those of all types
        told = told.partition("Errors: - ")[2].partition(" - Expected")[0]
    if len(told) > LONGEST:
        told = f"{told[:LONGEST]} ..."
    return f"{told.rstrip('.')}: correct the options ({SHOW}=1 shows where this was raised)."


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it was raised from or while handling, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def failed_write(error: BaseException | None) -> str | None:
    """The sentence for an error that is a full disk, or stems from one, at any time of a run; None for all others."""
    for cause in () if os.environ.get(SHOW) else chain(error):
        if isinstance(cause, OSError) and cause.errno in (*FULL, errno.EROFS):
            remedy = "make room" if cause.errno in FULL else "give a folder that may be written to"
            return (
                f"{cause.filename or 'A file of the run'} could not be written ({cause.strerror}): {remedy} and run "
                "the command again; a fit with --ckpt_path auto goes on from its newest complete checkpoint."
            )
    return None


def quiet_log_writer() -> None:
    """Make it one line, not a traceback, where TensorBoard's thread cannot write; the next value logged raises it."""
    if threading.excepthook is not _tell_failure:
        _other_hook[:] = [threading.excepthook]
        threading.excepthook = _tell_failure


_other_hook: list[Any] = []


def _tell_failure(failure: threading.ExceptHookArgs) -> None:
    error = failure.exc_value
    if isinstance(error, OSError) and type(failure.thread).__module__.startswith("tensorboard."):
        os.write(2, f"TensorBoard's log could not be written ({error.strerror}).\n".encode())
    else:
        _other_hook[0](failure)


def _package(error: BaseException) -> str:
    """The top-level package of the code that raised an error."""
    names = [frame.tb_frame.f_globals.get("__name__", "") for frame in _frames(error)]
    return names[-1].partition(".")[0] if names else ""


def _frames(error: BaseException) -> Iterator[Any]:
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next
