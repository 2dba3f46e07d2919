"""The command line: every configuration runs, mistakes name the nearest valid word, checkpoints and predictions."""

import json

import numpy as np
import pytest
import soundfile
import torch

from codec import load_codec
from tests.support.command_line import CODEC, run, small
from tests.support.paths import CONFIGS

BASES = (
    {
        "overlays/fsq_32bit.yaml": ["fsq.yaml"],
        "overlays/bsq.yaml": ["fsq.yaml"],
        "overlays/rvq_32bit.yaml": ["rvq.yaml"],
    }
    | {  # what an overlay is laid over
        f"{name}.yaml": ["quickstart.yaml"]
        for name in (
            "evaluate/channels evaluate/channel_suite evaluate/sensitivity evaluate/prior overlays/channel_aware "
            "evaluate/packets evaluate/radio overlays/debug "
            "overlays/own_speech overlays/shards small/quickstart_rvq small/quickstart_bsq "
            "small/quickstart_nested small/quickstart_rvq_channel small/learned_flips"
        ).split()
    }
    | {f"small/{name}.yaml": ["small/fsq.yaml"] for name in ("rvq", "bsq", "fsq_32bit", "aware", "soft", "recipe")}
    | {"overlays/gpu.yaml": ["small/fsq.yaml"], "small/hard.yaml": ["small/fsq.yaml", "small/soft.yaml"]}
    | {f"small/{name}.yaml": ["small/fsq.yaml", "small/aware.yaml"] for name in ("student_aware", "continued")}
)
WITHOUT = {  # what takes minutes, or a file that is not there
    "small/gpu.yaml": ["--model.init_args.compiled", "false"],
    "overlays/gpu.yaml": ["--model.init_args.compiled", "false"],
    "small/aware.yaml": ["--model.init_args.init_from", "small_fsq", "--model.init_args.init_parts", "[codec]"],
    "small/continued.yaml": ["--model.init_args.init_from", "small_fsq", "--model.init_args.init_parts", "[codec]"],
    "small/student_aware.yaml": [
        "--model.init_args.init_from", "small_student", "--model.init_args.init_parts", "[codec]"],
}  # fmt: skip
FULL_SIZE = {
    f"paper/{name}.yaml" for name in ("neucodec", "xcodec2", "neucodec_released", "no_semantic", "distill_neucodec")
}
NEED_CHECKPOINTS = {  # test_compare.py, test_student_configurations.py
    f"{name}.yaml"
    for name in (
        "evaluate/compare evaluate/compare_quantizers evaluate/seeds student paper/decoder_24k "
        "small/quickstart_student small/quickstart_decoder_24k"
    ).split()
}
COMPARISONS = {  # nothing to train; test_pretrained.py
    f"evaluate/{name}.yaml"
    for name in (
        "pretrained",
        "pretrained_maps",
        "pretrained_links",
        "pretrained_receivers",
        "fine_tuning",
        "levels",
        "concealment",
        "protection",
        "operating_curve",
        "rate",
        "soft",
        "field",
        "classical",
        "librispeech",
    )
}
ALL = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml") if path.parent.name != "sweeps")
DEBUG = ["--config", CONFIGS / "quickstart.yaml", "--config", CONFIGS / "overlays/debug.yaml"]


@pytest.mark.parametrize("config", sorted(set(ALL) - NEED_CHECKPOINTS - FULL_SIZE - COMPARISONS))
def test_every_configuration_trains_a_batch(monkeypatch, tmp_path, speech, config):
    layers = [*BASES.get(config, []), config]
    words = [word for layer in layers for word in ("--config", CONFIGS / layer)] + WITHOUT.get(config, [])
    if layers[0] in {"fsq.yaml", "rvq.yaml"}:  # the same graph, narrower
        words += [f"{CODEC}.encoder.init_args.width", "2", f"{CODEC}.decoder.init_args.backbone.init_args.depth", "1"]
    run(monkeypatch, "fit", *words, *small(speech, tmp_path), "--trainer.fast_dev_run", "1")


