"""A tested run of two codecs to listen to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.metrics import SISDR
from codec.training.comparison_module import ComparisonModule, System
from tests.support.codec_fakes import clip, loader, tiny_codec, trainer
from tests.support.speech import speech_like


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FSQ and RVQ behind 0 and 10 % of flips, on three clips of 1.2 to 1.4 s at 16 kHz."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    module = ComparisonModule([System("FSQ", codec=tiny_codec()), System("RVQ", codec=tiny_codec((5, 5, 5)))])
    evaluation = ChannelEvaluation(bit_error_rates=(0.0, 0.1), metrics=[SISDR()], num_workers=0, audio_clips=3)
    clips = [clip(f"voice/{name}", speech_like(n, 1.2 + 0.1 * n)) for n, name in enumerate("abc")]
    trainer(folder, [evaluation]).test(module, loader(clips), verbose=False)
    return folder
