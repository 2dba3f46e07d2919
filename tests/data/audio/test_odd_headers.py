"""Files whose header and bytes disagree, or that cannot seek, are read to their end; cut files are refused."""

import io
import logging
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data.audio.notices import NOTICES
from data.audio.reading import check_readable, probe, read_crop, read_whole
from data.errors import AudioReadError

RATE, FRAMES = 16000, 40000


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NOTICES, "_said", {})


def encoded(format: str, subtype: str, frames: int = FRAMES, *, seed: int = 0, **options: float) -> bytes:
    """A mono file of low-pass noise."""
    samples = np.cumsum(0.1 * np.random.default_rng(seed).standard_normal(frames))
    samples -= np.convolve(samples, np.ones(200) / 200, "same")
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", RATE, 1, subtype, format=format, **options) as file:
        file.write(0.5 * samples / np.abs(samples).max())
    return buffer.getvalue()


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    content = bytearray(data)
    struct.pack_into(form, content, at, *values)
    return bytes(content)


def sizes(format: str) -> tuple[bytes, int, str, int]:
    """A file, the place and form of the size of its sound, and what is counted beside the sound."""
    data = encoded(format, "PCM_16")
    return data, *{
        "WAV": (data.find(b"data") + 4, "<I", 0),
        "WAVEX": (data.find(b"data") + 4, "<I", 0),
        "RF64": (data.find(b"ds64") + 16, "<q", 0),
        "W64": (data.find(b"data") + 16, "<q", 24),
        "AIFF": (data.find(b"SSND") + 4, ">I", 8),
        "CAF": (data.find(b"data") + 4, ">q", 4),
        "AU": (8, ">I", 0),
    }[format]


def without_information(data: bytes) -> bytes:
    """An MP3 file without its first frame, which states the number of frames."""
    start = next(at for at in range(100, len(data)) if data[at : at + 2] == data[:2])
    assert b"Xing" in data[:start] or b"Info" in data[:start]
    return data[start:]


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU"])
@pytest.mark.parametrize("stated", [0, 20000, -1])
def test_sound_beyond_the_stated_size_is_read(
    tmp_path: Path, format: str, stated: int, caplog: pytest.LogCaptureFixture
) -> None:
    data, at, form, addition = sizes(format)
    (tmp_path / "right").write_bytes(data)
    size = stated + addition if stated >= 0 else 2 ** (32 if form[1] == "I" else 64) - 1
    odd = tmp_path / "odd"
    odd.write_bytes(patched(data, at, form.upper(), size))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert check_readable(odd) == FRAMES / RATE
    assert torch.equal(read_whole(odd, (RATE,))[0], read_whole(tmp_path / "right", (RATE,))[0])
    assert read_crop(odd, 1000, rates=(RATE,), position=0.99).start > 38000
    assert caplog.text.count(str(odd)) == (0 if stated < 0 else 1)


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "MP3"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_cut_files_are_refused(tmp_path: Path, format: str, share: float) -> None:
    data = encoded(format, {"MP3": "MPEG_LAYER_III"}.get(format, "PCM_16"))
    (tmp_path / "cut").write_bytes(data[: int(share * len(data))])
    with pytest.raises(AudioReadError):
        check_readable(tmp_path / "cut")