@pytest.mark.parametrize("config", ALL)
def test_every_configuration_opens_with_its_command_and_expected_score(config):
    head = [line for line in (CONFIGS / config).read_text().splitlines()[:10] if line.startswith("#")]
    assert any("train.py" in line or "make " in line for line in head)
    assert any(line.startswith("# Expected: ") for line in head)


@pytest.mark.parametrize(("words", "nearest"), [
    ([f"{CODEC}.quantizer.init_args.level", "[4]"], "'levels' instead of 'level'"),
    ([f"{CODEC}.quantizer", "codec.FSX"], "'FSQ' instead of 'FSX'"),
    ([f"{CODEC}.quantizer.class_path", "codecs.FSQ"], "'codec' instead of 'codecs'"),
    (["--data.batchsize", "3"], "'data.batch_size' instead of 'data.batchsize'"),
    (["--trainer.max_step", "3"], "'trainer.max_steps' instead of 'trainer.max_step'"),
    (["--data.train.class_path", "data.FolderSorce"], "'FolderSource' instead of 'FolderSorce'"),
])  # fmt: skip
def test_a_mistyped_word_fails_at_parse_with_the_nearest_valid_one(monkeypatch, capsys, words, nearest):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "fit", "--config", CONFIGS / "quickstart.yaml", *words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(f"Did you mean {nearest}?")


@pytest.mark.parametrize(("text", "nearest"), [
    ("model: {init_args: {optimization: {gradient_clp: 1}}}",
     "'optimization.gradient_clip' instead of 'optimization.gradient_clp'"),
    ("model: {init_args: {discriminator_start: 1}}", "'adversary.start' instead of 'discriminator_start'"),
    ("trainr: {max_steps: 3}", "'trainer.max_steps' instead of 'trainr.max_steps'"),
    ("data: {gain_db: [-6, 0]}", "'data.augmentation.gain_db' instead of 'data.gain_db'"),
    ("chanels: {repeats: 3}", "'channels.repeats' instead of 'chanels.repeats'"),
])  # fmt: skip
def test_a_mistyped_key_in_a_file_fails_likewise(monkeypatch, capsys, tmp_path, text, nearest):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(SystemExit):
        run(monkeypatch, "fit", "--config", CONFIGS / "quickstart.yaml", "--config", tmp_path / "wrong.yaml")
    assert capsys.readouterr().err.rstrip().endswith(f"Did you mean {nearest}?")


