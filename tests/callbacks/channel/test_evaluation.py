"""The evaluation scores what it should, once, and the same on any number of ranks."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.channel.files import results_folder
from callbacks.channel.transmission import decode_receptions, transmit
from callbacks.metrics import SISDR, STOI, MelDistance
from codec.channels import BinarySymmetricChannel, Channel, draw_generator
from codec.channels.bitstream import bits_to_codes, codes_to_bits
from codec.channels.link import Link
from codec.training.comparison_module import EvaluatedSystem
from tests.support import channel_ranks
from tests.support.codec_fakes import RATE, CountingModule, clip, loader, tiny_codec, trainer
from tests.support.paths import ROOT
from tests.support.speech import speech_like

CLIPS = [clip(f"voice/clip_{number}", speech_like(number, 0.8 + 0.1 * number)) for number in range(4)]
SHORT = clip("voice/short", speech_like(9, 0.2))  # too short for STOI


def evaluation(**options: Any) -> ChannelEvaluation:
    defaults = {"bit_error_rates": (0.0, 0.1), "metrics": [STOI(), SISDR()], "num_workers": 0}
    defaults |= {"fit_clips": None, "audio_clips": 0}
    return ChannelEvaluation(**{**defaults, **options})


def run_test(root: Path, module: CountingModule, clips: list[dict[str, Any]], **options: Any) -> ChannelEvaluation:
    callback = evaluation(**options)
    trainer(root, [callback]).test(module, loader(clips), verbose=False)
    return callback


def test_the_encoder_runs_once_and_equal_receptions_are_decoded_once(tmp_path: Path, module: CountingModule) -> None:
    run_test(tmp_path, module, CLIPS, bit_error_rates=(0.0, 0.2, 0.3), repeats=3)
    assert module.encoded == len(CLIPS)
    assert module.decoded == len(CLIPS) * (1 + 2 * 3)  # one for rate 0, one for each damaged draw


def test_scores_are_those_of_a_plain_loop(tmp_path: Path, module: CountingModule) -> None:
    callback = run_test(tmp_path, module, CLIPS, repeats=2, seed=7)
    channel, system = BinarySymmetricChannel(0.1), EvaluatedSystem("", module.codec)
    means = []
    for batch in CLIPS:
        codes = module.codec.encode(batch["audio"])
        sent = transmit(system.connection, codes, [channel], clip_id=batch["id"][0], seed=7, repeats=2)
        reference = batch["audio"][0, 0].numpy()
        decoded = list(decode_receptions(system, sent, sample_rate=RATE, length=len(reference), batch_size=1))
        means.append(np.mean([SISDR()(reference, signal, RATE) for signal in decoded]))
    row = next(row for row in callback.results if row.metric == "si_sdr" and row.bit_error_rate == 0.1)
    assert row.mean == pytest.approx(np.mean(means), abs=1e-4)
    assert row.low <= row.mean <= row.high
    assert (row.clips, row.scored, row.unscorable, row.repeats) == (4, 8, 0, 2)
    assert row.key == "channel/si_sdr/ber_0.1"
    assert row.measured_bit_error_rate == pytest.approx(0.1, abs=0.02)


def test_a_draw_depends_on_seed_clip_and_repeat() -> None:
    codes = torch.randint(256, (1, 1, 50), generator=torch.Generator().manual_seed(0))
    channel = BinarySymmetricChannel(0.1)
    connection = Link().connect(tiny_codec().quantizer)
    sent = transmit(connection, codes, [channel], clip_id="a", seed=7, repeats=2)
    for repeat in range(2):
        bits = channel(codes_to_bits(codes, (256,))[0], draw_generator(7, "a", "bsc", repeat))
        received = connection.receive(sent.received[sent.signals[0, repeat]][None]).codes
        assert torch.equal(received, bits_to_codes(bits[None], (256,)).codes)
    assert not torch.equal(sent.received[0], sent.received[1])


def test_order_and_batches_do_not_matter(tmp_path: Path, module: CountingModule) -> None:
    channels = channel_ranks.evaluation().channels
    forward = run_test(tmp_path, module, CLIPS, decode_batch=8, channels=channels[2:])
    backward = run_test(tmp_path, module, CLIPS[::-1], decode_batch=8, channels=channels[2:], num_workers=2)
    assert forward.results == backward.results
    close([r._asdict() for r in run_test(tmp_path, module, CLIPS, decode_batch=1, channels=channels[2:]).results],
          [r._asdict() for r in forward.results])  # fmt: skip


def test_unscorable_draws_are_counted_with_their_reason(
    tmp_path: Path, module: CountingModule, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = run_test(tmp_path, module, [*CLIPS, SHORT])
    stoi = [row for row in callback.results if row.metric == "stoi"]
    assert [(row.clips, row.scored, row.unscorable) for row in stoi] == [(5, 4, 1)] * 2
    assert stoi[0].reasons == {"STOI: too few frames with speech": 1}
    without = run_test(tmp_path / "without", module, CLIPS)
    mean = next(row.mean for row in without.results if row.metric == "stoi")
    assert stoi[0].mean == pytest.approx(mean * 4 / 5) and stoi[0].imputed == 1  # it counts with 0
    text = capsys.readouterr().out
    assert "[1]" in text and "bsc-0, STOI: 1 of 5 unscorable: STOI: too few frames with speech (1)" in text
    assert "count in the mean with the worst value (STOI 0)" in text


class Bursts(Channel):
    """Inverts the first half of the frames."""

    family = "half"
    name = "half"
    error_rate = 0.5

    def __call__(self, bits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return bits ^ (torch.arange(bits.shape[-2])[:, None] < bits.shape[-2] // 2).to(bits.dtype)


def test_other_channels_and_invalid_codewords(tmp_path: Path) -> None:
    module = CountingModule(tiny_codec(levels=(5, 5, 5)))  # 125 codes in 7 bits: three codewords are invalid
    callback = run_test(tmp_path, module, CLIPS[:1], channels=[Bursts()], metrics=[SISDR()])
    assert [row.key for row in callback.results] == [
        "channel/si_sdr/ber_0", "channel/si_sdr/ber_0.1", "channel/si_sdr/half",
    ]  # fmt: skip
    assert callback.results[2].measured_bit_error_rate == pytest.approx(0.5, abs=0.01)
    noisy = run_test(tmp_path, module, CLIPS, bit_error_rates=(0.5,), metrics=[SISDR()], repeats=9)
    assert noisy.results[0].erased_codewords == pytest.approx(3 / 128, abs=0.015)


class Custom(Channel):
    """Returns what a function makes of the bits."""

    family, name, error_rate = "custom", "custom", 0.0

    def __init__(self, make: Any) -> None:
        self.make = make

    def __call__(self, bits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.make(bits)


@pytest.mark.parametrize(("make", "match"), [
    (lambda bits: bits[:1], "keep the shape"),
    (lambda bits: bits.numpy(), "returned ndarray"),
    (lambda bits: bits + 1, "from 1 to 2"),
    (lambda bits: bits.long(), "int64"),
    (lambda bits: bits.float() * float("nan"), "from nan"),
    (lambda bits: 1.5 * bits, "to 1.5"),
])  # fmt: skip
def test_a_channel_that_breaks_its_contract_is_named(
    tmp_path: Path, module: CountingModule, make: Any, match: str
) -> None:
    with pytest.raises(ValueError, match=f"channel custom.*{match}"):
        run_test(tmp_path, module, CLIPS[:1], channels=[Custom(make)], metrics=[SISDR()])


def test_a_channel_that_works_in_place_harms_nobody_else(tmp_path: Path, module: CountingModule) -> None:
    alone = run_test(tmp_path / "alone", module, CLIPS[:1], metrics=[SISDR()])
    beside = run_test(tmp_path, module, CLIPS[:1], metrics=[SISDR()], channels=[Custom(lambda bits: bits.fill_(1))])
    assert [row.mean for row in beside.results[:2]] == [row.mean for row in alone.results]
    assert beside.results[2].measured_bit_error_rate > 0.2


def test_files_hold_the_scores(tmp_path: Path, module: CountingModule) -> None:
    callback = run_test(tmp_path, module, [*CLIPS, SHORT], repeats=2, audio_clips=2)
    with (tmp_path / "channel.csv").open() as file:
        lines = list(csv.DictReader(file))
    head = ["channel", "family", "bit_error_rate", "metric", "unit", "mean", "low", "high", "clips", "scored",
            "unscorable", "repeats"]  # fmt: skip
    assert list(lines[0])[: len(head)] == head
    assert [float(line["mean"]) for line in lines] == [row.mean for row in callback.results]
    report = json.loads((tmp_path / "channel.json").read_text())
    assert report["codec"]["bit_rate"] == 400 and report["codec"]["bits_per_frame"] == 8
    assert [entry["id"] for entry in report["clips"]] == sorted(batch["id"][0] for batch in [*CLIPS, SHORT])
    short = next(entry for entry in report["clips"] if entry["id"] == "voice/short")
    assert short["channels"]["bsc-0.1"]["scores"]["stoi"] == [None, None]
    assert len(short["channels"]["bsc-0.1"]["unscorable"]["stoi"]) == 2
    names = {path.name for path in (tmp_path / "channel").iterdir()}
    assert {"quality.png", "quality.svg", "spectrogram_0.png", "spectrogram_1.png", "audio_1_bsc-0.1.wav"} <= names


def test_audio_of_an_earlier_evaluation_is_removed(tmp_path: Path, module: CountingModule) -> None:
    run_test(tmp_path, module, CLIPS, audio_clips=2)
    (tmp_path / "channel" / "mine.wav").write_bytes(b"not the project's")
    run_test(tmp_path, module, CLIPS, audio_clips=1)
    names = {path.name for path in (tmp_path / "channel").iterdir()}
    assert {"audio_0_original.wav", "spectrogram_0.png", "mine.wav"} <= names
    assert not {name for name in names if name.startswith(("audio_1_", "spectrogram_1"))}


def test_tensorboard_gets_numbers_figures_and_audio(tmp_path: Path, module: CountingModule) -> None:
    callback = evaluation(audio_clips=1)
    loggers = [TensorBoardLogger(tmp_path, name="tb", version=0), CSVLogger(tmp_path, name="csv", version=0)]
    trainer(tmp_path, [callback], logger=loggers).test(module, loader(CLIPS), verbose=False)
    events = EventAccumulator(str(tmp_path / "tb/version_0")).Reload()
    assert "channel/stoi/ber_0.1" in events.Tags()["scalars"]
    assert set(events.Tags()["images"]) == {"channel/quality", "channel/spectrogram_0"}
    assert "channel/clip_0/original" in events.Tags()["audio"]
    assert "channel/stoi/ber_0" in (tmp_path / "csv/version_0/metrics.csv").read_text()
    assert (tmp_path / "tb/version_0/channel.csv").exists()


def test_fit_scores_a_fixed_subset_and_feeds_checkpoints(tmp_path: Path, module: CountingModule) -> None:
    callback = evaluation(fit_clips=2, fit_every_n_validations=2)
    checkpoint = ModelCheckpoint(tmp_path, filename="best", monitor="channel/si_sdr/ber_0", mode="max")
    runner = trainer(tmp_path, [callback, checkpoint], max_epochs=4, limit_train_batches=1)
    runner.fit(module, loader(CLIPS[:1]), loader(CLIPS))
    assert len(callback.clip_scores) == 2 and callback.results[0].clips == 2
    assert runner.callback_metrics["channel/si_sdr/ber_0"] == pytest.approx(
        next(row.mean for row in callback.results if row.key == "channel/si_sdr/ber_0")
    )
    assert (tmp_path / "best.ckpt").exists()
    # Validations 1 and 3 of 4 were scored; 2 and 4 repeated their values.
    assert json.loads((tmp_path / "channel.json").read_text())["step"] == 3
    again = evaluation(fit_clips=2)
    trainer(tmp_path, [again], max_epochs=1, limit_train_batches=1, num_sanity_val_steps=0).fit(
        module, loader(CLIPS[:1]), loader(CLIPS[::-1])
    )
    assert [c.clip_id for c in again.clip_scores] == [c.clip_id for c in callback.clip_scores]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one rank's scores."""
    folder = tmp_path_factory.mktemp("one")
    channel_ranks.run(folder, 0, 1, "auto")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_gives_the_scores_of_one(one: Path, tmp_path: Path, ranks: int) -> None:
    script = Path(channel_ranks.__file__)
    path = os.pathsep.join([str(ROOT), *sys.path])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    subprocess.run(
        [*launch, script, tmp_path],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=True, timeout=900, capture_output=True,
    )  # fmt: skip
    expected = json.loads((one / "uneven/channel.json").read_text())
    assert len(expected["clips"]) == 7
    for name in ("uneven", "empty"):
        close(json.loads((tmp_path / name / "channel.json").read_text()), expected)
    for name in ("fit", "fragile"):
        close(json.loads((tmp_path / name / "channel.json").read_text()),
              json.loads((one / name / "channel.json").read_text()))  # fmt: skip
    clips = json.loads((one / "fragile/channel.json").read_text())["clips"]
    unscorable = {entry["id"]: entry["channels"]["bsc-0"].get("unscorable") for entry in clips}
    died = ["scoring process died (exit status 3)"]
    assert unscorable.pop("voice/clip_2") == {"fragile": died, "si_sdr": died} and not any(unscorable.values())
    metrics = [torch.load(tmp_path / f"rank_{rank}_of_{ranks}.pt") for rank in range(ranks)]
    assert all(other == metrics[0] for other in metrics)
    close(metrics[0], torch.load(one / "rank_0_of_1.pt"))
    assert "codebook/val/perplexity_0" in metrics[0]


