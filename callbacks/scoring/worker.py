"""The process that scores: `python -m callbacks.scoring.worker FD` answers jobs on a pipe until it closes.

A process of its own, rather than a multiprocessing pool, because a pool re-imports the training script (and with it
PyTorch) in each worker, and cannot tell which job killed a worker. PESQ's C code can crash.
"""

from __future__ import annotations

import signal
import sys
import traceback
from multiprocessing.connection import Connection

from callbacks.scoring.signals import score


def serve(connection: Connection) -> None:
    """Receive the metrics and answer None, then each job (reference, degraded, sample_rate, transcript) with `Scores`.

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
            reference, degraded, sample_rate, transcript = connection.recv()
        except EOFError:  # the parent closed the pipe, or died
            return
        try:
            connection.send(score(metrics, reference, degraded, sample_rate=sample_rate, transcript=transcript))
        except Exception:
            connection.send(traceback.format_exc())


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # for the parent, which closes the pipe when it ends
        signal.signal(number, signal.SIG_IGN)
    serve(Connection(int(sys.argv[1])))