def test_a_list_to_predict_is_read_as_one(monkeypatch, capsys, tmp_path):
    """jsonargparse would take the file's content for the option's value."""
    listed = tmp_path / "list.txt"
    listed.write_text("nowhere/a.wav\nnowhere/b.wav\n")
    with pytest.raises(SystemExit):
        run(monkeypatch, "predict", "--config", CONFIGS / "quickstart.yaml", "--data.predict_from", listed)
    assert "list.txt lists " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("words", "sentence"), [
    ([f"{CODEC}.quantizer.init_args.dim", "100"],
     "encoder, quantizer and decoder have widths 192, 100 and 192: set their `dim` to one value."),
    ([f"{CODEC}.quantizer.init_args.levels", "[1, 4]"],
     "levels [1, 4] must each be at least 2"),
    (["--model.init_args.optimization.accumulate", "0"], "accumulate 0 must be at least 1 batch per optimizer step."),
    (["--model.init_args.optimization.gradient_clip", "-1"],
     "gradient_clip -1.0 must be a norm above 0, or 0 for no clipping."),
    (["--model.init_args.adversary.start", "-5"],
     "adversary.start -5 must be 0 or more."),
    (["--trainer.gradient_clip_val", "1"],
     "trainer.gradient_clip_val 1 must be unset: use model.init_args.optimization.gradient_clip instead."),
    (["--trainer.accumulate_grad_batches", "2"],
     "trainer.accumulate_grad_batches 2 must be unset: use model.init_args.optimization.accumulate instead."),
    (["--ckpt_path", "nowhere.ckpt"],
     "There is no checkpoint nowhere.ckpt: give the path of a .ckpt file that a run has written, or one of the names "
     "small_fsq, small_fsq_aware, small_rvq, small_rvq_aware, small_student, small_student_aware."),
    (["--ckpt_path", "small_fsq"], "small_fsq holds weights alone: give it as model.init_args.init_from."),
    (["--data.train", "data.ShardSource", "--data.train.init_args.root", "moon://corpus"],
     "moon://corpus/manifest.tsv cannot be read (ValueError: Protocol not known: moon)"),
    (["--data.batch_size", "0"], "batch_size 0 must be at least 1."),
    (["--data.num_workers", "-1"], "num_workers -1 must be at least 0."),
    (["--data.val_clips", "0"], "val_clips 0 must be at least 1: give null for all"),
    (["--data.val_seconds", "0"], "val_seconds 0.0 must be above 0 s."),
    (["--data.max_clip_seconds", "-1"], "max_clip_seconds -1.0 must be above 0 s."),
    (["--seed_everything", "-1"], "seed_everything -1 must lie between 0 and 4294967295."),
    (["--seed_everything", str(2**32)], "seed_everything 4294967296 must lie between 0 and 4294967295."),
    (["--data.crop_seconds", "-1"], "crop_seconds -1.0 must be a finite number above 0"),
    (["--trainer.enable_checkpointing", "false"],
     "trainer.enable_checkpointing False must be unset: runs always keep checkpoints."),
    (["--trainer.callbacks", "[callbacks.CodecEMA]"],
     "trainer.callbacks repeats CodecEMA, which is always on: set it under ema."),
    (["--data.crop_seconds", "0.333"], "the nearest is crop_seconds=0.34"),
    (["--channels.bit_error_rates", "[1.5]"], "bit_error_rate 1.5 must lie in [0, 1]"),
])  # fmt: skip
def test_a_wrong_value_ends_in_one_sentence(monkeypatch, capsys, words, sentence):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "fit", "--config", CONFIGS / "quickstart.yaml", *words)
    assert stop.value.code == 2
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last


def test_a_damaged_checkpoint_ends_in_one_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "cut.ckpt").write_bytes(b"PK half a file")
    with pytest.raises(SystemExit):
        run(monkeypatch, "test", "--config", CONFIGS / "quickstart.yaml", "--ckpt_path", tmp_path / "cut.ckpt")
    assert "cut.ckpt is damaged" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_a_damaged_best_checkpoint_ends_in_one_sentence(monkeypatch, capsys, tmp_path, speech, content):
    folder = tmp_path / "debug" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "best.ckpt").write_bytes(content)
    words = [*DEBUG, *small(speech, tmp_path)]
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "test", *words, "--ckpt_path", "best")
    assert stop.value.code == 2
    assert "best.ckpt is damaged" in capsys.readouterr().err.rstrip().splitlines()[-1]


@pytest.mark.parametrize("command", ["test", "predict"])
def test_a_pretrained_codec_is_no_checkpoint_to_test(monkeypatch, capsys, command):
    with pytest.raises(SystemExit):
        run(monkeypatch, command, "--config", CONFIGS / "quickstart.yaml", "--ckpt_path", "small_fsq")
    assert "small_fsq holds weights alone: give it as model" in capsys.readouterr().err.splitlines()[-1]


def test_rates_are_stated_once(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "fit", "--config", CONFIGS / "quickstart.yaml", "--data.hop_length", "160")
    assert 'Linked "data.hop_length" must be given via "model"' in capsys.readouterr().err


def test_help_is_readable(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "fit", "--help")
    text = capsys.readouterr().out
    assert text.startswith("usage: train.py")
    assert len(text.split("\n\n")[0].splitlines()) < 5
    for word in ("--data.crop_seconds", "--channels.bit_error_rates", "--model", "--trainer.max_steps"):
        assert word in text


