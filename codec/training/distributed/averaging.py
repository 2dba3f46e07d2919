"""Means over the ranks of a distributed run: of gradients, during their backward pass, and of any tensors."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from codec.layers.ranks import world_size

Some = TypeVar("Some", bound=Tensor)
BUCKET = 2**23  # numbers in an all-reduce, 32 MB of float32 (DDP's buckets have 25)


@contextmanager
def overlapped_average(parameters: Iterable[nn.Parameter], *, bucket: int = BUCKET) -> Iterator[None]:
    """Average gradients over ranks while the one backward pass inside computes them; on leaving, `grad` is the mean.

    Around the last backward pass of an accumulation: what a parameter's `grad` holds from earlier passes is part of its
    mean. The parameters are cut into buckets from the last to the first, and each bucket is all-reduced as soon as all
    its gradients are there and the bucket before it is under way, as in PyTorch DDP (arXiv 2006.15704, section 3.2.3).
    Every rank reduces the same buckets in the same order, with zeros where it has no gradient, so ranks never disagree
    on the collectives.

    Gradients of sharded parameters are means already (FSDP), and frozen parameters (no `requires_grad`) have none: both
    are left as they are. On one rank nothing happens. An exception inside leaves the gradients unreduced.

    Args:
        parameters: those whose gradients the backward pass completes; equal on all ranks.
        bucket: least numbers in one all-reduce, but for the last.

    Raises:
        RuntimeError: a second backward pass inside reaches a parameter whose gradient is being averaged.
    """
    averaged = [p for p in parameters if p.requires_grad and not isinstance(p, DTensor)]
    if world_size() == 1 or not averaged:
        yield
        return
    average = _BucketedAverage(averaged, bucket)
    try:
        yield
        average.finish()
    finally:
        average.remove_hooks()


class _BucketedAverage:
    """Buckets of parameters, hooks that note their gradients, and the all-reduces under way."""

    def __init__(self, parameters: Sequence[nn.Parameter], bucket: int) -> None:
        self._buckets = list(_cut(parameters[::-1], bucket))
        self._missing = [len(part) for part in self._buckets]
        self._means: list[_Mean] = []  # of the first buckets, in order
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(lambda _, number=number: self._note(number))
            for number, part in enumerate(self._buckets)
            for parameter in part
        ]

    def finish(self) -> None:
        """Reduce the other buckets, with zeros for gradients that this rank does not have, and wait for all."""
        while len(self._means) < len(self._buckets):
            self._launch()
        for part, mean in zip(self._buckets, self._means, strict=True):
            mean.copy_to([p.grad for p in part if p.grad is not None])

    def remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _note(self, number: int) -> None:
        """One more gradient of a bucket is complete; autograd calls this."""
        self._missing[number] -= 1
        if number < len(self._means) or self._missing[number] < 0:
            raise RuntimeError("overlapped_average holds one backward pass that reaches a parameter once, not several")
        while len(self._means) < len(self._buckets) and self._missing[len(self._means)] == 0:
            self._launch()

    def _launch(self) -> None:
        """Start the all-reduce of the next bucket."""
        part = self._buckets[len(self._means)]
        for parameter in part:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._means.append(_Mean([p.grad for p in part if p.grad is not None]))


def _cut(tensors: Iterable[Some], bucket: int) -> Iterator[list[Some]]:
    """Tensors in their order, in lists of one type and device and of at least `bucket` numbers, but for the last."""
    part: list[Some] = []
    for tensor in tensors:
        if part and (tensor.dtype != part[0].dtype or tensor.device != part[0].device):
            yield part
            part = []
        part.append(tensor)
        if sum(t.numel() for t in part) >= bucket:
            yield part
            part = []
    if part:
        yield part


class _Mean:
    """The mean over ranks of a list of tensors of one type: an all-reduce under way.

    NCCL divides by the number of ranks itself (ReduceOp.AVG), which gloo does not offer.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._flat = torch.cat([t.flatten() for t in tensors])
        self._divide = f"{self._flat.device.type}:{dist.Backend.NCCL}" not in dist.get_backend_config()
        operation = dist.ReduceOp.SUM if self._divide else dist.ReduceOp.AVG
        self._work = dist.all_reduce(self._flat, operation, async_op=True)

    def copy_to(self, tensors: Sequence[Tensor]) -> None:
        """Wait, and copy the mean to the tensors."""
        assert self._work is not None
        self._work.wait()
        if self._divide:
            self._flat /= world_size()
        means = self._flat.split([t.numel() for t in tensors])
        torch._foreach_copy_(list(tensors), [m.view_as(t) for m, t in zip(means, tensors, strict=True)])


def average_over_ranks(tensors: Sequence[Tensor], *, bucket: int = BUCKET) -> None:
    """Replace tensors by their mean over ranks, in place, all-reduced in buckets of about `bucket` numbers."""
    if world_size() == 1:
        return
    for part in _cut(tensors, bucket):
        _Mean(part).copy_to(part)
