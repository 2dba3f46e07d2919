"""How the data workers of a loader behave: one thread each, and stop signals are left to the main process."""

import os
import signal
import threading

import torch


def start_worker(worker: int) -> None:
    """Prepare a data worker: several threads in each would compete for the cores, or hang after a fork."""
    leave_stop_signals_to_parent()
    torch.set_num_threads(1)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"


def leave_stop_signals_to_parent() -> None:
    """Ignore SIGINT and SIGUSR1, and SIGTERM unless the parent sends it, which is how it ends its workers.

    A terminal and a cluster send these to every process of a run; a worker that obeyed would end the batch that the
    main process still has to finish and save.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey_parent, args=(os.getppid(),), daemon=True).start()


def _obey_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(128 + signal.SIGTERM)