def test_fit_test_predict_and_load(monkeypatch, tmp_path, speech):
    """One run through all four commands; the checkpoint's configuration rebuilds the codec outside of them."""
    words = [*DEBUG, *small(speech, tmp_path)]
    words += [
        "--trainer.max_steps",
        "3",
        "--trainer.val_check_interval",
        "3",
        "--model.init_args.adversary.start",
        "1",
    ]
    run(monkeypatch, "fit", *words)
    last = tmp_path / "debug" / "checkpoints" / "last.ckpt"
    assert last.is_file()
    run(monkeypatch, "fit", *words, "--trainer.max_steps", "4", "--ckpt_path", "last")
    assert torch.load(last, weights_only=True)["global_step"] == 4
    trained_with = (tmp_path / "debug" / "config.yaml").read_bytes()
    for command in ("validate", "test"):
        run(monkeypatch, command, *words, "--ckpt_path", "last")
        report = json.loads((tmp_path / "debug" / "channel.json").read_text())
        assert report["codec"]["bit_rate"] == 800.0
        assert (tmp_path / "debug" / f"{command}.yaml").is_file()
    assert (tmp_path / "debug" / "config.yaml").read_bytes() == trained_with

    out = tmp_path / "out"
    run(
        monkeypatch,
        "predict",
        *words,
        "--ckpt_path",
        last,
        "--data.predict_from",
        speech,
        "--predictions.output_dir",
        out,
    )
    codec = load_codec(last)
    for source in speech.rglob("*.wav"):
        audio, rate = soundfile.read(source, dtype="float32")
        coded = np.load(out / source.relative_to(speech).with_suffix(".codes.npz"))
        decoded, decoded_rate = soundfile.read(out / source.relative_to(speech), dtype="float32")
        assert (len(decoded), decoded_rate) == (len(audio), rate)
        expected = codec.encode(torch.from_numpy(audio)[None, None])
        assert np.array_equal(coded["codes"], expected[0].numpy())
        with torch.no_grad():
            again = codec.decode(expected, length=len(audio))[0, 0].numpy()
        assert np.abs(again - decoded).max() < 1e-3


def test_the_command_line_wins_over_the_checkpoint(monkeypatch, tmp_path, speech):
    words = [*DEBUG, *small(speech, tmp_path)]
    run(monkeypatch, "fit", *words, "--trainer.max_steps", "1")
    last = tmp_path / "debug" / "checkpoints" / "last.ckpt"
    run(
        monkeypatch,
        "fit",
        *words,
        "--trainer.max_steps",
        "2",
        "--model.init_args.optimization.gradient_clip",
        "7",
        "--ckpt_path",
        last,
    )
    assert torch.load(last, weights_only=True)["model_config"]["init_args"]["optimization"]["gradient_clip"] == 7


@pytest.mark.slow
def test_a_resumed_run_draws_what_the_uninterrupted_one_would(monkeypatch, tmp_path, speech):
    """Mid-epoch, through the real data module with a worker, augmentation, validation and averages: bit for bit."""
    words = [*DEBUG, *small(speech, tmp_path)]
    words += [
        "--model.init_args.adversary.start",
        "1",
        "--trainer.val_check_interval",
        "2",
        "--data.num_workers",
        "1",
    ]
    words += ["--data.augmentation.gain_db", "[-6, 3]", "--data.augmentation.noise", "data.FolderSource"]
    words += ["--data.augmentation.noise.init_args.root", speech]
    run(monkeypatch, "fit", *words, "--trainer.max_steps", "5")
    last = tmp_path / "debug" / "checkpoints" / "last.ckpt"
    whole = torch.load(last, weights_only=True)
    last.unlink()
    run(monkeypatch, "fit", *words, "--trainer.max_steps", "3")
    run(monkeypatch, "fit", *words, "--trainer.max_steps", "5", "--ckpt_path", "last")
    resumed = torch.load(last, weights_only=True)
    assert whole["global_step"] == resumed["global_step"] == 5
    for part in ("state_dict", "codec_ema", "optimizer_states"):
        torch.testing.assert_close(whole[part], resumed[part], rtol=0, atol=0)


