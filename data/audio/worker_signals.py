"""Signals in data workers: what asks the run to stop is for the main process, which still needs their batches."""

import os
import signal
import threading


def leave_stop_signals_to_parent() -> None:
    """Ignore SIGINT, and SIGTERM of anyone but the parent, which ends its workers by it.

    A terminal and a cluster send these to every process of a run; a worker that obeys ends the batch that the main
    process would finish and save.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey_parent, args=(os.getppid(),), daemon=True).start()


def _obey_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(128 + signal.SIGTERM)
