"""What each of two ranks computes for the tests of gradient averaging; `on_two_ranks` starts them."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from codec.layers.ranks import gather_objects, make_waiting_group, wait_for_ranks, waiting_group
from codec.training.distributed.averaging import average_over_ranks, overlapped_average


def on_two_ranks(work: Callable[[], Any], folder: Path) -> list[Any]:
    """What a function returns on each of two gloo ranks, processes of their own."""
    mp.spawn(_rank, (work, str(folder)), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


def _rank(rank: int, work: Callable[[], Any], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(work(), Path(folder) / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


class Net(nn.Module):
    """Two branches, of which a pass may reach one, a parameter that none reaches, one in float64 and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 5), nn.Linear(6, 5)
        self.wide = nn.Parameter(torch.randn(5, dtype=torch.float64))
        self.unreached = nn.Parameter(torch.randn(3))
        self.frozen = nn.Parameter(torch.randn(4), requires_grad=False)

    def forward(self, x: Tensor, *, both: bool) -> Tensor:
        y = self.first(x) + (self.second(x) if both else 0)
        return (y.tanh() * self.wide).square().mean()


def plain_means(parameters: list[nn.Parameter]) -> list[Tensor | None]:
    """Means over ranks, parameter by parameter, zeros where a rank has no gradient."""
    means: list[Tensor | None] = []
    for parameter in parameters:
        if not parameter.requires_grad:
            means.append(None)
            continue
        mean = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        dist.all_reduce(mean)
        means.append(mean / 2)
    return means


def gradients(passes: int, *, bucket: int, apart: bool) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Gradients averaged in the last of `passes` backward passes, and those averaged afterwards.

    Args:
        passes: of an accumulation.
        bucket: see `overlapped_average`.
        apart: rank 1 reaches one branch alone, and in the last pass.
    """
    rank, found = dist.get_rank(), []
    for overlapped in (True, False):
        net = Net()
        parameters = list(net.parameters())
        for number in range(passes):
            torch.manual_seed(10 * rank + number)
            last = number == passes - 1
            with overlapped_average(parameters, bucket=bucket) if overlapped and last else nullcontext():
                net(torch.randn(7, 6), both=not (apart and rank == 1)).backward()
        found.append([p.grad for p in parameters] if overlapped else plain_means(parameters))
    return found[0], found[1]


def launches(bucket: int) -> tuple[list[int], int]:
    """Sizes of the all-reduces in their order, and how many of them began within the backward pass."""
    net, sizes, before_end = Net(), [], []
    reduce = dist.all_reduce

    def noted(tensor: Tensor, *arguments: Any, **options: Any) -> Any:
        sizes.append(tensor.numel())
        return reduce(tensor, *arguments, **options)

    with mock.patch.object(dist, "all_reduce", noted), overlapped_average(net.parameters(), bucket=bucket):
        net(torch.randn(7, 6), both=dist.get_rank() == 0).backward()
        before_end.append(len(sizes))
    return sizes, before_end[0]


def two_sides() -> list[Tensor]:
    """Gradients of two disjoint sets of parameters, averaged in turn: none is touched by the other's pass."""
    net = Net()
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(dist.get_rank()))
    with overlapped_average(net.second.parameters()):
        net.second(x).square().mean().backward()
    kept = [p.grad.clone() for p in net.second.parameters() if p.grad is not None]
    with overlapped_average(net.first.parameters()):
        (net.first(x) + net.second(x).detach()).square().mean().backward()
    assert all(torch.equal(p.grad, k) for p, k in zip(net.second.parameters(), kept, strict=True) if p.grad is not None)
    return [p.grad for p in [*net.first.parameters(), *net.second.parameters()] if p.grad is not None]


def second_pass() -> str:
    """What is said of a second backward pass inside."""
    net = Net()
    try:
        with overlapped_average(net.parameters(), bucket=1):
            for _ in range(2):
                net(torch.ones(7, 6), both=True).backward()
    except RuntimeError as error:
        return str(error) + f" hooks left: {sum(bool(p._post_accumulate_grad_hooks) for p in net.parameters())}"
    return ""


def work() -> dict[str, Any]:
    """Everything, by name."""
    torch.manual_seed(dist.get_rank())
    uneven = [torch.full((3,), float(dist.get_rank())), torch.tensor(2.0 * dist.get_rank(), dtype=torch.float64)]
    average_over_ranks(uneven, bucket=2)
    before = waiting_group()
    make_waiting_group(timedelta(hours=30))
    group = waiting_group()
    make_waiting_group(timedelta(hours=1))  # a second run in the process keeps the group
    wait_for_ranks()
    return {
        **{
            f"{passes} {bucket} {apart}": gradients(passes, bucket=bucket, apart=apart)
            for passes in (1, 3) for bucket in (1, 40, 2**20) for apart in (False, True)
        },
        "launches": launches(30),
        "two sides": two_sides(),
        "tensors": uneven,
        "objects": gather_objects(None if dist.get_rank() else {"a": 1}),
        "group": (before is None, waiting_group() is group, dist.get_backend(group)),
        "second pass": second_pass(),
    }  # fmt: skip
