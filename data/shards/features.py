"""Reading what `python -m data.features` has written: arrays in tar shards, found by the ids of their clips."""

import hashlib
import io
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.audio.members import open_member
from data.errors import AudioReadError, DataError
from data.shards.source import ShardSource

FEATURE_EXTENSION = ".npy"


class FeatureShards(Dataset[Tensor]):
    """The features of a corpus, in its order and by the ids of its clips; may be used in data workers.

    Args:
        root: the folder that `data.features` has made, or its URL, as for `ShardSource`.
        name: of the corpus, in front of the ids, as it is given to the source of the clips.

    Raises:
        DataError: the folder holds no features.
    """

    def __init__(self, root: str, *, name: str | None = None) -> None:
        self.root = root
        self._clips = ShardSource(root, name=name).clips_without_text()
        if not self._clips[0].id.endswith(FEATURE_EXTENSION):
            raise DataError("the folder", root, "holds no features", "make them with `python -m data.features`")
        hashes = np.fromiter((_hash(id) for id in self.ids()), np.uint64, len(self))
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self._clips)

    def ids(self) -> Iterator[str]:
        """The ids of the clips, as those of the source that was read."""
        return (clip.id.removesuffix(FEATURE_EXTENSION) for clip in self._clips)

    def __contains__(self, id: str) -> bool:
        return self._find(id) is not None

    def __getitem__(self, key: int | str) -> Tensor:
        """The features of a clip, `[..., F]`, by its place or its id.

        Raises:
            KeyError: no clip has this id.
            AudioReadError: the shard is missing or cut off.
        """
        place = self._find(key) if isinstance(key, str) else key
        if place is None:
            raise KeyError(key)
        path = self._clips[place].path
        try:
            member = open_member(path)
            assert member is not None, "a row of the manifest names its shard"
            return torch.from_numpy(np.load(io.BytesIO(member.read(member.size)), allow_pickle=False))
        except (OSError, ValueError) as error:
            raise AudioReadError(getattr(error, "filename", None) or path, f"unreadable features: {error}") from error

    def _find(self, id: str) -> int | None:
        wanted = _hash(id)
        place = int(np.searchsorted(self._hashes, np.uint64(wanted)))
        while place < len(self._hashes) and int(self._hashes[place]) == wanted:
            if self._clips[int(self._order[place])].id == id + FEATURE_EXTENSION:
                return int(self._order[place])
            place += 1
        return None


def _hash(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "big")
