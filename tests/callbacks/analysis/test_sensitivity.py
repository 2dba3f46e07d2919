"""Sensitivity of bits and spread of errors, against codecs whose answer is known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from callbacks.analysis.bit_sensitivity import BitSensitivity, spans
from callbacks.analysis.error_spread import ErrorSpread
from callbacks.metrics import PESQ, SISDR, STOI, LevelDifference, Unscorable
from codec import FSQ, GrayMap, LearnedCodebook, Link, PermutedMap, Repetition
from codec.codec import NeuralCodec
from codec.decoders.base import Decoder
from codec.encoders.base import Encoder
from codec.quantizers import RVQ
from tests.support.codec_fakes import CountingModule, clip, loader, tiny_codec, trainer
from tests.support.speech import speech_like

CLIPS = [clip(f"voice/clip_{number}", speech_like(number, 0.8 + 0.1 * number)) for number in range(3)]


class Levels(Encoder):
    """The mean of each hop's quarters as the latent."""

    dim, hop_length = 4, 320

    def forward(self, audio: Tensor) -> Tensor:
        return 20 * audio[:, 0].unflatten(-1, (-1, 4, 80)).mean(-1).transpose(1, 2)


class Steps(Decoder):
    """Audio that steps between the first three latents; the fourth is not heard at all. `reach` hops are smeared."""

    dim, hop_length = 4, 320

    def __init__(self, reach: int = 0) -> None:
        super().__init__()
        self.reach, self.scale = reach, nn.Parameter(torch.tensor([1.0, 0.1, 0.01, 0.0]))

    def forward(self, latents: Tensor) -> Tensor:
        audio = (latents * self.scale[:, None]).transpose(1, 2).repeat_interleave(80, -1).flatten(1)[:, None]
        return sum(torch.roll(audio, 320 * n, -1) for n in range(self.reach + 1))  # type: ignore[return-value]


def known_codec(reach: int = 0) -> NeuralCodec:
    return NeuralCodec(Levels(), FSQ(4, (4, 4, 4, 4)), Steps(reach), sample_rate=16_000)


def analyse(root: Path, codec: NeuralCodec, **options: object) -> dict[str, float]:
    callback = BitSensitivity(metrics=[SISDR()], num_workers=0, **options)  # type: ignore[arg-type]
    trainer(root, [callback]).test(CountingModule(codec), loader(CLIPS), verbose=False)
    return {row.part: row.loss for row in callback.sensitivities}


