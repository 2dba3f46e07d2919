"""The configurations that start from another run's checkpoint: each trains a batch, and a student passes everywhere."""

import copy
import functools
import json
import shutil
import sys

import pytest
import soundfile
import torch
import yaml

import train
from codec import Discriminator, load_codec
from codec.checkpoints.building import build_codec
from tests.support.building import build
from tests.support.command_line import CODEC, run, small
from tests.support.paths import CONFIGS

NARROW = {"encoder.init_args.width": 2, "decoder.init_args.backbone.init_args.depth": 1}
STUDENTS = {
    "small/quickstart_student.yaml": "quickstart.yaml",
    "small/quickstart_decoder_24k.yaml": "quickstart.yaml",
    "student.yaml": "fsq.yaml",
    "paper/decoder_24k.yaml": "fsq.yaml",
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Makes the checkpoint of an untrained run of a configuration, once for all tests, the large one narrowed."""

    @functools.cache
    def make(config):
        model = yaml.safe_load((CONFIGS / config).read_text())["model"]
        if config == "fsq.yaml":
            for path, value in NARROW.items():
                block = model["init_args"]["codec"]["init_args"]
                *folders, name = path.split(".")
                for folder in folders:
                    block = block[folder]
                block[name] = value
        state = {
            f"codec.{k}": v for k, v in build_codec(copy.deepcopy(model["init_args"]["codec"])).state_dict().items()
        }
        for i, judge in enumerate(model["init_args"]["adversary"]["discriminators"]):
            found = build(copy.deepcopy(judge), Discriminator).state_dict()
            state |= {f"discriminators.{i}.{k}": v for k, v in found.items()}
        path = tmp_path_factory.mktemp("teacher") / "teacher.ckpt"
        torch.save({"state_dict": state, "model_config": model}, path)
        return path

    return make


@pytest.mark.parametrize(("config", "of"), [
    pytest.param(config, of, marks=[pytest.mark.slow] if of == "fsq.yaml" else []) for config, of in STUDENTS.items()
])  # fmt: skip
def test_a_configuration_trains_a_batch_from_its_teacher(monkeypatch, tmp_path, speech, teacher, config, of):
    option = "teacher" if "student" in config else "init_from"
    words = ["--config", CONFIGS / config, f"--model.init_args.{option}", teacher(of)]
    if config == "paper/decoder_24k.yaml":
        words += [word for path, value in NARROW.items() for word in (f"{CODEC}.{path}", str(value))]
    words += [*small(speech, tmp_path), "--data.crop_seconds", "0.5"]
    run(monkeypatch, "fit", *words, "--trainer.fast_dev_run", "1")


@pytest.mark.slow
def test_a_student_is_a_codec_in_every_command(monkeypatch, tmp_path, speech, teacher):
    words = ["--config", CONFIGS / "small/quickstart_student.yaml", "--config", CONFIGS / "overlays/debug.yaml"]
    gone_later = shutil.copy(teacher("quickstart.yaml"), tmp_path / "teacher.ckpt")
    words += [*small(speech, tmp_path), "--model.init_args.teacher", gone_later]
    words += ["--model.init_args.distillation_start", "1", "--model.init_args.adversary.start", "1"]
    run(monkeypatch, "fit", *words, "--trainer.max_steps", "3", "--trainer.val_check_interval", "3")
    folder = tmp_path / "debug"
    last = folder / "checkpoints" / "last.ckpt"
    for command in ("validate", "test"):
        for name in ("agreement.json", "agreement.csv", "channel.json"):
            (folder / name).unlink(missing_ok=True)
        run(monkeypatch, command, *words, "--ckpt_path", last)
        report = json.loads((folder / "agreement.json").read_text())
        assert {row["codec"] for row in report["scores"]} == {"teacher", "student"}
        assert (folder / "agreement.csv").is_file() and (folder / "channel.json").is_file()
    out = tmp_path / "out"
    predict = ["--ckpt_path", last, "--data.predict_from", speech, "--predictions.output_dir", out]
    run(monkeypatch, "predict", *words, *predict)
    gone_later.unlink()
    codec = load_codec(last)
    source = next(speech.rglob("*.wav"))
    audio, _ = soundfile.read(source, dtype="float32")
    decoded, _ = soundfile.read(out / source.relative_to(speech), dtype="float32")
    with torch.no_grad():
        expected = codec(torch.from_numpy(audio)[None, None]).audio[0, 0].numpy()
    assert abs(expected - decoded).max() < 1e-3


@pytest.mark.parametrize(("config", "words", "sentence"), [
    ("small/quickstart_student.yaml", ["--model.init_args.encoder.init_args.dim", "100"],
     "The student has hop 320 and width 100, the teacher hop 320 and width 192"),
    ("small/quickstart_student.yaml", ["--model.init_args.distillation_ramp", "-1"],
     "distillation_ramp -1 must be 0 or more."),
    ("small/quickstart_decoder_24k.yaml", [f"{CODEC}.quantizer.init_args.levels", "[8, 8, 8, 8, 8, 8, 8, 8]"],
     "levels [8, 8, 8, 8, 8, 8, 8, 8], codebooks [16777216] here"),
])  # fmt: skip
def test_what_does_not_fit_ends_in_one_sentence(monkeypatch, capsys, teacher, config, words, sentence):
    option = "teacher" if "student" in config else "init_from"
    words = [*words, f"--model.init_args.{option}", str(teacher("quickstart.yaml"))]
    monkeypatch.setattr(sys, "argv", ["train.py", "fit", "--config", str(CONFIGS / config), *words])
    with pytest.raises(SystemExit) as stop:
        train.main()
    assert stop.value.code == 2
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert last.startswith("error: ") and sentence in last


def test_a_missing_teacher_ends_in_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run(monkeypatch, "fit", "--config", CONFIGS / "small/quickstart_student.yaml")
    expected = "There is no checkpoint runs/quickstart/checkpoints/last.ckpt: give the path of a .ckpt file"
    assert expected in capsys.readouterr().err.splitlines()[-1]
