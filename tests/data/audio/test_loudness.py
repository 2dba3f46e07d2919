"""Loudness: as two libraries measure it, piece by piece as at once; gains within full scale, of clips and of crops."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from data import Augmentation, DataError, FolderSource, SpeechDataModule
from data.audio.loudness import LoudnessMeter, gain_to
from data.datasets.levels import CropGains
from data.sources.base import Clip
from tests.support.speech import speech_like, write_speech


def speech(seconds: float, *, level: float = 1.0, rate: int = 16_000) -> torch.Tensor:
    """Speech-like sound with pauses, float32 [1, T]."""
    wave = speech_like(0, seconds, rate=rate) * level
    time = np.arange(len(wave)) / rate
    return torch.from_numpy(np.where(time % 3 < 1.2, 0.001 * wave, wave).astype(np.float32))[None]


def loudness_of(wave: torch.Tensor, rate: int) -> float:
    """In LUFS, by the meter, of a wave float32 [1, T]."""
    meter = LoudnessMeter(rate)
    meter.push(wave)
    return meter.loudness()


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
@pytest.mark.parametrize("level", [1.0, 0.05])
def test_the_meter_agrees_with_torchaudio(rate: int, level: float) -> None:
    wave = speech(7.3, level=level, rate=rate)
    expected = torchaudio.functional.loudness(wave, rate).item()
    assert loudness_of(wave, rate) == pytest.approx(expected, abs=0.02)


def test_the_meter_agrees_with_pyloudnorm() -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    for rate, level in ((16_000, 0.3), (48_000, 1.0)):
        wave = speech(9.0, level=level, rate=rate)
        expected = pyloudnorm.Meter(rate).integrated_loudness(wave[0].double().numpy())
        assert loudness_of(wave, rate) == pytest.approx(expected, abs=0.1)  # its filters are others at 16 kHz


def test_a_sine_of_997_hz_at_full_scale_has_the_loudness_of_the_recommendation() -> None:
    wave = torch.sin(2 * torch.pi * 997 / 48_000 * torch.arange(48_000 * 5))[None]
    assert loudness_of(wave, 48_000) == pytest.approx(-3.01, abs=0.05)  # one channel of ITU-R BS.1770-4


@pytest.mark.parametrize("lengths", [[1] * 700, [16_000] * 6, [100_000, 3, 0, 9_999]])
def test_pieces_have_the_loudness_of_the_whole(lengths: list[int]) -> None:
    wave = speech(7.0)[:, : sum(lengths)]
    meter = LoudnessMeter(16_000)
    for piece in wave.split(lengths, -1):
        meter.push(piece)
    assert meter.loudness() == pytest.approx(loudness_of(wave, 16_000), abs=1e-3)


def test_short_clips_count_as_one_block_and_silence_has_none() -> None:
    wave = torch.sin(2 * torch.pi * 997 / 16_000 * torch.arange(16_000))[None]
    for samples in (16_000, 6_399, 4_000, 1_600, 900):  # 1 s, just below a block, less
        assert loudness_of(wave[:, :samples], 16_000) == pytest.approx(-3.0, abs=0.4)
    for silence in (torch.zeros(1, 0), torch.zeros(1, 1), torch.zeros(1, 20_000), 1e-5 * torch.ones(1, 20_000)):
        assert loudness_of(silence, 16_000) == -math.inf
    assert math.isfinite(loudness_of(torch.full((1, 1), 0.5), 16_000))


def test_the_gain_stays_within_full_scale_and_leaves_silence() -> None:
    assert gain_to(-23.0, loudness=-33.0, peak=0.1) == 10.0
    assert gain_to(-23.0, loudness=-13.0, peak=1.0) == -10.0
    assert gain_to(-23.0, loudness=-40.0, peak=0.5) == pytest.approx(6.02, abs=0.01)
    assert gain_to(-23.0, loudness=-math.inf, peak=0.0) == gain_to(-23.0, loudness=-math.inf, peak=1e-9) == 0.0


def corpus(folder: Path) -> FolderSource:
    """Clips of several levels, one silent, one short, and a longer one whose halves differ by 20 dB."""
    folder.mkdir()
    for name, wave in {
        "quiet": speech(3.0, level=0.02),
        "loud": speech(3.0, level=1.9),
        "short": speech(2.0)[:, 24_000:28_000],
        "silent": torch.zeros(1, 20_000),
        "long": torch.cat((speech(6.0, level=0.1), speech(6.0)), -1),
    }.items():
        soundfile.write(folder / f"{name}.wav", wave[0].numpy(), 16_000)
    return FolderSource(str(folder))


def evaluation(source: FolderSource, stage: str = "test", **options: Any) -> dict[str, dict[str, Any]]:
    module = SpeechDataModule(test=source, predict_from=source, num_workers=0, **options)
    module.setup(stage)
    loader = module.test_dataloader() if stage == "test" else module.predict_dataloader()
    found: dict[str, dict[str, Any]] = {}
    for batch in loader:
        name = batch["id"][0]
        joined = torch.cat([found[name]["audio"], batch["audio"]], -1) if name in found else batch["audio"]
        found[name] = batch | {"audio": joined}
    return found


def test_clips_are_brought_to_the_target_and_carry_their_gain(tmp_path: Path) -> None:
    source = corpus(tmp_path / "c")
    plain, levelled = evaluation(source), evaluation(source, loudness=-23.0, output_sample_rate=24_000)
    assert "gain_db" not in plain["quiet.wav"]
    for name, batch in levelled.items():
        gain = batch["gain_db"]
        assert gain.shape == (1,) and gain.dtype == torch.float32
        expected = plain[name]["audio"] * 10 ** (gain.item() / 20)
        torch.testing.assert_close(batch["audio"], expected, rtol=1e-5, atol=1e-6)
        found = loudness_of(batch["audio"][0], 16_000)
        if name == "silent.wav":
            assert gain == 0
        else:
            assert found == pytest.approx(-23.0, abs=0.05)
            assert loudness_of(batch["target"][0], 24_000) == pytest.approx(-23.0, abs=0.2)
    assert all(batch["audio"].abs().max() <= 1 for batch in levelled.values())
    loudest = evaluation(source, loudness=-3.0)  # what the peaks do not allow
    for name in ("quiet.wav", "long.wav"):
        assert loudest[name]["audio"].abs().max() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("level_db", [0.0, -36.0, -37.5])
def test_quiet_speech_has_the_target_loudness_by_another_meter(tmp_path: Path, level_db: float) -> None:
    """Below -60 LUFS the absolute gate leaves out what it hears once the clip is louder."""
    pyloudnorm = pytest.importorskip("pyloudnorm")
    wave = speech_like(0, 8.0) * np.repeat([1.0, 0.3, 0.1, 0.2], 32_000) * 0.2 * 10 ** (level_db / 20)
    (tmp_path / "c").mkdir()
    soundfile.write(tmp_path / "c/a.wav", wave, 16_000, subtype="FLOAT")
    for seconds in (100.0, 3.0):
        batch = evaluation(FolderSource(str(tmp_path / "c")), "predict", loudness=-24.0, piece_seconds=seconds)["a.wav"]
        audio = batch["audio"][0, 0].double().numpy()
        assert pyloudnorm.Meter(16_000).integrated_loudness(audio) == pytest.approx(-24.0, abs=0.1)
        assert np.abs(audio * 10 ** (-batch["gain_db"].item() / 20) - wave).max() < 1e-6


def test_pieces_of_a_clip_have_one_gain_that_of_the_whole(tmp_path: Path) -> None:
    source = corpus(tmp_path / "c")
    whole = evaluation(source, "predict", loudness=-23.0, piece_seconds=1000.0)
    pieces = evaluation(source, "predict", loudness=-23.0, piece_seconds=5.0)
    assert set(whole) == set(pieces) and "piece" in pieces["long.wav"]
    for name in whole:
        assert pieces[name]["gain_db"].item() == pytest.approx(whole[name]["gain_db"].item(), abs=1e-3)
        torch.testing.assert_close(pieces[name]["audio"], whole[name]["audio"], atol=1e-4, rtol=0)


def test_crops_get_the_gain_of_their_clip_or_of_the_stretch_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.datasets.levels.STRETCH_SECONDS", 6.0)
    corpus(tmp_path / "c")
    (tmp_path / "c/silent.wav").unlink()
    source = FolderSource(str(tmp_path / "c"))
    gains = CropGains(-23.0, rates=(16_000,), highpass_hz=None)
    whole = evaluation(source, loudness=-23.0)
    for name in ("quiet.wav", "loud.wav"):
        clip = Clip(str(tmp_path / "c" / name), name)
        assert gains.gain_db(clip, 1.0, 3.0) == pytest.approx(whole[name]["gain_db"].item(), abs=1e-4)
    long = Clip(str(tmp_path / "c/long.wav"), "long.wav")
    first, second = gains.gain_db(long, 2.0, 12.0), gains.gain_db(long, 7.0, 12.0)
    assert first - second == pytest.approx(20.0, abs=0.1)


def crops(source: FolderSource, **options: Any) -> torch.Tensor:
    module = SpeechDataModule(source, crop_seconds=0.5, batch_size=8, num_workers=0, **options)
    module.setup("fit")
    return torch.cat([batch["audio"] for batch in itertools.islice(module.train_dataloader(), 4)])


def test_training_crops_are_levelled_alike_from_files_and_memory(tmp_path: Path) -> None:
    source = FolderSource(str(write_speech(tmp_path / "c", [2.0, 3.0, 1.5])))
    plain, levelled = crops(source), crops(source, loudness=-30.0)
    ratios = (levelled.square().sum((1, 2)) / plain.square().sum((1, 2))).sqrt()
    torch.testing.assert_close(levelled, plain * ratios[:, None, None], atol=1e-6, rtol=1e-4)
    assert 2 <= len({round(ratio, 3) for ratio in ratios.tolist()}) <= 3  # a gain for each clip, whatever the crop
    assert torch.equal(crops(source, loudness=-30.0, in_memory=True), levelled)
    assert torch.equal(crops(source, loudness=None), plain)
    louder = crops(source, loudness=-30.0, augmentation=Augmentation(gain_db=(6.0, 6.0)))
    torch.testing.assert_close(louder, levelled * 10 ** (6 / 20), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("target", [1.0, -70.0, math.nan])
def test_a_target_out_of_range_is_refused(target: float) -> None:
    with pytest.raises(DataError, match=r"loudness .* must lie between -70 and 0 LUFS"):
        SpeechDataModule(loudness=target)
