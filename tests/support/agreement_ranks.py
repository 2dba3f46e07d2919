"""A student beside its teacher on tiny codecs, on one rank or, run by `torchrun`, on two with uneven clips.

Usage: torchrun --nproc-per-node 2 agreement_ranks.py FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from callbacks.analysis.agreement import AgreementReport
from callbacks.metrics import SISDR, STOI
from codec.codec import NeuralCodec
from tests.support.codec_fakes import CountingModule, clip, loader, tiny_codec, trainer
from tests.support.leaving import leave_together
from tests.support.speech import speech_like

CLIPS = [clip(f"voice/clip_{number}", speech_like(number, 0.8 + 0.1 * number)) for number in range(5)]


class Distilled(CountingModule):
    """A codec and a teacher that shares its quantizer and decoder."""

    def __init__(self, teacher: NeuralCodec, student: NeuralCodec) -> None:
        super().__init__(student)
        self.__dict__["teacher"] = teacher


def module(levels: tuple[int, ...] = (4, 4, 4, 4), *, noise: float = 0.3) -> Distilled:
    """A student whose encoder is the teacher's, disturbed by `noise`."""
    torch.manual_seed(0)
    teacher, student = tiny_codec(levels), tiny_codec(levels)
    student.load_state_dict(teacher.state_dict())
    for parameter in student.encoder.parameters():
        parameter.data.add_(noise * torch.randn_like(parameter))
    student = NeuralCodec(student.encoder, teacher.quantizer, teacher.decoder)
    return Distilled(teacher.eval(), student.train())


def report(**options: Any) -> AgreementReport:
    defaults = {"bit_error_rates": (0.0, 0.1), "metrics": [STOI(), SISDR()], "num_workers": 0}
    return AgreementReport(**{**defaults, "cost_seconds": 0.5, "cost_repeats": 3, **options})


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    torch.set_num_threads(1)
    callback = report()
    shares = (CLIPS[1:], CLIPS[:1])  # four clips and one
    for name, batches in (("uneven", shares[rank]), ("empty", CLIPS if rank == 0 else [])):
        trainer(folder / name, [callback], devices=2, strategy="ddp_find_unused_parameters_true").test(
            module(), loader(batches), verbose=False
        )
        torch.save([tuple(row) for row in callback.agreement], folder / f"{name}_{rank}.pt")


if __name__ == "__main__":
    main()
    leave_together()