def test_a_runs_configuration_is_one_to_go_on_from_after_a_test(monkeypatch, tmp_path, speech):
    run(monkeypatch, "fit", *DEBUG, *small(speech, tmp_path), "--trainer.max_steps", "1")
    own = ["--config", tmp_path / "debug" / "config.yaml"]
    run(monkeypatch, "test", *own, "--ckpt_path", "last")
    run(monkeypatch, "fit", *own, "--trainer.max_steps", "2", "--ckpt_path", "auto")
    assert torch.load(tmp_path / "debug" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2


def test_scores_without_a_checkpoint_are_announced(monkeypatch, tmp_path, speech, caplog):
    with caplog.at_level("INFO"):
        run(monkeypatch, "test", *DEBUG, *small(speech, tmp_path))
    assert "No ckpt_path: the codec has the weights that its configuration gives it" in caplog.text


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_no_last_checkpoint_is_no_reason_to_score_untrained_weights(monkeypatch, tmp_path, speech, capsys, command):
    words = [*DEBUG, *small(speech, tmp_path)]
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, command, *words, "--ckpt_path", "last")
    assert stop.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith("train first, or give its path as ckpt_path.")


class Built(BaseException):
    """Raised instead of building anything."""


@pytest.fixture
def options(monkeypatch, tmp_path):
    """options(words…): the Trainer's options of a fit as chosen, without building anything."""

    def choose(*words):
        found = []

        def stop(self):
            found.append(self.option("trainer"))
            raise Built

        monkeypatch.setattr("lightning.pytorch.cli.LightningCLI.instantiate_classes", stop)
        monkeypatch.setenv("NODE_RANK", "0")  # as on one of several nodes
        with pytest.raises(Built):
            run(monkeypatch, "fit", "--config", CONFIGS / "fsq.yaml", "--trainer.accelerator", "cpu", *words)
        return found[0]

    return choose


@pytest.mark.parametrize(("words", "devices", "strategy"), [
    ((), 1, "auto"),
    (("--trainer.devices", "8"), 8, "ddp_alternating"),
    (("--trainer.num_nodes", "2"), 1, "ddp_alternating"),
    (("--trainer.devices", "2", "--trainer.strategy", "fsdp_alternating"), 2, "fsdp_alternating"),
])  # fmt: skip
def test_a_run_takes_one_device_and_several_average_by_themselves(options, words, devices, strategy):
    found = options(*words)
    assert (int(found.devices), found.strategy) == (devices, strategy)


@pytest.mark.parametrize("words", [
    ["--trainer.strategy", name] for name in (
        "ddp", "ddp_find_unused_parameters_true", "ddp_spawn", "ddp_notebook", "fsdp", "deepspeed_stage_2", "dpp",
        "lightning.pytorch.strategies.DDPStrategy", "lightning.pytorch.strategies.ModelParallelStrategy",
    )
] + [["--trainer.precision", name] for name in ("bf16-true", "16-true", "64-true", "transformer-engine")])  # fmt: skip
def test_a_strategy_or_precision_that_cannot_work_is_refused_before_anything_is_built(monkeypatch, capsys, words):
    monkeypatch.setattr("lightning.pytorch.cli.LightningCLI.instantiate_classes", lambda self: pytest.fail("built"))
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "fit", "--config", CONFIGS / "fsq.yaml", "--trainer.devices", "2", *words)
    assert stop.value.code == 2
    error = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert " ".join(words).removeprefix("--") in error and " must be " in error
    assert error.endswith(": take ddp_alternating." if "strategy" in words[0] else ": take bf16-mixed.")


def test_a_device_that_is_not_there_is_named_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "fit", "--config", CONFIGS / "fsq.yaml", "--trainer.accelerator", "cuda")
    assert stop.value.code == 2
    assert "trainer.accelerator cuda is not available here" in capsys.readouterr().err


@pytest.mark.parametrize("devices", ["-1", "1.5"])
def test_numbers_of_cpus_that_there_cannot_be_are_refused_in_one_sentence(monkeypatch, capsys, devices):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "fit", "--config", CONFIGS / "quickstart.yaml", "--trainer.devices", devices)
    assert stop.value.code == 2
    assert "cannot be used here" in capsys.readouterr().err.rstrip().splitlines()[-1]
