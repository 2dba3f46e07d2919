"""What is found out about clips from their files, in threads: lengths from the headers, and which ones decode."""

import contextlib
import itertools
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from data.audio.bad_files import BadFiles
from data.audio.channels import MEAN, Channel
from data.audio.reading import check_readable, probe
from data.errors import AudioReadError
from data.sampling import Lengths
from data.sources.base import Clip, ClipSequence, refuse_shortened, stated_seconds
from data.sources.columns.cache import only_one
from data.sources.columns.clip_list import ClipList

READ_THREADS = 8
READ_CHUNK = 4096  # clips given to the threads at once
QUIET_SECONDS = 5  # before progress is shown
MEASURED = "measured"  # the column of lengths from headers, 0 where there is none


def clip_seconds(clips: Sequence[Clip], bad_files: BadFiles, *, strict: bool) -> Lengths:
    """The length of each clip in seconds, from the header where the source does not know it.

    A file without a usable header is reported and gets 0 seconds, or raises AudioReadError when `strict`. Lengths of a
    long list are kept beside its columns: of its files, only those that had no usable header are opened again.
    """
    stated = clips.stated_seconds() if isinstance(clips, ClipSequence) else stated_seconds(clips)
    unknown = np.flatnonzero(np.isnan(stated))
    if not len(unknown):
        return stated
    if not isinstance(clips, ClipList):
        return _measured(clips, stated, unknown, bad_files, strict)
    with only_one(f"{clips.folder} {MEASURED}"):
        kept = clips.extra(MEASURED)
        if kept is None:
            lengths = _measured(clips, stated, unknown, bad_files, strict)
            with contextlib.suppress(OSError):  # such as a folder of another user
                clips.add_extra(MEASURED, [lengths])
            return clips.extra(MEASURED) or lengths  # type: ignore[return-value]
    again = unknown[kept[unknown] == 0]
    if not len(again):
        return kept  # type: ignore[return-value]
    lengths = _measured(clips, np.asarray(kept), again, bad_files, strict)
    return lengths if lengths[again].any() else kept  # type: ignore[return-value]


def _measured(
    clips: Sequence[Clip], known: Lengths, unknown: np.ndarray, bad_files: BadFiles, strict: bool
) -> np.ndarray:
    """The `known` lengths, with those of the clips number `unknown` from their headers."""

    def seconds(clip: Clip) -> float:
        info = probe(clip.path, clip.segment)
        return info.frames / info.rate

    lengths = np.array(known)
    measured = _try_all(seconds, (clips[number] for number in unknown.tolist()), bad_files, strict)
    pause = 0.5 if sys.stderr.isatty() else 30.0
    options = {"delay": QUIET_SECONDS, "mininterval": pause, "leave": False}
    with tqdm(measured, "reading headers", len(unknown), unit=" clips", **options) as bar:
        for number, (_, found) in zip(unknown.tolist(), bar, strict=True):
            lengths[number] = found or 0.0
    return lengths


def readable_clips(
    clips: Sequence[Clip],
    bad_files: BadFiles,
    *,
    strict: bool,
    max_seconds: float | None = None,
    channel: Channel = MEAN,
) -> tuple[Sequence[Clip], Sequence[float]]:
    """The clips that decode without an error (to `max_seconds`), and their whole lengths in seconds.

    Every rank decodes them all, so that all keep the same ones. The others are reported, or raise AudioReadError when
    `strict`.
    """

    def seconds(clip: Clip) -> float:
        found = check_readable(clip.path, segment=clip.segment, max_seconds=max_seconds, channel=channel)
        refuse_shortened(clip, found)
        return found

    kept, lengths = array("q"), array("d")
    for number, (_, length) in enumerate(_try_all(seconds, clips, bad_files, strict)):
        if length is not None:
            kept.append(number)
            lengths.append(length)
    if isinstance(clips, ClipSequence):
        return clips.selected(np.array(kept)), lengths
    return [clips[number] for number in kept], lengths


def _try_all(
    seconds: Callable[[Clip], float], clips: Iterable[Clip], bad_files: BadFiles, strict: bool
) -> Iterator[tuple[Clip, float | None]]:
    """Each clip and its `seconds`, in threads; None where it raised AudioReadError and the clip was reported."""

    def attempt(clip: Clip) -> float | None:
        try:
            return seconds(clip)
        except AudioReadError as error:
            if strict:
                raise
            bad_files.report(error.path, error.reason)
            return None

    stream = iter(clips)
    with ThreadPoolExecutor(READ_THREADS) as pool:
        while chunk := list(itertools.islice(stream, READ_CHUNK)):
            yield from zip(chunk, pool.map(attempt, chunk), strict=True)
