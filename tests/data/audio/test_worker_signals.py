"""Data workers outlive the signals that stop a run, and obey their parent."""

import os
import signal
import subprocess

from torch.utils.data import DataLoader, Dataset

from data.audio.workers import start_worker


class Pids(Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, index):
        return os.getpid()


def test_a_worker_ignores_stop_signals_of_others_and_obeys_its_parent():
    batches = iter(DataLoader(Pids(), batch_size=1, num_workers=1, worker_init_fn=start_worker))
    worker = int(next(batches))
    for name in ("TERM", "INT", "USR1"):
        subprocess.run(["kill", f"-{name}", str(worker)], check=True)
    assert {int(pid) for pid in batches} == {worker}
    del batches  # ends the worker in the usual way

    batches = iter(DataLoader(Pids(), batch_size=1, num_workers=1, worker_init_fn=start_worker))
    next(batches)
    process = batches._workers[0]
    complain = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler raises at the loss of a worker
    process.terminate()
    process.join(30)
    signal.signal(signal.SIGCHLD, complain)
    assert process.exitcode == 128 + signal.SIGTERM