@pytest.mark.parametrize("format", ["WAV", "AIFF", "W64", "CAF", "AU"])
@pytest.mark.parametrize("after", ["chunk", "filling", "tag", "byte"])
def test_what_follows_the_sound_is_not_sound(
    tmp_path: Path, format: str, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, _, form, _ = sizes(format)
    extra = {"filling": bytes(700), "tag": b"TAG" + b"x" * 125, "byte": b"\1"}.get(after, b"")
    if after == "chunk" and format != "AU":
        id = b"LIST" if format != "W64" else b"LIST" + bytes(12)
        header = len(id) + struct.calcsize(form)
        extra = id + struct.pack(form, 2000 + (header if format == "W64" else 0)) + 2000 * b"i"
        extra += bytes(-len(data + extra) % (8 if format == "W64" else 2))
    (tmp_path / "extra").write_bytes(data + extra)
    assert check_readable(tmp_path / "extra") == FRAMES / RATE and not caplog.records


def test_flac_without_a_length(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = encoded("FLAC", "PCM_16")
    (tmp_path / "a.flac").write_bytes(data)
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36  # the last 36 bits are the number of frames
    (tmp_path / "b.flac").write_bytes(data[:18] + packed.to_bytes(8, "big") + data[26:])
    assert probe(tmp_path / "b.flac") == probe(tmp_path / "a.flac") and str(tmp_path / "b.flac") in caplog.text
    crops = [read_crop(tmp_path / name, 8000, rates=(RATE,), position=0.7) for name in ("a.flac", "b.flac")]
    assert crops[0].start == crops[1].start and torch.equal(crops[0].waves[0], crops[1].waves[0])


@pytest.mark.parametrize("tag", [b"", b"TAG" + bytes(125), b"ID3\4\0\0\0\0\1\0" + 128 * b"i"])
def test_mp3_without_a_number_of_frames(tmp_path: Path, tag: bytes) -> None:
    data = encoded("MP3", "MPEG_LAYER_III", 5 * FRAMES, bitrate_mode="VARIABLE")
    (tmp_path / "a.mp3").write_bytes(data)
    (tmp_path / "b.mp3").write_bytes(without_information(data) + tag)
    assert check_readable(tmp_path / "b.mp3") == pytest.approx(5 * FRAMES / RATE, abs=0.15)
    whole, wave = (read_whole(tmp_path / name, (RATE,))[0][0].numpy() for name in ("a.mp3", "b.mp3"))
    shift = np.correlate(wave[:9000], whole[1000:5000], "valid").argmax() - 1000
    assert 0 <= shift < 3000
    count = min(len(wave) - shift, len(whole)) - 2000
    np.testing.assert_allclose(wave[shift + 2000 :][: count - 2000], whole[2000:count], atol=1e-3)
    crop = read_crop(tmp_path / "b.mp3", 8000, rates=(RATE,), position=0.8)
    np.testing.assert_allclose(crop.waves[0][0], wave[crop.start : crop.start + 8000], atol=1e-2)


def test_joined_mp3_is_read_to_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [encoded("MP3", "MPEG_LAYER_III", FRAMES, seed=seed) for seed in range(3)]
    tag = b"ID3\4\0\0\0\0\1\0" + 128 * b"i"
    (tmp_path / "joined.mp3").write_bytes(tag + parts[0] + tag + parts[1] + parts[2])
    assert check_readable(tmp_path / "joined.mp3") == pytest.approx(3 * FRAMES / RATE, abs=0.4)
    assert caplog.text.count("joined.mp3") == 1
    other = io.BytesIO()
    soundfile.write(other, np.zeros(30000), 32000, format="MP3")
    (tmp_path / "mixed.mp3").write_bytes(parts[0] + other.getvalue())
    with pytest.raises(AudioReadError, match="several sample rates"):
        check_readable(tmp_path / "mixed.mp3")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("seeds", [(0, 0), (0, 1, 2)])
def test_joined_ogg_is_its_parts_one_after_the_other(tmp_path: Path, subtype: str, seeds: tuple[int, ...]) -> None:
    parts = [encoded("OGG", subtype, FRAMES + 100 * seed, seed=seed) for seed in seeds]
    waves = []
    for number, part in enumerate(parts):
        (tmp_path / f"{number}.ogg").write_bytes(part)
        waves.append(read_whole(tmp_path / f"{number}.ogg", (RATE,))[0])
    (tmp_path / "joined.ogg").write_bytes(b"".join(parts))
    whole = read_whole(tmp_path / "joined.ogg", (RATE,))[0]
    assert torch.equal(whole, torch.cat(waves, dim=1))
    for position in (0.2, 0.49, 0.9):
        crop = read_crop(tmp_path / "joined.ogg", 8000, rates=(RATE,), position=position)
        torch.testing.assert_close(crop.waves[0], whole[:, crop.start : crop.start + 8000], atol=1e-2, rtol=0)


@pytest.mark.parametrize("frames", [5000, 25000, 40000, 77777, 160100])
def test_every_place_of_a_vorbis_file_is_found(tmp_path: Path, frames: int) -> None:
    (tmp_path / "a.ogg").write_bytes(encoded("OGG", "VORBIS", frames))
    whole = read_whole(tmp_path / "a.ogg", (RATE,))[0]
    for number in range(30):
        crop = read_crop(tmp_path / "a.ogg", 100, rates=(RATE,), position=(number + 1) / 31)
        assert torch.equal(crop.waves[0], whole[:, crop.start : crop.start + 100])


def test_joined_ogg_of_several_kinds_is_refused(tmp_path: Path) -> None:
    other = io.BytesIO()
    soundfile.write(other, np.zeros((30000, 2)), 24000, format="OGG")
    (tmp_path / "joined.ogg").write_bytes(encoded("OGG", "VORBIS") + other.getvalue())
    with pytest.raises(AudioReadError, match=r"several kinds \(16000 Hz with 1, 24000 Hz with 2 channels\)"):
        check_readable(tmp_path / "joined.ogg")


UNSEEKABLE = [
    ("WAV", "GSM610"), ("WAV", "G721_32"), ("WAV", "NMS_ADPCM_16"), ("AIFF", "GSM610"), ("AIFF", "DWVW_16"),
    ("AIFF", "DWVW_24"), ("W64", "GSM610"), ("AU", "G723_24"), ("AU", "G723_40"), ("XI", "DPCM_16"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "subtype"), UNSEEKABLE)
def test_what_cannot_seek_is_decoded_up_to_the_place(
    tmp_path: Path, format: str, subtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.audio.streams.BLOCK_FRAMES", 3000)
    (tmp_path / "a").write_bytes(encoded(format, subtype, 5 * FRAMES))
    whole = read_whole(tmp_path / "a", (probe(tmp_path / "a").rate,))[0]
    assert whole.std() > 0.05 and check_readable(tmp_path / "a") >= 5 * FRAMES / probe(tmp_path / "a").rate
    for position in (0.0, 0.3, 0.8):
        crop = read_crop(tmp_path / "a", 8000, rates=(probe(tmp_path / "a").rate,), position=position)
        assert torch.equal(crop.waves[0], whole[:, crop.start : crop.start + 8000])


@pytest.mark.parametrize("rate", [1, 999, 2_000_000_000])
def test_rates_that_are_no_sound_are_refused(tmp_path: Path, rate: int) -> None:
    data = encoded("WAV", "PCM_16")
    (tmp_path / "a.wav").write_bytes(patched(data, data.index(b"fmt ") + 12, "<I", rate))
    with pytest.raises(AudioReadError, match=f"sample rate of {rate} Hz"):
        check_readable(tmp_path / "a.wav")


def test_many_odd_files_are_not_all_named(write: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    for number in range(60):
        NOTICES.say("test", f"{number}.wav", "odd")
    assert 15 < len(caplog.records) < 25 and "further ones are not named" in caplog.text


@pytest.mark.parametrize("parts", [1, 3])
def test_the_frames_of_mpeg_layer_ii_are_counted(tmp_path: Path, parts: int, caplog: pytest.LogCaptureFixture) -> None:
    """No header states their number, and libsndfile's estimate is too high."""
    av, rate, buffer = pytest.importorskip("av"), 32000, io.BytesIO()
    with av.open(buffer, "w", format="mp2") as file:
        stream = file.add_stream("mp2", rate=rate, layout="mono")
        stream.bit_rate = 64_000
        noise = np.random.default_rng(0).integers(-9000, 9000, (1, 26 * 1152 - 481), dtype=np.int16)
        block = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        block.sample_rate, block.pts = rate, 0
        for packet in [*stream.encode(block), *stream.encode(None)]:
            file.mux(packet)
    (tmp_path / "a.mp2").write_bytes(parts * buffer.getvalue())
    assert check_readable(tmp_path / "a.mp2") == parts * 26 * 1152 / rate
    whole = read_whole(tmp_path / "a.mp2", (rate,))[0]
    crop = read_crop(tmp_path / "a.mp2", 8000, rates=(rate,), position=0.8)
    assert torch.equal(crop.waves[0], whole[:, crop.start : crop.start + 8000]) and not caplog.records


@pytest.mark.parametrize("damage", ["cut", "more", "tag"])
def test_the_length_in_a_sphere_header_counts(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    data = encoded("NIST", "PCM_16")
    changed = {"cut": data[:-1000], "more": data + 3000 * b"\1\2", "tag": data + bytes(100)}[damage]
    (tmp_path / "a.sph").write_bytes(changed)
    if damage == "cut":
        with pytest.raises(AudioReadError, match="truncated: 79000 of 80000 bytes"):
            check_readable(tmp_path / "a.sph")
    else:
        frames = FRAMES + (3000 if damage == "more" else 0)
        assert check_readable(tmp_path / "a.sph") == frames / RATE
        assert caplog.text.count("header states 80000 bytes") == (1 if damage == "more" else 0)


@pytest.mark.parametrize(("first", "last"), [(0.5, 0.6), (0.9, 1.0)])
def test_missing_pages_of_an_ogg_file_are_refused_or_named(
    tmp_path: Path, first: float, last: float, caplog: pytest.LogCaptureFixture
) -> None:
    data = encoded("OGG", "VORBIS", 10 * FRAMES)
    (tmp_path / "a.ogg").write_bytes(data[: int(first * len(data))] + data[int(last * len(data)) :])
    try:
        assert 0 < check_readable(tmp_path / "a.ogg") < 10 * FRAMES / RATE
        assert caplog.text.count("a.ogg") == 1 and "is missing" in caplog.text
    except AudioReadError as error:
        assert "truncated" in str(error)


def test_flac_in_ogg_that_libsndfile_does_not_read(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    noise = np.random.default_rng(0).integers(-9000, 9000, (1, 44100), dtype=np.int16)
    with av.open(str(tmp_path / "a.oga"), "w", format="ogg") as file:
        stream = file.add_stream("flac", rate=44100, layout="mono")
        for start in range(0, 44100, 4410):
            block = av.AudioFrame.from_ndarray(noise[:, start : start + 4410], format="s16", layout="mono")
            block.sample_rate, block.pts = 44100, start
            file.mux(stream.encode(block))
        file.mux(stream.encode(None))
    whole = read_whole(tmp_path / "a.oga", (44100,))[0]
    assert np.array_equal(np.round(whole.numpy() * 2**15), noise)


def test_what_is_no_mpeg_is_refused_in_words_that_are_true(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"\xff\xfb" + bytes(9000))
    (tmp_path / "b.mp3").write_bytes(bytes(9000))
    for name in ("a.mp3", "b.mp3"):
        with pytest.raises(AudioReadError) as caught:
            check_readable(tmp_path / name)
        assert "pipe" not in str(caught.value)


def test_a_header_that_prevents_seeking_alone_loses_nothing(tmp_path: Path) -> None:
    data = encoded("FLAC", "PCM_16")
    (tmp_path / "a.flac").write_bytes(data)
    (tmp_path / "b.flac").write_bytes(data[:8] + bytes(range(100, 108)) + data[16:])  # sizes of blocks and frames
    for name in ("a.flac", "b.flac"):
        assert check_readable(tmp_path / name) == FRAMES / RATE
    crops = [read_crop(tmp_path / name, 8000, rates=(RATE,), position=0.7) for name in ("a.flac", "b.flac")]
    assert crops[0].start == crops[1].start and torch.equal(crops[0].waves[0], crops[1].waves[0])
