"""Reading audio files with soundfile: headers, crops by seeking, and whole clips, at any sample rate."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torchaudio.functional import highpass_biquad
from torchaudio.transforms import Resample

from data.audio.lengths import length_at
from data.audio.library import import_soundfile
from data.audio.members import open_member
from data.errors import AudioReadError

if TYPE_CHECKING:
    import soundfile

HIGHPASS_LEAD_SECONDS = 0.1  # the high-pass filter starts this long before a crop, so that it has settled
STREAMED_WAV_BYTES = 2**31 - 2**16  # a WAV written to a pipe declares about 2 or 4 GiB: not a sign of truncation
UNRECOGNISED_FORMAT = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT


class AudioInfo(NamedTuple):
    """What a file's header says: `frames` per channel, `rate` in Hz, `channels`."""

    frames: int
    rate: int
    channels: int


class Crop(NamedTuple):
    """A region of a file.

    Attributes:
        waves: float32 [1, T], one for each rate that was asked for.
        start: the region's first frame in the file.
        file_seconds: length of the whole file.
    """

    waves: tuple[torch.Tensor, ...]
    start: int
    file_seconds: float


def probe(path: str | Path) -> AudioInfo:
    """Read the header only. Raises AudioReadError unless the file is audio with at least one frame."""
    with opened(path) as file:
        return AudioInfo(file.frames, file.samplerate, file.channels)


def read_crop(
    path: str | Path,
    samples: int,
    *,
    rates: tuple[int, ...],
    position: float,
    highpass_hz: float | None = None,
) -> Crop:
    """Seek to a place in the file and read `samples` samples at `rates[0]`, mixed to mono and resampled.

    `position` in [0, 1) chooses the start, evenly among the frames from which the whole crop fits into the file and
    which are whole samples at each of `rates`; so the waves equal slices of the whole resampled file. A file shorter
    than the crop is read from its start and followed by zeros. Raises AudioReadError.
    """
    with opened(path) as file:
        start = start_frame(file, samples, rates, position)
        lengths = [length_at(rate, samples, rates[0]) for rate in rates]
        waves = read_resampled(file, start, lengths, rates, highpass_hz)
        file_seconds = file.frames / file.samplerate
    return Crop(within_full_scale(waves), start, file_seconds)


def read_whole(
    path: str | Path,
    rates: tuple[int, ...],
    *,
    max_seconds: float | None = None,
    highpass_hz: float | None = None,
) -> tuple[torch.Tensor, ...]:
    """Read a file (to `max_seconds`): one float32 [1, T] wave for each rate. Raises AudioReadError."""
    with opened(path) as file:
        seconds = file.frames / file.samplerate
        if max_seconds is not None:
            seconds = min(seconds, max_seconds)
        lengths = [max(1, math.floor(seconds * rate + 1e-6)) for rate in rates]
        waves = read_resampled(file, 0, lengths, rates, highpass_hz)
    return within_full_scale(waves)


def check_readable(path: str | Path, *, max_seconds: float | None = None) -> float:
    """Decode a file in blocks (to `max_seconds`) and return its length in seconds. Raises AudioReadError."""
    with opened(path) as file:
        frames = file.frames
        if max_seconds is not None:
            frames = min(frames, math.ceil(max_seconds * file.samplerate))
        done = 0
        while done < frames:
            done += len(_read_frames(file, min(frames - done, 1 << 20)))
        return file.frames / file.samplerate