def test_a_bit_costs_what_the_decoder_hears_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Codewords begin with the high bit of dimension 3: bits 0 and 1 have no effect, 6 and 7 the largest."""
    loss = analyse(tmp_path, known_codec(), clips=None)
    assert loss["bit 0"] == loss["bit 1"] == loss["dimension 3"] == 0
    assert loss["dimension 0"] > loss["dimension 1"] > loss["dimension 2"] > 0
    assert loss["bit 6"] > loss["bit 7"] > loss["bit 4"]
    assert list(loss) == [f"bit {n}" for n in range(8)] + [f"dimension {n}" for n in range(4)]
    with (tmp_path / "sensitivity.csv").open() as file:
        rows = {row["part"]: row for row in csv.DictReader(file)}
    assert rows["dimension 0"]["bits"] == "6 7"
    # The latent moves alike in all dimensions, by two steps for a high bit, by one for a low one.
    assert float(rows["bit 0"]["displacement"]) == pytest.approx(4 * float(rows["bit 1"]["displacement"]), rel=1e-6)
    assert (tmp_path / "sensitivity.svg").exists()
    assert "most" not in capsys.readouterr().err


def test_maps_decide_which_bits_belong_together(tmp_path: Path) -> None:
    assert "dimension 0" in analyse(tmp_path, known_codec(), link=Link(index_map=GrayMap()))
    assert "dimension 0" not in analyse(tmp_path, known_codec(), link=Link(index_map=PermutedMap()))
    torch.manual_seed(0)
    codec = known_codec()
    codec.quantizer = RVQ(4, [LearnedCodebook(4, 2), LearnedCodebook(8, 2)])
    loss = analyse(tmp_path, codec.eval())
    assert list(loss) == [f"bit {n}" for n in range(5)] + ["codebook 0", "codebook 1"]


def test_a_limit_takes_the_same_clips_in_any_order(tmp_path: Path) -> None:
    found = []
    for number, clips in enumerate((CLIPS, CLIPS[::-1])):
        callback = BitSensitivity(metrics=[SISDR()], num_workers=0, clips=2)
        trainer(tmp_path / str(number), [callback]).test(CountingModule(known_codec()), loader(clips), verbose=False)
        found.append(callback.sensitivities)
    assert found[0] == found[1] and found[0][0].pairs == 2


class Deaf(STOI):
    """A STOI of 0.6 for what the codec makes of the clean signal, else none, or one below which PESQ says nothing."""

    def __init__(self, damaged: float | None) -> None:
        super().__init__()
        self.damaged, self.clean = damaged, 0

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        self.clean += 1
        if self.clean % 13 == 1:  # without flips, then 8 bits and 4 dimensions
            return 0.6
        if self.damaged is None:
            raise Unscorable("lost")
        return self.damaged


class FakePESQ(PESQ):
    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        return 2.0


def test_flips_that_leave_no_score_cost_the_most(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback = BitSensitivity(metrics=[Deaf(None)], num_workers=0, flip_rate=1.0)
    trainer(tmp_path, [callback]).test(CountingModule(known_codec()), loader(CLIPS), verbose=False)
    assert {(row.pairs, row.unpaired) for row in callback.sensitivities} == {(3, 3)}
    assert [row.loss for row in callback.sensitivities] == pytest.approx([0.6] * 12)
    assert "count in the mean with the worst value (STOI 0)" in capsys.readouterr().out
    endless = Deaf(None)
    endless.worst = None
    callback = BitSensitivity(metrics=[endless], num_workers=0, flip_rate=1.0)
    trainer(tmp_path, [callback]).test(CountingModule(known_codec()), loader(CLIPS), verbose=False)
    assert np.isnan([row.loss for row in callback.sensitivities]).all()


def test_pesq_lost_is_withheld_where_flips_leave_no_speech(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback = BitSensitivity(metrics=[FakePESQ(), Deaf(0.2)], num_workers=0, flip_rate=1.0)
    trainer(tmp_path, [callback]).test(CountingModule(known_codec()), loader(CLIPS), verbose=False)
    found = {row.metric: row for row in callback.sensitivities}
    assert np.isnan(found["pesq_wb"].loss) and "PESQ says nothing" in found["pesq_wb"].withheld
    assert found["stoi"].loss == pytest.approx(0.4) and "PESQ says nothing" in capsys.readouterr().out


def test_intervals_are_by_speaker_and_no_direction_is_a_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [{**batch, "speaker": [name]} for batch, name in zip(CLIPS, ("ann", "bo", "ann"), strict=True)]
    widths = []
    for number, clips in enumerate((CLIPS, known)):
        callback = BitSensitivity(metrics=[LevelDifference()], num_workers=0)
        trainer(tmp_path / str(number), [callback]).test(CountingModule(known_codec()), loader(clips), verbose=False)
        row = callback.sensitivities[6]
        widths.append(row.high - row.low)
    assert widths[0] != pytest.approx(widths[1], rel=0.1)
    text = capsys.readouterr().out
    assert "over 3 clips of 2 speakers" in text and "change of level difference (dB)" in text


def test_spans_join_neighbours() -> None:
    assert spans("0 1 2 5 7 8") == "0-2, 5, 7-8"
    assert spans("3") == "3"


@pytest.mark.parametrize("reach", [0, 3])
def test_an_error_spreads_as_far_as_the_decoder_smears_it(tmp_path: Path, reach: int) -> None:
    callback = ErrorSpread(frames=4, reach=10)
    trainer(tmp_path, [callback]).test(CountingModule(known_codec(reach)), loader(CLIPS), verbose=False)
    found = json.loads((tmp_path / "error_spread.json").read_text())
    energy = np.array(found["energy_by_hop"])
    assert found["hop_ms"] == 20 and found["clips"] == 3
    # Equal energy in the damaged frame and each of the `reach` hops after it, none before. Flips of the fourth
    # dimension change nothing, and hops that leave the clip's end come back at its beginning.
    assert energy[10 : 11 + reach].sum() == pytest.approx(energy.sum(), rel=0.2)
    assert energy[:10].sum() <= 0.2 * energy.sum()
    if reach == 0:
        assert found["share_in_the_frame"] == 1 and set(found["within_ms"].values()) == {10.0}
    else:
        assert found["within_ms"]["50%"] == pytest.approx(20 * 1.5)
        assert found["within_ms"]["90%"] == pytest.approx(20 * 3.5)


def test_a_real_decoder_is_measured_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    callback = ErrorSpread(frames=3, clips=2)
    trainer(tmp_path, [callback]).test(CountingModule(tiny_codec()), loader(CLIPS), verbose=False)
    assert callback.results["clips"] == 2
    assert callback.results["share_beyond_reach"] < 1e-6
    assert (tmp_path / "error_spread.svg").exists()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="bit_error_rate"):
        BitSensitivity(flip_rate=2.0)
    with pytest.raises(ValueError, match="frames 0"):
        ErrorSpread(frames=0)


def test_error_correction_is_refused_and_silence_has_no_extent(tmp_path: Path) -> None:
    callback = BitSensitivity(metrics=[SISDR()], num_workers=0, link=Link(code=Repetition(3)))
    with pytest.raises(ValueError, match="take the error correction"):
        trainer(tmp_path, [callback]).test(CountingModule(known_codec()), loader(CLIPS), verbose=False)
    codec = known_codec()
    codec.decoder.scale.data.zero_()  # type: ignore[union-attr, operator]
    spread = ErrorSpread(frames=2)
    trainer(tmp_path, [spread]).test(CountingModule(codec), loader(CLIPS), verbose=False)
    assert set(spread.results["within_ms"].values()) == {None}
