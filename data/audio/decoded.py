"""Training clips decoded once into memory, and crops cut from them as `read_crop` cuts them from the files."""

import logging
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from data.audio.channels import MEAN, Channel
from data.audio.files import AudioFile, Segment, opened
from data.audio.lengths import length_at
from data.audio.reading import Crop, within_full_scale
from data.audio.resampling import read_resampled, start_frame
from data.errors import AudioReadError, DataError

DECODE_THREADS = 8
WHOLE = Segment(0.0)
BLOCK_SECONDS = 60  # decoded at once, so that decoding a long recording needs little further memory

logger = logging.getLogger(__name__)


class _Held(NamedTuple):
    """A clip's header, and for each rate the place and the number of its samples in the tensor."""

    frames: int
    samplerate: int
    offsets: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()


class DecodedClips:
    """Clips as mono float32 at each of `rates`, in one flat tensor for each rate, which forked processes share.

    How far crops differ from those that `read_crop` reads:

    - lossless files at the training rate: not at all; resampled, by at most 2e-6;
    - speech after a high-pass filter of 30 Hz or more: by at most 2e-4, and by 2e-3 in the first 0.1 s of a clip. The
      mean is subtracted before the filter, here from blocks of 60 s instead of from each crop; with strong low
      frequencies, as in music or noise, differences of 1e-2 have been seen;
    - lossy files: crops are nearer to the whole decoded clip, because a decoder that starts in the middle of a file has
      no past to decode from.

    A clip that cannot be decoded to its end is counted in the log and not held.

    Args:
        clips: path and segment of each (None for a whole file); files are decoded in threads, each opened once.
        samples: length of a crop at `rates[0]`; a shorter clip is held with zeros up to this length.
        rates: of the samples, in Hz.
        highpass_hz: cut-off of the high-pass filter; None for no filter.
        max_bytes: limit for all samples together.
        channel: which of several channels.

    Raises:
        DataError: The samples take more than `max_bytes`; raised before any is decoded.
    """

    def __init__(
        self,
        clips: Sequence[tuple[str, Segment | None]],
        samples: int,
        *,
        rates: tuple[int, ...],
        highpass_hz: float | None,
        max_bytes: int,
        channel: Channel = MEAN,
    ) -> None:
        started = time.perf_counter()
        self._rates, self._highpass_hz, self._channel = rates, highpass_hz, channel
        self._segments = [segment for _, segment in clips]
        self._files: dict[str, list[int]] = defaultdict(list)
        for number, (path, _) in enumerate(clips):
            self._files[path].append(number)
        self._crop_lengths = [length_at(rate, samples, rates[0]) for rate in rates]
        self._errors: list[AudioReadError] = []
        self._clips: list[_Held | None] = [None] * len(clips)
        self._each_clip(_header)
        totals = self._lay_out()
        hours = sum(held.frames / held.samplerate for held in self._clips if held) / 3600
        size = 4e-9 * sum(totals)
        if 1e9 * size > max_bytes:
            raise DataError(
                "data.in_memory",
                True,
                f"needs {size:.2f} GB of memory for {hours:.2f} h of training clips, and each rank may take "
                f"{max_bytes / 1e9:.2f} GB here",
                "set it to false, to read crops from the files, or use fewer clips or fewer ranks on this machine",
            )
        self._waves = [torch.empty(total, dtype=torch.float32) for total in totals]
        self._each_clip(self._decode)
        took = time.perf_counter() - started
        rank_zero_info(f"{hours:.2f} h of training clips decoded into {size:.2f} GB of memory in {took:.0f} s.")
        if self._errors:
            counts = len(self._errors), len(clips)
            logger.warning("%d of %d training clips stay on disk, such as %s", *counts, self._errors[0])

    def crop(self, number: int, position: float) -> Crop | None:
        """The crop of clip `number` at `position` in [0, 1), as by `read_crop`; None for a clip that is not held."""
        held = self._clips[number]
        if held is None:
            return None
        start = start_frame(held, self._crop_lengths[0], self._rates, position)
        waves = []
        for wave, offset, rate, length in zip(self._waves, held.offsets, self._rates, self._crop_lengths, strict=True):
            first = offset + start * rate // held.samplerate
            waves.append(
                wave[None, first : first + length].clone()
            )  # [1, T]; a copy, because items may be changed in place
        return Crop(within_full_scale(tuple(waves)), int(start), held.frames / held.samplerate)

    def _each_clip(self, read: Callable[[AudioFile, _Held | None], _Held | None]) -> None:
        """`read` each clip: what is held of it, or None where that raised AudioReadError, which is kept."""

        def read_file(path: str, numbers: list[int]) -> None:
            try:
                with opened(path, channel=self._channel) as file:
                    for number in sorted(numbers, key=lambda number: (self._segments[number] or WHOLE).start):
                        read_clip(file, number)
            except AudioReadError as error:
                for number in numbers:
                    self._clips[number] = None
                self._errors += [error] * len(numbers)

        def read_clip(file: AudioFile, number: int) -> None:
            try:
                self._clips[number] = read(file.cut(self._segments[number]), self._clips[number])
            except AudioReadError as error:
                self._clips[number] = None
                self._errors.append(error)

        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            list(pool.map(read_file, *zip(*self._files.items(), strict=True)))

    def _lay_out(self) -> list[int]:
        """Give each clip its place, one after the other; returns the total number of samples at each rate."""
        totals = [0] * len(self._rates)
        for number, held in enumerate(self._clips):
            if held is None:
                continue
            whole = [held.frames * rate // held.samplerate for rate in self._rates]
            lengths = tuple(map(max, whole, self._crop_lengths))
            self._clips[number] = held._replace(offsets=tuple(totals), lengths=lengths)
            totals = [total + length for total, length in zip(totals, lengths, strict=True)]
        return totals

    def _decode(self, file: AudioFile, held: _Held | None) -> _Held | None:
        """Fill the clip's part of each tensor, in blocks that begin at a whole sample of every rate."""
        if held is None:
            return None
        step = held.samplerate // math.gcd(held.samplerate, *self._rates)
        block = math.ceil(BLOCK_SECONDS * held.samplerate / step) * step
        for start in range(0, held.frames, block):
            firsts = [start * rate // held.samplerate for rate in self._rates]
            lasts = [(start + block) * rate // held.samplerate for rate in self._rates]
            if start + block >= held.frames:
                lasts = list(held.lengths)
            lengths = [last - first for first, last in zip(firsts, lasts, strict=True)]
            pieces = read_resampled(file, start, lengths, self._rates, self._highpass_hz)
            for wave, offset, first, piece in zip(self._waves, held.offsets, firsts, pieces, strict=True):
                wave[offset + first : offset + first + piece.shape[1]] = piece[0]
        return held


def _header(file: AudioFile, _: _Held | None) -> _Held:
    return _Held(file.frames, file.samplerate)


def available_bytes(root: Path = Path("/")) -> int:
    """Bytes of memory free for this process on Linux: the kernel's estimate, or less if a cgroup (v2) limits it."""
    free = [1024 * _number(root / "proc/meminfo", "MemAvailable:")]
    group = re.search(r"^0::/(.*)$", (root / "proc/self/cgroup").read_text(), re.MULTILINE)
    folder = root / "sys/fs/cgroup" / (group[1] if group else "")
    for level in (folder, *folder.parents):
        limit = level / "memory.max"
        if limit.is_file() and limit.read_text().strip() != "max":
            used = _number(level / "memory.current") - _number(level / "memory.stat", "inactive_file")
            free.append(_number(limit) - used)
    return min(free)


def _number(file: Path, name: str = "") -> int:
    """The number after `name` at the start of a line."""
    found = re.search(rf"^{name}\s*(\d+)", file.read_text(), re.MULTILINE)
    assert found, f"no {name} in {file}"
    return int(found[1])
