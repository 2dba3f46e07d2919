"""Reads the audio files of a tested run, and writes them as data for a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np

from codec.errors import UnreadableFile

# MP3's best quality at a variable rate: about 65 kbit/s for speech at 16 kHz, its own errors 25 dB below the signal.
MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.0}


def read_audio(file: Path) -> tuple[np.ndarray, int]:
    """The signal [T, channels] in float32 and its rate in Hz; UnreadableFile where the file is damaged or empty."""
    import soundfile

    try:
        signal, rate = soundfile.read(file, dtype="float32", always_2d=True)  # [T, channels]
    except soundfile.SoundFileError as error:
        raise UnreadableFile(str(file), allowed=f"is damaged ({error})", remedy="test the run again") from error
    if not len(signal):
        raise UnreadableFile(str(file), allowed="holds no samples", remedy="test the run again")
    return signal, rate


def mp3_uri(file: Path) -> str:
    """An audio file as an MP3 in a data URI; UnreadableFile where it is damaged or empty, or MP3 lacks its format."""
    import soundfile

    signal, rate = read_audio(file)
    compressed = io.BytesIO()
    try:
        soundfile.write(compressed, signal, rate, **MP3)
    except soundfile.SoundFileError as error:
        raise UnreadableFile(
            str(file),
            allowed=f"has {signal.shape[1]} channels at {rate} Hz, and the page's MP3 takes one or two at 8000, 11025, "
            "12000, 16000, 22050, 24000, 32000, 44100 or 48000 Hz",
            remedy="test the run at one of these rates",
        ) from error
    return f"data:audio/mpeg;base64,{base64.b64encode(compressed.getvalue()).decode()}"
