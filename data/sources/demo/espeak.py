"""Speech synthesis with espeak-ng from the `espeakng-loader` wheel, in a process of its own for each voice.

espeak-ng keeps hidden state from one sentence to the next; only a new process speaks a list of sentences the same way
every time. So this file is also the program that such a process runs, with jobs as JSON on its standard input. It
imports nothing of this project.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import wave
from typing import NamedTuple

RETRIEVAL, DONT_EXIT, UTF8 = 2, 0x8000, 1  # constants of speak_lib.h
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
LONGEST_DATA_PATH = 140  # espeak-ng keeps its data path in 160 bytes


class Utterance(NamedTuple):
    """One sentence: the WAV file to write, text, words per minute, pitch and pitch range in 0..100."""

    path: str
    text: str
    rate: int
    pitch: int
    range: int


def speak(voice: str, utterances: list[Utterance]) -> None:
    """Say all `utterances` with one voice ("language+variant") into WAV files. Raises RuntimeError."""
    done = subprocess.run(
        [sys.executable, os.path.abspath(__file__)],
        input=json.dumps([voice, utterances]),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"espeak-ng cannot speak with the voice {voice}: {done.stderr.strip()[-500:]}")


class Espeak:
    """The library, initialised, with one voice chosen. One object a process."""

    def __init__(self, voice: str) -> None:
        import espeakng_loader

        self._samples = bytearray()
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        with tempfile.TemporaryDirectory() as short:
            data = espeakng_loader.get_data_path()
            if len(os.fsencode(data)) > LONGEST_DATA_PATH:
                os.symlink(data, link := os.path.join(short, "espeak-ng-data"))
                data = link
            library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
            self.sample_rate = int(library.espeak_Initialize(RETRIEVAL, 0, os.fsencode(data), DONT_EXIT))
            if self.sample_rate <= 0:
                raise RuntimeError(f"espeak-ng does not start with its data in {data}")
            if library.espeak_SetVoiceByName(voice.encode()):
                raise RuntimeError(f"espeak-ng has no voice {voice}")
        library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
            *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
        ]
        callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self._callback = callback_type(self._collect)  # kept: the library calls it later
        library.espeak_SetSynthCallback(self._callback)
        self._library = library

    def _collect(self, samples: int | None, count: int, events: int | None) -> int:
        if samples and count > 0:
            self._samples += ctypes.string_at(samples, 2 * count)
        return 0

    def say(self, utterance: Utterance) -> bytes:
        """The 16-bit mono samples of one sentence."""
        settings = {RATE: utterance.rate, VOLUME: 60, PITCH: utterance.pitch, RANGE: utterance.range}
        for parameter, value in settings.items():
            self._library.espeak_SetParameter(parameter, value, 0)
        self._samples.clear()
        text = utterance.text.encode() + b"\0"
        if self._library.espeak_Synth(text, len(text), 0, 0, 0, UTF8, None, None):
            raise RuntimeError(f"espeak-ng cannot say {utterance.text!r}")
        self._library.espeak_Synchronize()
        return bytes(self._samples)


def _main() -> None:
    voice, utterances = json.load(sys.stdin)
    espeak = Espeak(voice)
    for utterance in map(Utterance._make, utterances):
        samples = espeak.say(utterance)
        with wave.open(utterance.path, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(espeak.sample_rate)
            file.writeframes(samples)


if __name__ == "__main__":
    _main()
