"""Trains the tiny module on the ranks it is launched on: ranks.py OUT STEPS SIZE ACCUMULATE BROKEN RVQ."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from codec.quantizers import RVQ, Codebook, EMACodebook, LearnedCodebook
from codec.strategies import AlternatingDDPStrategy
from tests.codec.training import VoiceData, quiet_trainer, sgd, tiny_module
from tests.leaving import leave_together

RESTLESS = {"decay": 0.5, "restart_below": 0.6}  # some entry restarts at nearly every batch


def main() -> None:
    out, steps, size, accumulate, broken, rvq = Path(sys.argv[1]), *map(int, sys.argv[2:])
    torch.set_num_threads(1)
    module = tiny_module(optimizer=sgd, discriminator_optimizer=sgd, gradient_clip=0.0, accumulate=accumulate)
    if rvq:
        books = [EMACodebook(8, 16), LearnedCodebook(8, 16, **RESTLESS), EMACodebook(8, 4), LearnedCodebook(8, 4)]
        module.codec.quantizer = RVQ(16, books, dropout=0.5)
    trainer = quiet_trainer(max_steps=steps, devices=2, strategy=AlternatingDDPStrategy(process_group_backend="gloo"))
    if trainer.global_rank:  # ranks must start from rank 0's weights, whatever theirs are
        for parameter in module.parameters():
            parameter.data.add_(0.1)
    trainer.fit(module, VoiceData(size, broken=(broken,)))
    torch.save(module.state_dict() | {"skipped": module.skipped_steps}, out / f"rank{trainer.global_rank}.pt")
    if rvq:
        kinds = {kind.__name__: uneven_batches(kind) for kind in (LearnedCodebook, EMACodebook)}
        torch.save(kinds, out / f"codebooks{trainer.global_rank}.pt")


def uneven_batches(kind: type[Codebook]) -> dict[str, Tensor]:
    """Six batches of 5 vectors on rank 0 and 300 on rank 1, of which batches 0 and 3 are broken on rank 1."""
    rank = dist.get_rank()
    torch.manual_seed(0)
    book = kind(32, 8, **RESTLESS)
    restarted = []
    for batch in range(6):
        torch.manual_seed(10 * batch + rank)
        vectors = torch.randn((5, 300)[rank], 8) + 3 * torch.randint(2, ((5, 300)[rank], 1))
        if rank == 1 and batch in (0, 3):
            vectors[7, 2] = float("nan")
        idle, before = book.usage < book.restart_below, book.table.detach().clone()
        loss = book.match(vectors).loss
        restarted.append(int((idle & (book.table != before).any(1)).sum()))
        if loss.requires_grad and batch not in (0, 3):  # the training module skips a broken step
            (gradient,) = torch.autograd.grad(loss, [book.table])
            dist.all_reduce(gradient)
            book.table.data.sub_(gradient)
    return book.state_dict() | {"restarted": torch.tensor(restarted)}


if __name__ == "__main__":
    main()
    leave_together()
