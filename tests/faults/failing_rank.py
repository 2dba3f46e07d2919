"""Trains the tiny module on several ranks, one of which fails at batch 2: failing_rank.py KIND RANK [blocked].

KIND is `exception`, `kill` (SIGKILL), `stop` (SIGSTOP) or `nan` (a loss on rank 0); `blocked`: the other ranks never
come back from that batch, as in a collective of NCCL, which does not notice that a neighbour is gone. The time of the
failure goes to the file that FAULT_MARKER names.
"""

import os
import signal
import sys
import time
from pathlib import Path

import lightning as L
import torch

from codec.training.distributed.ddp import AlternatingDDPStrategy
from tests.support.leaving import leave_together
from tests.support.training import VoiceData, quiet_trainer, tiny_module


class Failure(L.Callback):
    def __init__(self, kind: str, rank: int, *, blocked: bool) -> None:
        self.kind, self.rank, self.blocked = kind, rank, blocked

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step != 2 or self.kind == "nan":
            return
        if trainer.global_rank != self.rank:
            time.sleep(600 if self.blocked else 0)
            return
        if "FAULT_MARKER" in os.environ:
            Path(os.environ["FAULT_MARKER"]).write_text(str(time.time()))
        if self.kind == "exception":
            raise OSError("the disk of this rank is gone")
        else:
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[self.kind])


def main() -> None:
    kind, rank, *rest = sys.argv[1:]
    torch.set_num_threads(1)
    silence = 60.0 if kind == "exception" else 10.0  # a rank that raises tells the others
    strategy = AlternatingDDPStrategy(silence=silence, process_group_backend="gloo")
    failure = Failure(kind, int(rank), blocked="blocked" in rest)
    trainer = quiet_trainer(max_steps=4, devices=2, strategy=strategy, callbacks=[failure])
    module = tiny_module()
    trainer.fit(module, VoiceData(2, broken=(2,) if kind == "nan" else ()))
    finite = all(value.isfinite().all() for value in module.state_dict().values())
    print(
        f"[rank {trainer.global_rank}] skipped_steps {module.skipped_steps}, weights finite: {finite}", file=sys.stderr
    )


if __name__ == "__main__":
    main()
    leave_together()
