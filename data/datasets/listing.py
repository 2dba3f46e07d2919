"""The clips of corpora, and how often each is drawn from."""

import logging
from collections.abc import Sequence

import numpy as np

from data.audio.bad_files import BadFiles
from data.datasets.checks import clip_seconds
from data.datasets.crops import ListedClips
from data.sampling import ClipTable
from data.sources.base import Clip, joined

logger = logging.getLogger(__name__)


def listed_clips(
    corpora: Sequence[Sequence[Clip]], bad_files: BadFiles, *, weights: list[float] | None = None, strict: bool
) -> ListedClips:
    """The clips of all corpora, and the table that chooses among them. Their lengths are logged."""
    seconds = [clip_seconds(clips, bad_files, strict=strict) for clips in corpora]
    for clips, lengths in zip(corpora, seconds, strict=True):
        logger.info("%d clips, %.2f h, from %s on", len(clips), np.sum(np.asarray(lengths)) / 3600, clips[0].path)
    return ListedClips(joined(corpora), ClipTable(seconds, weights))
