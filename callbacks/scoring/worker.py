"""The process that scores: `python -m callbacks.scoring.worker FD` answers jobs on a pipe until it closes.

A process of its own, rather than a multiprocessing pool, because a pool re-imports the training script (and with it
PyTorch) in each worker, and cannot tell which job killed a worker. PESQ's C code can crash.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from callbacks.metrics.speech import SpeechMetric


class Scores(NamedTuple):
    """One degraded signal's values.

    Attributes:
        values: Metric name to value, None where unscorable.
        reasons: Metric name to reason, for the unscorable metrics only.
    """

    values: dict[str, float | None]
    reasons: dict[str, str]


def score(metrics: Sequence[SpeechMetric], reference: np.ndarray, degraded: np.ndarray, *, sample_rate: int) -> Scores:
    """Score one degraded signal [T] against its reference [T] with every metric, in order."""
    from callbacks.metrics.speech import Unscorable

    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for metric in metrics:
        try:
            values[metric.name] = metric(reference, degraded, sample_rate)
        except Unscorable as unscorable:
            values[metric.name] = None
            reasons[metric.name] = unscorable.reason
    return Scores(values, reasons)


def serve(connection: Connection) -> None:
    """Receive the metrics and answer None, then each job (reference, degraded, sample_rate) with `Scores`.

    A failure other than `Unscorable` is answered with its traceback as a string.
    """
    try:
        metrics = connection.recv()
    except Exception:
        connection.send(traceback.format_exc())
        return
    connection.send(None)
    while True:
        try:
            reference, degraded, sample_rate = connection.recv()
        except EOFError:  # the parent closed the pipe, or died
            return
        try:
            connection.send(score(metrics, reference, degraded, sample_rate=sample_rate))
        except Exception:
            connection.send(traceback.format_exc())


if __name__ == "__main__":
    # Pickles name this module; under -m it would otherwise exist twice, as __main__ and under its own name.
    from callbacks.scoring import worker as scoring_worker

    for number in (signal.SIGINT, signal.SIGTERM):  # for the parent, which closes the pipe when it ends
        signal.signal(number, signal.SIG_IGN)
    scoring_worker.serve(Connection(int(sys.argv[1])))
