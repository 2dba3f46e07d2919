"""How a clip is stored in a shard: copied as it is, or resampled and encoded as FLAC or Opus."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.audio.channels import MEAN, Channel
from data.audio.files import opened
from data.audio.library import import_soundfile
from data.audio.members import open_member
from data.audio.reading import check_readable, probe, read_whole, within_full_scale
from data.audio.resampling import read_resampled
from data.prepare.recipes.filters import Filters
from data.prepare.recipes.ogg import with_fixed_serial
from data.prepare.recipes.segments import piece_name, pieces
from data.shards.writer import Entry, Filtered
from data.sources.base import Clip, refuse_shortened

WRITE_FRAMES = 1 << 16  # libsndfile's Ogg encoders overflow the stack on long blocks


class Encoding(NamedTuple):
    """A format of libsndfile to write clips in, and the extension of its files."""

    format: str
    subtype: str
    extension: str


FLAC = Encoding("FLAC", "PCM_16", ".flac")
FLAC_24 = Encoding("FLAC", "PCM_24", ".flac")
FLOAT = Encoding("WAV", "FLOAT", ".wav")
OPUS = Encoding("OGG", "OPUS", ".opus")
FLAC_CHANNELS, FLAC_RATE = 8, 655_350  # the most that a FLAC file can have
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


class Recipe(NamedTuple):
    """How clips are stored: as mono in `encoding` at `sample_rate` Hz (None keeps the clip's own).

    Without an encoding, files are copied as they are, and segments are cut out without loss.

    Attributes:
        encoding: of the files in the shards.
        sample_rate: in Hz.
        segment_seconds: cut longer recordings into pieces of at most this length; needs an encoding.
        filters: what is left out.
        channel: which of several channels is encoded; files that are copied keep all.
    """

    encoding: Encoding | None = None
    sample_rate: int | None = None
    segment_seconds: float | None = None
    filters: Filters = Filters()
    channel: Channel = MEAN

    @property
    def extension(self) -> str | None:
        """Of the files in the shards; None for that of each clip's own file."""
        return self.encoding and self.encoding.extension

    def description(self) -> dict[str, Any]:
        """The options, for corpus.json; those that are not given are not named."""
        known: dict[str, Any] = {"recipe": [self.encoding, self.sample_rate]}
        if self.segment_seconds is not None:
            known["segment_seconds"] = self.segment_seconds
        if self.filters != Filters():
            known["filters"] = {name: value for name, value in self.filters._asdict().items() if value is not None}
        if self.channel != MEAN:
            known["channel"] = self.channel
        return known

    def entries(self, name: str, clip: Clip) -> Iterator[Entry | Filtered]:
        """What a shard gets of `clip`, under `name`. Raises AudioReadError if it cannot be read to its end."""
        if self.segment_seconds is not None:
            return self._pieces(name, clip, self.segment_seconds)
        return self._whole(name, clip)

    def _whole(self, name: str, clip: Clip) -> Iterator[Entry | Filtered]:
        samples, rate = None, probe(clip.path, clip.segment).rate
        if self.encoding is None:
            seconds = check_readable(clip.path, segment=clip.segment)
        else:
            rate = self.sample_rate or rate
            samples = read_whole(clip.path, (rate,), segment=clip.segment, channel=self.channel)[0][0].numpy()  # [T]
            seconds = len(samples) / rate
        refuse_shortened(clip, seconds)
        refused = self.filters.refuse_clip(name, clip, self.channel)
        if refused:
            yield refused
            return
        if samples is not None and self.encoding is not None:
            data = encoded(samples, rate, self.encoding)
        else:
            data = file_bytes(clip.path) if clip.segment is None else _segment_file(clip)
        yield Entry(name, data, clip.seconds or seconds, rate)  # the seconds that the source states, if it does

    def _pieces(self, name: str, clip: Clip, limit: float) -> Iterator[Entry | Filtered]:
        assert self.encoding is not None, "pieces are encoded"
        with opened(clip.path, clip.segment, channel=self.channel) as file:
            refuse_shortened(clip, file.frames / file.samplerate)
            rate = self.sample_rate or file.samplerate
            for start, frames in pieces(file, limit, rate):
                first, last = start / file.samplerate, (start + frames) / file.samplerate
                piece = name if frames == file.frames else piece_name(name, first, last)
                refused = self.filters.refuse(piece, file, start, frames)
                if refused:
                    yield refused._replace(start=first)
                    continue
                length = max(1, int(last * rate + 1e-6) - int(first * rate + 1e-6))
                waves = within_full_scale(read_resampled(file, start, [length], [rate], None))
                yield Entry(piece, encoded(waves[0][0].numpy(), rate, self.encoding), length / rate, rate)


def file_bytes(path: str) -> bytes:
    """All bytes of a file, or of a clip in a shard."""
    member = open_member(path)
    return Path(path).read_bytes() if member is None else member.read(member.size)


def _segment_file(clip: Clip) -> bytes:
    """A file of the segment's frames with all channels and exactly these samples: FLAC where it can hold them."""
    with opened(clip.path, clip.segment) as file:
        samples, rate = file.read_channels(0, file.frames), file.samplerate  # [T, C]
    for encoding, scale in ((FLAC, 2**15), (FLAC_24, 2**23)):
        steps = samples * scale
        whole = np.array_equal(steps, np.rint(steps)) and -scale <= steps.min() and steps.max() < scale
        if whole and samples.shape[1] <= FLAC_CHANNELS and rate <= FLAC_RATE:
            return encoded(samples, rate, encoding)
    return encoded(samples, rate, FLOAT)


def encoded(samples: np.ndarray, rate: int, encoding: Encoding) -> bytes:
    """A file of `samples`, `[T]` or `[T, C]`."""
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with import_soundfile().SoundFile(
        buffer, "w", samplerate=rate, channels=channels, format=encoding.format, subtype=encoding.subtype
    ) as file:
        for start in range(0, len(samples), WRITE_FRAMES):
            file.write(samples[start : start + WRITE_FRAMES])
    return with_fixed_serial(buffer.getvalue()) if encoding.format == "OGG" else buffer.getvalue()