def within_full_scale(waves: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Divide all waves by their common peak where that exceeds 1: resampling and lossy codecs overshoot."""
    peak = max(wave.abs().max().item() for wave in waves)
    return tuple(wave / peak for wave in waves) if peak > 1.0 else waves


@contextmanager
def opened(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """Open a file. Every failure to read it, here or inside the `with` block, becomes an AudioReadError."""
    path, library = str(path), import_soundfile()
    try:
        member = open_member(path)
        if member is None:
            _refuse_unopenable(path)
        with library.SoundFile(member or os.fsencode(path)) as file:  # names need not be UTF-8
            if file.frames <= 0:
                raise AudioReadError(path, "empty: a header without any samples")
            _refuse_cut_wav(path, file)
            yield file
    except library.LibsndfileError as error:
        if error.code == UNRECOGNISED_FORMAT:
            reason = "not audio: no format that soundfile reads"
        else:
            reason = f"truncated or damaged: {error.error_string.strip()}"
        raise AudioReadError(path, reason) from error
    except OSError as error:  # `filename` is the shard where the shard cannot be read
        raise AudioReadError(error.filename or path, f"unreadable: {error.strerror or error}") from error
    except RuntimeError as error:
        raise AudioReadError(path, f"unreadable: {error}") from error


def _refuse_unopenable(path: str) -> None:
    if not os.path.isfile(path):
        raise AudioReadError(path, "is a folder" if os.path.isdir(path) else "does not exist or cannot be reached")
    if os.path.getsize(path) == 0:
        raise AudioReadError(path, "empty: the file has 0 bytes")
    if not os.access(path, os.R_OK):
        raise AudioReadError(path, "unreadable: permission denied")


def _refuse_cut_wav(path: str, file: soundfile.SoundFile) -> None:
    """Raise AudioReadError for a WAV file that holds fewer bytes than its header declares.

    libsndfile opens it without an error, but notes the declared and the present size in its log.
    """
    found = re.search(r"data\s*: (\d+) \(should be (\d+)\)", file.extra_info)
    if found:
        declared, present = int(found[1]), int(found[2])
        if present < declared < STREAMED_WAV_BYTES:
            raise AudioReadError(path, f"truncated: {present} of {declared} bytes of sound are there")


def start_frame(file: soundfile.SoundFile, samples: int, rates: tuple[int, ...], position: float) -> int:
    """The first frame of the crop at `position`: a multiple of rate / gcd(rate, `rates`), so whole at each rate."""
    step = file.samplerate // math.gcd(file.samplerate, *rates)
    room = file.frames - math.ceil(samples * file.samplerate / rates[0])
    return 0 if room <= 0 else int(position * (room // step + 1)) * step


def _read_frames(file: soundfile.SoundFile, frames: int) -> np.ndarray:
    """The next `frames` frames, mono float32 [T]. Raises AudioReadError when some are missing or not finite."""
    block = file.read(frames, dtype="float32", always_2d=True)
    if len(block) < frames:
        raise AudioReadError(file.name, f"truncated: the sound ends {frames - len(block)} frames too early")
    mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    if not np.isfinite(mono).all():
        raise AudioReadError(file.name, "holds NaN or infinite samples")
    return mono


def read_resampled(
    file: soundfile.SoundFile,
    start: int,
    lengths: Sequence[int],
    rates: Sequence[int],
    highpass_hz: float | None,
) -> tuple[torch.Tensor, ...]:
    """Read mono waves [1, length], one for each rate, from frame `start` on; zeros follow the end of the file.

    `start` has to be a whole sample at each rate.
    """
    # The filters start `lead` frames before the crop, so that it equals a slice of the whole filtered file. `lead` is
    # a common multiple of the resamplers' steps: a whole number of samples at every rate.
    steps = [file.samplerate // math.gcd(file.samplerate, rate) for rate in rates]
    margin = max(_filter_width(file.samplerate, rate) for rate in rates)
    settle = round(HIGHPASS_LEAD_SECONDS * file.samplerate) if highpass_hz else 0
    step = math.lcm(*steps)
    lead = math.ceil((margin + settle) / step) * step
    needed = max(math.ceil(length * file.samplerate / rate) for length, rate in zip(lengths, rates, strict=True))
    stop, first = start + needed + margin, max(0, start - lead)
    file.seek(first)
    wave = torch.from_numpy(_read_frames(file, max(0, min(stop, file.frames) - first)))[None]  # [1, T]
    if highpass_hz:
        wave = _highpass(wave, file.samplerate, highpass_hz)
    wave = torch.nn.functional.pad(wave, (first - (start - lead), max(0, stop - file.frames)))
    waves = []
    for length, rate in zip(lengths, rates, strict=True):
        resampled = wave if rate == file.samplerate else _resampler(file.samplerate, rate)(wave)
        offset = lead * rate // file.samplerate
        waves.append(resampled[:, offset : offset + length].contiguous())
    return tuple(waves)


def _filter_width(old: int, new: int) -> int:
    """How many frames before and after it a resampled sample depends on."""
    return 0 if old == new else _resampler(old, new).width + old // math.gcd(old, new)


def _highpass(wave: torch.Tensor, rate: int, cutoff_hz: float) -> torch.Tensor:
    wave = wave - wave.mean()  # an offset would ring at the start
    scale = 4.0 * max(1.0, wave.abs().max().item())  # torchaudio's filter clamps to [-1, 1]
    return highpass_biquad(wave / scale, rate, cutoff_hz) * scale


@lru_cache(maxsize=64)
def _resampler(old: int, new: int) -> Resample:
    """A windowed-sinc resampler as steep as resampy's "kaiser_best" (the values are torchaudio's)."""
    return Resample(
        old,
        new,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )
