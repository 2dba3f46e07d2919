"""Trains the tiny module on the ranks it is launched on: ranks.py OUT STEPS SIZE ACCUMULATE BROKEN RVQ."""

import sys
from pathlib import Path

import torch

from codec import RVQ, AlternatingDDPStrategy, EMACodebook, LearnedCodebook
from tests.codec.training import VoiceData, quiet_trainer, sgd, tiny_module


def main() -> None:
    out, steps, size, accumulate, broken, rvq = Path(sys.argv[1]), *map(int, sys.argv[2:])
    torch.set_num_threads(1)
    module = tiny_module(optimizer=sgd, discriminator_optimizer=sgd, gradient_clip=0.0, accumulate=accumulate)
    if rvq:
        module.codec.quantizer = RVQ(16, [EMACodebook(8, 16), EMACodebook(8, 4), LearnedCodebook(8, 4)])
    trainer = quiet_trainer(max_steps=steps, devices=2, strategy=AlternatingDDPStrategy(process_group_backend="gloo"))
    if trainer.global_rank:  # ranks must start from rank 0's weights, whatever theirs are
        for parameter in module.parameters():
            parameter.data.add_(0.1)
    trainer.fit(module, VoiceData(size, broken=(broken,)))
    torch.save(module.state_dict() | {"skipped": module.skipped_steps}, out / f"rank{trainer.global_rank}.pt")


if __name__ == "__main__":
    main()
