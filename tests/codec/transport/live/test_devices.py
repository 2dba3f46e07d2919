"""Files at the pace of speech, and microphone and loudspeaker through a stand-in for sounddevice."""

import sys
import threading
import time
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import soundfile
import torch

from codec import InvalidValue, MissingDependency
from codec.transport.live.devices import FileSource, Loudspeaker, Microphone


def test_a_file_is_given_at_its_pace_and_rate(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.ones(22_050, np.float32) / 2, 44_100)
    source = FileSource(tmp_path / "a.wav", 16_000)
    began = time.monotonic()
    pieces = [(time.monotonic() - began, piece) for piece in source.pieces(320, threading.Event())]
    assert torch.cat([piece for _, piece in pieces], -1).shape == (1, 1, 8_000)
    assert {piece.shape[-1] for _, piece in pieces} == {320}
    for n, (at, _) in enumerate(pieces, 1):
        assert at >= n * 0.02 - 1e-3
    assert pieces[-1][0] < 5


def test_a_file_stops(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000 * 60), 16_000)
    stop = threading.Event()
    pieces = FileSource(tmp_path / "a.wav", 16_000).pieces(1600, stop)
    next(pieces)
    stop.set()
    assert list(pieces) == []


class FakeStream:
    opened: ClassVar[list[dict]] = []

    def __init__(self, **options) -> None:
        if options["samplerate"] == 12_345:
            raise sys.modules["sounddevice"].PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        self.opened.append(options)
        self.written, self.running = [], False

    def start(self) -> None:
        self.running = True

    def close(self) -> None:
        self.running = False

    def __enter__(self):
        self.running = True
        return self

    def __exit__(self, *_) -> None:
        self.running = False

    def read(self, size: int):
        return np.full((size, 1), 0.25, np.float32), False

    def write(self, samples) -> None:
        assert samples.dtype == np.float32 and samples.ndim == 2 and self.running
        self.written.append(samples)


@pytest.fixture
def sounddevice(monkeypatch):
    fake = ModuleType("sounddevice")
    fake.InputStream = fake.OutputStream = FakeStream
    fake.PortAudioError = type("PortAudioError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(FakeStream, "opened", [])


def test_microphone_and_loudspeaker(sounddevice):
    stop = threading.Event()
    pieces = Microphone(16_000).pieces(320, stop)
    piece = next(pieces)
    assert piece.shape == (1, 1, 320) and piece.dtype == torch.float32 and bool((piece == 0.25).all())
    stop.set()
    assert list(pieces) == []
    speaker = Loudspeaker(24_000)
    assert speaker.paces
    speaker.write(torch.tensor([0.5, -3.0]))
    assert speaker._stream.written[0][:, 0].tolist() == [0.5, -1.0]
    speaker.close()
    assert [options["samplerate"] for options in FakeStream.opened] == [16_000, 24_000]
    assert {options["channels"] for options in FakeStream.opened} == {1}


def test_a_rate_that_the_device_does_not_have(sounddevice):
    with pytest.raises(InvalidValue, match="12345 Hz"):
        Microphone(12_345)


def test_a_missing_package_and_a_missing_library_are_told_apart(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingDependency, match=r"\[live\]"):
        Loudspeaker(16_000)
    monkeypatch.delitem(sys.modules, "sounddevice")

    class NoLibrary:
        def find_spec(self, name, *_):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.setattr(sys, "meta_path", [NoLibrary(), *sys.meta_path])
    with pytest.raises(MissingDependency, match="libportaudio2"):
        Microphone(16_000)
