"""Predictions become audio and codes in mirrored folders, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from codec_fakes import CountingModule, clip, loader, speech_like, trainer

from callbacks.prediction_writer import PredictionWriter


def predict(folder: Path, module: CountingModule, names: list[str]) -> None:
    clips = [clip(name, speech_like(number, 0.3)) for number, name in enumerate(names)]
    runner = trainer(folder, [PredictionWriter(folder / "out")])
    runner.predict(module, loader(clips), return_predictions=False)


def test_files_mirror_the_folders_and_hold_audio_and_codes(tmp_path: Path, module: CountingModule) -> None:
    predict(tmp_path, module, ["p1/a.flac", "p1/v1.2_take", "b.WAV"])
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert found == {f"{name}{end}" for name in ("p1/a", "p1/v1.2_take", "b") for end in (".wav", ".codes.npz")}
    audio, rate = soundfile.read(tmp_path / "out/p1/a.wav")
    assert rate == 16_000 and audio.shape == (4800,)
    archive = np.load(tmp_path / "out/p1/a.codes.npz")
    assert archive["codes"].dtype == np.uint8 and archive["codes"].shape == (1, 15)
    expected = module.codec.encode(torch.from_numpy(speech_like(0, 0.3))[None, None])
    assert np.array_equal(archive["codes"], expected[0].numpy())
    decoded = module.codec.decode(torch.from_numpy(archive["codes"].astype(np.int64))[None], length=4800)
    assert np.abs(audio - decoded[0, 0].detach().clamp(-1, 1).numpy()).max() < 2**-14
    assert (int(archive["sample_rate"]), int(archive["hop_length"]), int(archive["length"])) == (16_000, 320, 4800)
    assert archive["codebook_sizes"].tolist() == [256]


def test_two_files_of_one_name_keep_their_extensions_apart(tmp_path: Path, module: CountingModule) -> None:
    predict(tmp_path, module, ["a.wav", "a.flac"])
    assert (tmp_path / "out/a.wav").exists() and (tmp_path / "out/a.flac.wav").exists()
    with pytest.raises(ValueError, match="predicted twice"):
        predict(tmp_path, module, ["a.wav", "a.wav", "a.wav"])


@pytest.mark.parametrize("name", ["../a.wav", "x/../../a.wav", "x/../a.wav", "/tmp/a.wav", "", "link/a.wav"])
def test_an_id_cannot_leave_the_folder(tmp_path: Path, module: CountingModule, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="clip id"):
        predict(tmp_path, module, [name])
    assert not list(tmp_path.rglob("*.wav"))


def test_clipping_is_counted(tmp_path: Path, module: CountingModule) -> None:
    with torch.no_grad():
        module.codec.decoder.head.bias += 4.0
    with pytest.warns(UserWarning, match=r"1 of 1 files left \[-1, 1\]"):
        predict(tmp_path, module, ["loud.wav"])
    assert np.abs(soundfile.read(tmp_path / "out/loud.wav")[0]).max() == pytest.approx(32767 / 32768)
