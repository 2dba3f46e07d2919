"""One flipped bit: exactly one code of fixed length, what follows in the packet of an entropy-coded stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from callbacks import FlipDamage
from callbacks.analysis.flip_damage import flip_damage
from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.figures.flips import flip_figure
from callbacks.metrics import STOI
from callbacks.scoring.flips import FlippedBit
from codec.channels import EntropyCode, Link, Repetition
from codec.errors import InvalidValue
from codec.quantizers import FSQ, RVQ, LearnedCodebook
from codec.training.comparison_module import ComparisonModule, System
from tests.support.codec_fakes import clip, loader, tiny_codec, trainer
from tests.support.speech import speech_like

pytest.importorskip("constriction")
CLIPS = [clip(f"voice/clip_{number}", speech_like(number, 0.8 + 0.1 * number)) for number in range(3)]


def codes(frames: int) -> np.ndarray:
    """Codes `[2, F]` of 16 entries that stay for a while, so that coding shortens them."""
    steps = torch.randint(0, 8, (2, frames), generator=torch.Generator().manual_seed(0))
    return ((steps == 0).long().cumsum(1) % 16).numpy()


def damage(link: Link, frames: int = 60, flips: int = 40) -> np.ndarray:
    quantizer = RVQ(4, [LearnedCodebook(16), LearnedCodebook(16)])
    return flip_damage(link.connect(quantizer), codes(frames), flips, torch.Generator().manual_seed(1))


def test_a_codeword_of_fixed_length_loses_one_code() -> None:
    assert (damage(Link()) == 1).all()


def test_of_a_stream_a_flip_makes_wrong_what_follows() -> None:
    found = damage(Link(entropy_code=EntropyCode()))
    assert (found[:, 1] <= 60).all() and (found[:, 0] >= found[:, 1]).all()
    assert (found[:, 1] > 0).mean() > 0.9  # the last bit may be one that nothing needs
    assert 15 < found[:, 1].mean() < 45
    packets = damage(Link(entropy_code=EntropyCode(15)))
    assert packets[:, 1].max() <= 15 and 1 < packets[:, 1].mean() < found[:, 1].mean() / 2


def test_a_codeword_without_a_code_is_wrong() -> None:
    connection = Link().connect(FSQ(2, [5, 5]))  # 25 codes in 5 bits
    found = flip_damage(connection, np.full((1, 30), 24), 40, torch.Generator().manual_seed(0))
    assert (found == 1).all()


def test_a_comparison_writes_rows_and_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codec = tiny_codec()
    systems = [System("A fixed", codec=codec), System("A stream", codec=codec, link=Link(entropy_code=EntropyCode()))]
    evaluation = ChannelEvaluation(bit_error_rates=(0.0, 0.1), metrics=[STOI()], num_workers=0, audio_clips=0)
    callback = FlipDamage(flips=5)
    trainer(tmp_path, [evaluation, callback]).test(ComparisonModule(systems), loader(CLIPS), verbose=False)
    fixed, stream = callback.results
    assert (fixed.frames, fixed.clips, fixed.flips, fixed.longest) == (1, 3, 15, fixed.mean)
    assert fixed.bit_rate == codec.bit_rate > stream.bit_rate and stream.frames > 3
    assert stream.longest >= stream.mean >= stream.low and stream.high > stream.mean
    assert (tmp_path / "flips.csv").read_text().count("\n") == 3 and (tmp_path / "channel" / "flips.png").is_file()
    assert "One flipped bit" in capsys.readouterr().out


def test_error_correction_and_a_missing_evaluation_are_refused(tmp_path: Path) -> None:
    systems = [System("A", codec=tiny_codec(), link=Link(code=Repetition(3)))]
    evaluation = ChannelEvaluation(bit_error_rates=(0.0,), metrics=[STOI()], num_workers=0, audio_clips=0)
    with pytest.raises(InvalidValue, match="error correction"):
        trainer(tmp_path, [evaluation, FlipDamage()]).test(ComparisonModule(systems), loader(CLIPS), verbose=False)
    with pytest.raises(InvalidValue, match="ChannelEvaluation"):
        trainer(tmp_path, [FlipDamage()]).test(ComparisonModule(systems), loader(CLIPS), verbose=False)
    with pytest.raises(InvalidValue, match="flips"):
        FlipDamage(flips=0)


def test_the_figure_has_a_line_and_a_bar_for_each_system() -> None:
    nan = float("nan")
    rows = [FlippedBit(name, 800.0, 3, 30, 0.1, 1.0, 20.0, nan, nan, 20.0) for name in ("A x", "A y", "B x")]
    left, right = flip_figure([], STOI(), rows, title="").axes
    assert [text.get_text() for text in right.get_yticklabels()] == ["A x", "A y", "B x"]
    assert len(left.lines) == 3 and left.lines[0].get_color() == left.lines[1].get_color() != left.lines[2].get_color()
    assert left.lines[0].get_linestyle() != left.lines[1].get_linestyle()
