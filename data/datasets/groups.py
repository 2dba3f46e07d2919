"""Whole clips of an evaluation in groups of several, whose batches are padded and state the clips' lengths."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, default_collate

from data.datasets.crops import ClipDataset
from data.datasets.pieces import PieceDataset


class GroupedClips(Dataset[list[Any]]):
    """Lists of the items of another data set, in the order of `groups`."""

    def __init__(self, dataset: Any, groups: Sequence[Sequence[int]]) -> None:
        self._dataset, self._groups = dataset, groups

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> list[Any]:
        return [self._dataset[item] for item in self._groups[index]]


def grouped(dataset: ClipDataset | PieceDataset, items: Iterable[int], size: int) -> list[list[int]]:
    """Items in their order, `size` clips at a time; long clips and their pieces each stand alone."""
    groups: list[list[int]] = [[]]
    for item in items:
        if dataset.stands_alone(item):
            groups += [[item], []]
        elif len(groups[-1]) < size:
            groups[-1].append(item)
        else:
            groups.append([item])
    return [group for group in groups if group]


def padded_batch(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of whole clips; of several with silence behind the shorter ones.

    Of several, "lengths" are the samples of "audio" of each, and "target_lengths" those of "target" where it is there:
    lists, which stay on the host when the batch moves to a GPU.
    """
    if len(items) == 1:
        return default_collate(list(items))
    batch: dict[str, Any] = {}
    for name, first in items[0].items():
        values = [item[name] for item in items]
        if isinstance(first, Tensor) and first.ndim:
            batch[name] = pad_sequence([wave[0] for wave in values], batch_first=True)[:, None]  # [B, 1, T]
            batch["lengths" if name == "audio" else f"{name}_lengths"] = [wave.shape[-1] for wave in values]
        else:
            batch[name] = torch.stack(values) if isinstance(first, Tensor) else values
    return batch
