"""Odd audio files: every container and subtype, five ways of damage, rates, channels, extreme samples."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from tests.support.speech import speech_like

RATES = (
    7_999,
    8_000,
    11_025,
    11_127,
    16_001,
    22_050,
    22_255,
    37_800,
    44_056,
    44_101,
    48_048,
    96_000,
    96_001,
    192_000,
    192_001,
)
CHANNELS = (1, 2, 3, 6, 8, 17, 64)
DAMAGED = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF")
FFMPEG = {"m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "mp4": ("mp4", "aac"), "webm": ("webm", "libopus"),
          "wma": ("asf", "wmav2"), "mka": ("matroska", "flac"), "mp2": ("mp2", "mp2")}  # fmt: skip
SECONDS = 1.0


def write_odd_files(folder: Path) -> dict[str, bool | None]:
    """Write the files; returns whether each has to be usable, by name: None where either will do."""
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, bool | None] = {}
    for maker in (_formats, _rates, _channels, _samples, _damaged, _foreign):
        for name, data, usable in maker():
            (folder / name).write_bytes(data)
            expected[name] = usable
    return expected


def _encoded(format: str, subtype: str | None, samples: np.ndarray, rate: int) -> bytes:
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(buffer, "w", rate, channels, subtype, format=format) as file:
        file.write(samples)
    return buffer.getvalue()


def _formats() -> Iterator[tuple[str, bytes, bool | None]]:
    speech = speech_like(0, SECONDS)
    for format in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(format):
            if format in ("RAW", "SD2") or not soundfile.check_format(format, subtype):  # without a header of their own
                continue
            for rate in (16000, 44100):  # MPEG layer III in WAV has fewer rates
                try:
                    yield f"{format}-{subtype}.wav", _encoded(format, subtype, speech, rate), True
                except soundfile.LibsndfileError:
                    continue  # libsndfile lists what it cannot write
                break


def _rates() -> Iterator[tuple[str, bytes, bool | None]]:
    for rate in RATES:
        yield f"rate-{rate}.wav", _encoded("WAV", "PCM_16", speech_like(1, SECONDS, rate=rate), rate), True


def _channels() -> Iterator[tuple[str, bytes, bool | None]]:
    for channels in CHANNELS:
        samples = speech_like(2, SECONDS)[:, None] * np.linspace(1, 0.1, channels)
        yield f"channels-{channels}.wav", _encoded("WAV", "PCM_16", samples, 16000), True


def _samples() -> Iterator[tuple[str, bytes, bool | None]]:
    speech = speech_like(3, SECONDS)
    kinds = {
        "huge": (1e30 * speech, None),
        "tiny": (1e-30 * speech, True),
        "silent": (0 * speech, True),
        "offset": (0.2 * speech + 0.7, True),
        "square": (np.sign(speech), True),
        "nan": (np.where(np.arange(len(speech)) == 99, np.nan, speech), False),
        "infinite": (np.where(np.arange(len(speech)) == 99, np.inf, speech), False),
        "one": (speech[:1], True),
        "few": (speech[:7], True),
        "none": (speech[:0], False),
    }
    for name, (samples, usable) in kinds.items():
        yield f"samples-{name}.wav", _encoded("WAV", "FLOAT", samples.astype(np.float32), 16000), usable
    yield "samples-none.flac", _encoded("FLAC", "PCM_16", speech[:0], 16000), False
    yield "samples-one.ogg", _encoded("OGG", "VORBIS", speech[:1], 16000), None


def _damaged() -> Iterator[tuple[str, bytes, bool | None]]:
    generator = np.random.default_rng(0)
    for format in DAMAGED:
        data = bytearray(_encoded(format, None, speech_like(4, SECONDS), 16000))
        suffix, half = format.lower(), len(data) // 2
        yield f"damage-cut.{suffix}", bytes(data[:half]), None if format == "OGG" else False
        yield f"damage-headless.{suffix}", bytes(data[60:]), None
        yield f"damage-zeros.{suffix}", bytes(data[:half]) + bytes(half), None
        noise = bytes(data[:half]) + generator.bytes(200) + bytes(data[half + 200 :])
        yield f"damage-noise.{suffix}", noise, None
        yield f"damage-junk-before.{suffix}", b"junk" * 20 + bytes(data), None
    yield "damage-empty.wav", b"", False
    yield "damage-text.wav", b"this is a letter, not a recording\n" * 50, False
    yield "damage-picture.wav", b"\x89PNG\r\n\x1a\n" + generator.bytes(2000), False


def _foreign() -> Iterator[tuple[str, bytes, bool | None]]:
    """What only FFmpeg reads; nothing where PyAV is not installed."""
    try:
        import av
    except ImportError:
        return
    speech = (speech_like(5, SECONDS, rate=44100)[None] * 2**15).astype(np.int16)
    for suffix, (container, codec) in FFMPEG.items():
        buffer = io.BytesIO()
        rate = 48000 if codec == "libopus" else 44100
        with av.open(buffer, "w", format=container) as file:
            stream = file.add_stream(codec, rate=rate, layout="mono")
            stream.bit_rate = 64_000
            frame = av.AudioFrame.from_ndarray(speech, format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, 0
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                file.mux(packet)
        yield f"ffmpeg.{suffix}", buffer.getvalue(), True
        yield f"ffmpeg-cut.{suffix}", buffer.getvalue()[: len(buffer.getvalue()) // 2], None
