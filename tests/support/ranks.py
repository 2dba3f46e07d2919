"""Trains the tiny module in every way that ranks must agree on, on the ranks it is launched on: ranks.py FOLDER."""

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor

from codec.quantizers import BSQ, RVQ, ChannelOptimizedCodebook, Codebook, EMACodebook, LearnedCodebook
from codec.training.distributed.ddp import AlternatingDDPStrategy
from tests.support.concealing import EveryThird, concealment_module
from tests.support.leaving import leave_together
from tests.support.training import VoiceData, quiet_trainer, sgd, tiny_module

JOINT_BATCH = 6
KINDS = (LearnedCodebook, EMACodebook, ChannelOptimizedCodebook)
ANNEALED = {"bit_error_rate": 0.02, "start_bit_error_rate": 0.3, "anneal_batches": 4}
RESTLESS = {"decay": 0.5, "restart_below": 0.6}  # some entry restarts at nearly every batch


class Gradients(L.Callback):
    """Keeps the gradient of each optimizer step, a vector, discriminators and codec in turn."""

    def __init__(self) -> None:
        self.vectors: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, module: L.LightningModule, optimizer: Any) -> None:
        owned = [p for group in optimizer.param_groups for p in group["params"]]
        self.vectors.append(torch.cat([p.grad.flatten() for p in owned]))


def train(
    ranks: int,
    *,
    steps: int = 2,
    accumulate: int = 1,
    broken: int = -1,
    rvq: bool = False,
    bsq: bool = False,
    exact: bool = False,
) -> dict[str, Any]:
    """State, gradients and skipped steps after training on joint batches that do not depend on the ranks."""
    module = tiny_module(optimizer=sgd, discriminator_optimizer=sgd, gradient_clip=0.0, accumulate=accumulate)
    if rvq:
        books = [EMACodebook(8, 16), LearnedCodebook(8, 16, **RESTLESS), EMACodebook(8, 4), LearnedCodebook(8, 4)]
        module.codec.quantizer = RVQ(16, books, dropout=0.5)
    if bsq:
        torch.manual_seed(2)
        module.codec.quantizer = BSQ(16, bits=8, entropy_weight=20.0, commitment=1.0)
    strategy = AlternatingDDPStrategy(process_group_backend="gloo") if ranks > 1 else "auto"
    gradients = Gradients()
    settings = {"devices": ranks, "strategy": strategy, "precision": "64-true" if exact else "32-true"}
    trainer = quiet_trainer(max_steps=steps, callbacks=[gradients], **settings)
    if trainer.global_rank:  # ranks must start from rank 0's weights, whatever theirs are
        for parameter in module.parameters():
            parameter.data.add_(0.1)
    # In float64, with the codec's casts to float32 turned off: float32's rounding alone is 1e-5 of these gradients.
    with ExitStack() as patches:
        if exact:
            patches.enter_context(mock.patch.object(Tensor, "float", Tensor.double))
            for refusal in ("training.alternating.check_trainer", "codec.refuse_other_types"):  # they refuse float64
                patches.enter_context(mock.patch(f"codec.{refusal}"))
        trainer.fit(module, VoiceData(JOINT_BATCH // ranks, broken=(broken,)))
    return {"state": module.state_dict(), "gradients": gradients.vectors, "skipped": module.skipped_steps}


def concealing(ranks: int) -> dict[str, Any]:
    """State and gradients of learned concealment after two joint batches whose losses do not depend on the ranks."""
    with tempfile.TemporaryDirectory() as folder:
        module = concealment_module(Path(folder), channel=EveryThird(), optimizer=sgd)
    gradients = Gradients()
    strategy = AlternatingDDPStrategy(process_group_backend="gloo") if ranks > 1 else "auto"
    trainer = quiet_trainer(max_steps=2, callbacks=[gradients], devices=ranks, strategy=strategy)
    if trainer.global_rank:
        for parameter in module.predictor.parameters():
            parameter.data.add_(0.1)
    trainer.fit(module, VoiceData(JOINT_BATCH // ranks))
    return {"state": module.state_dict(), "gradients": gradients.vectors}


def trained_codebooks(kind: type[Codebook], **settings: Any) -> dict[str, Tensor]:
    """A codebook after three joint batches of 60 vectors, alike on any number of ranks."""
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    torch.manual_seed(0)
    book = kind(16, 8, restart_below=0.0, **settings)
    book.batches.fill_(1)  # no k-means, whose first entries are drawn from the ranks in their order
    for batch in range(3):
        torch.manual_seed(batch)
        book.match(torch.randn(60, 8)[rank::ranks])
    return dict(book.state_dict())


def uneven_batches(kind: type[Codebook]) -> dict[str, Tensor]:
    """Six batches of 5 vectors on rank 0 and 300 on the others, of which batches 0 and 3 are broken on rank 1."""
    rank = dist.get_rank()
    count = 300 if rank else 5
    torch.manual_seed(0)
    book = kind(32, 8, **RESTLESS)
    restarted = []
    for batch in range(6):
        torch.manual_seed(10 * batch + rank)
        vectors = torch.randn(count, 8) + 3 * torch.randint(2, (count, 1))
        if rank == 1 and batch in (0, 3):
            vectors[4, 2] = float("nan")
        idle, before = book.usage < book.restart_below, book.table.detach().clone()
        loss = book.match(vectors).loss
        restarted.append(int((idle & (book.table != before).any(1)).sum()))
        if loss.requires_grad and batch not in (0, 3):  # the training module skips a broken step
            (gradient,) = torch.autograd.grad(loss, [book.table])
            dist.all_reduce(gradient)
            book.table.data.sub_(gradient)
    return book.state_dict() | {"restarted": torch.tensor(restarted)}


def scenarios(ranks: int) -> dict[str, Any]:
    """What is compared between numbers of ranks, by name."""
    return {
        "plain": train(ranks, exact=True),
        "accumulated": train(ranks, accumulate=2, exact=True),
        "bsq": train(ranks, bsq=True, exact=True),
        "concealment": concealing(ranks),
        "moving_means": trained_codebooks(EMACodebook),
        "channel_optimised": trained_codebooks(ChannelOptimizedCodebook, **ANNEALED),
    }


def main() -> None:
    torch.set_num_threads(1)
    ranks, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    found = scenarios(ranks) | {
        "broken": train(ranks, broken=1),
        "rvq": train(ranks, steps=5, broken=2, rvq=True),
        "uneven": {kind.__name__: uneven_batches(kind) for kind in KINDS},
    }
    torch.save(found, Path(sys.argv[1]) / f"rank{rank}.pt")


if __name__ == "__main__":
    main()
    leave_together()
