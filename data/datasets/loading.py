"""The loader of all stages: errors of workers arrive as they were raised, and an evaluation goes on without a clip."""

import gc
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler, default_collate

from data.audio.bad_files import BadFiles
from data.audio.notices import NOTICES
from data.audio.workers import start_worker
from data.datasets.groups import GroupedClips, grouped, padded_batch
from data.errors import AudioReadError, DataError
from data.sampling import UnsizedSampler


class Failure(NamedTuple):
    """An error on its way from a worker to the process that trains."""

    error: DataError


class GuardedDataset(Dataset[Any]):
    """The items of another data set. An error becomes a `Failure`; a file that cannot be read is None.

    Such a file was readable at the start of the evaluation: it is reported to `bad_files` and left out, or with
    `strict` a `Failure` too.
    """

    def __init__(self, dataset: Any, bad_files: BadFiles, *, strict: bool) -> None:
        self.unguarded = dataset
        self._bad_files, self._strict = bad_files, strict

    def __len__(self) -> int:
        return len(self.unguarded)

    def __getitem__(self, index: int) -> Any:
        NOTICES.folder = self._bad_files.folder
        try:
            return self.unguarded[index]
        except AudioReadError as error:
            if self._strict:
                return Failure(error)
            self._bad_files.report(error.path, error.reason)
            return None
        except DataError as error:
            return Failure(error)


class SpeechLoader(DataLoader):
    """A loader of a `GuardedDataset`: raises the error of a `Failure`, and passes over what could not be read.

    Nor do the later pieces of a clip arrive, of which one could not be read. So the ranks of an evaluation may have
    fewer batches than their loaders' lengths; nothing in it waits for the others before its end.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A decoder left in a reference cycle waits for its threads when it is freed; a forked worker has none of them.
        gc.collect()
        following = ("", 0)  # the clip and the number of the piece that may come next
        for batch in super().__iter__():
            if isinstance(batch, Failure):
                raise batch.error
            if batch is None:
                continue
            if "piece" in batch:
                clip, piece = batch["id"][0], int(batch["piece"][0])
                if piece and (clip, piece) != following:
                    continue
                following = clip, piece + 1
            yield batch


def guarded_loader(
    dataset: GuardedDataset,
    *,
    sampler: Sampler | None = None,
    batch_sampler: Sampler | None = None,
    num_workers: int,
    pin_memory: bool,
    forks: bool,
    clips_per_batch: int = 1,
) -> SpeechLoader:
    """The batches of `batch_sampler`, or those of `sampler` with one item each, or several whole clips.

    `forks` says how workers are made.
    """
    order: dict[str, Any] = {"sampler": sampler, "batch_size": 1}
    items: Dataset[Any] = dataset
    if sampler is not None and clips_per_batch > 1:
        groups = grouped(dataset.unguarded, sampler, clips_per_batch)
        items, in_turn = GroupedClips(dataset, groups), SequentialSampler(range(len(groups)))
        order["sampler"] = UnsizedSampler(in_turn) if isinstance(sampler, UnsizedSampler) else in_turn
    return SpeechLoader(
        items,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        multiprocessing_context="fork" if forks and num_workers else None,
        worker_init_fn=start_worker,
        collate_fn=collate,
        **({"batch_sampler": batch_sampler} if batch_sampler else order),
    )


def collate(items: list[Any]) -> Any:
    """A batch of items or of a group; the `Failure` among them, if there is one; None where none could be read."""
    grouped_items = isinstance(items[0], list)
    items = items[0] if grouped_items else items
    for item in items:
        if isinstance(item, Failure):
            return item
    readable = [item for item in items if item is not None]
    if not readable:
        return None
    return padded_batch(readable) if grouped_items else default_collate(readable)