def close(found: Any, expected: Any) -> None:
    """Equal, but for rounding by a different number of threads."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            close(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            close(a, b)
    else:
        assert found == (pytest.approx(expected, rel=1e-4, abs=1e-4) if isinstance(expected, float) else expected)


def test_mistakes_are_named(tmp_path: Path, module: CountingModule) -> None:
    with pytest.raises(ValueError, match="unique names"):
        ChannelEvaluation(bit_error_rates=(0.1, 0.1))
    with pytest.raises(ValueError, match="at least one"):
        ChannelEvaluation(bit_error_rates=())
    with pytest.raises(ValueError, match="repeats 0"):
        ChannelEvaluation(repeats=0)
    for wrong in ({"fit_clips": -1}, {"bootstrap": -1}, {"confidence": 2.0}, {"num_workers": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ChannelEvaluation(**wrong)
    with pytest.raises(ValueError, match="evaluated twice"):
        run_test(tmp_path, module, [CLIPS[0], CLIPS[0]])
    two = {"audio": torch.zeros(2, 1, 800), "id": ["a", "b"]}
    with pytest.raises(ValueError, match="batch size 1"):
        run_test(tmp_path, module, [two])


def test_a_lower_is_better_metric_keeps_its_sign(tmp_path: Path, module: CountingModule) -> None:
    callback = run_test(tmp_path, module, CLIPS[:2], metrics=[MelDistance()])
    assert all(row.mean > 0 for row in callback.results)


def test_training_that_goes_on_leaves_the_scores_of_a_test(tmp_path: Path) -> None:
    assert results_folder(tmp_path, "fit") == tmp_path
    for earlier, folder in (("fit", tmp_path), ("TrainerFn.FITTING", tmp_path), ("test", tmp_path / "validation"),
                            ("TrainerFn.TESTING", tmp_path / "validation")):  # fmt: skip
        (tmp_path / "channel.json").write_text(json.dumps({"stage": earlier}))
        assert results_folder(tmp_path, "fit") == folder
        assert results_folder(tmp_path, "test") == results_folder(tmp_path, "validate") == tmp_path
    (tmp_path / "channel.json").write_text("{")
    assert results_folder(tmp_path, "fit") == tmp_path
