"""Settings of all tests: one thread a process, so that tests in parallel do not contend and numbers do not vary."""

import os

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before PyTorch is loaded, also for the processes that tests start

import torch  # noqa: E402

torch.set_num_threads(1)
