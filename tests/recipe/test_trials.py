"""Trials of recipes: equal time, one change each, scores in a file of their own and in a table."""

import json
from pathlib import Path

import pytest
import yaml

from tests.recipe import trials
from tests.support.speech import write_speech

RESULTS = Path("docs/results/recipe")
NARROW = {
    "model.init_args.codec.init_args.encoder.init_args.width": 16,
    "model.init_args.codec.init_args.encoder.init_args.depth": 1,
    "model.init_args.codec.init_args.decoder.init_args.backbone.init_args.width": 16,
    "model.init_args.codec.init_args.decoder.init_args.backbone.init_args.depth": 1,
    "model.init_args.adversary.crop": 3200, "data.batch_size": 2, "data.num_workers": 0, "data.crop_seconds": 0.4,
    "channels.num_workers": 0, "trainer.precision": "32-true", "trainer.accelerator": "cpu", "preflight.enabled": False,
}  # fmt: skip


@pytest.fixture
def words(tmp_path):
    write_speech(tmp_path / "speech", (1.25, 1.3))
    plan = {
        "config": "configs/small/fsq.yaml",
        "options": NARROW,
        "trials": {"base": None, "with discriminators": {"adversarial": 0.5, "data.batch_size": 1}},
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    manifest = str(tmp_path / "speech" / "manifest.tsv")
    more = ["--train", manifest, "--dev", manifest, "--minutes", "0.01", "--out", str(tmp_path / "out")]
    return [str(tmp_path / "plan.yaml"), *more]


@pytest.mark.slow
def test_trials_train_score_and_go_on(tmp_path, words, monkeypatch):
    assert trials.main(words) == 0
    found = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")}
    assert set(found) == {"base", "with discriminators"}
    base = found["base"]
    assert base["batches"] * base["processor_seconds_a_batch"] == pytest.approx(
        0.6, abs=base["processor_seconds_a_batch"]
    )
    assert 0 < base["stoi"] < 1 and 1 < base["pesq_wb"] < 4.65 and base["mel"] > 0
    assert found["with discriminators"]["options"] == NARROW | {"adversarial": 0.5, "data.batch_size": 1}
    assert (tmp_path / "out" / "README.md").read_text() == trials.table(tmp_path / "out")
    monkeypatch.setattr(trials, "fit", lambda _: pytest.fail("trained anew"))
    assert trials.main(words) == 0


def test_a_trial_is_the_recipe_with_its_options(tmp_path):
    plan = {"config": "a.yaml", "options": {"ema.decay": 0.9, "data.seed": 1}, "trials": {"x": {"ema.decay": 0.5}}}
    made = trials.Trials(plan, train="t.tsv", dev="d.tsv", minutes=1.0).words("x", tmp_path, batches=1000, share=0.0)
    given = dict(zip(made[::2], made[1::2], strict=True))
    assert given["--config"] == "a.yaml" and given["--ema.decay"] == "0.5" and given["--data.seed"] == "1"
    assert given["--data.train.init_args.path"] == "t.tsv" and given["--data.val.init_args.path"] == "d.tsv"
    assert given["--trainer.max_steps"] == given["--model.init_args.optimization.schedule.init_args.total"] == "1000"
    assert given["--model.init_args.adversary.start"] == "1000"  # never


def test_discriminators_come_for_the_last_share_of_the_batches(tmp_path):
    plan = {"config": "a.yaml", "trials": {"x": {"adversarial": 0.3}}}
    made = trials.Trials(plan, train="t.tsv", dev="d.tsv", minutes=1.0).words("x", tmp_path, batches=1000, share=0.3)
    given = dict(zip(made[::2], made[1::2], strict=True))
    assert given["--model.init_args.adversary.start"] == "700" and "--adversarial" not in given


def test_a_trial_that_fails_is_one_sentence(tmp_path, words, capsys):
    plan = yaml.safe_load((tmp_path / "plan.yaml").read_text())
    plan["options"]["model.init_args.codec.init_args.encoder.init_args.wdth"] = 3
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    assert trials.main([words[0], "base", *words[1:]]) == 2
    assert "A trial's training ended with exit status 2 (" in capsys.readouterr().err
    assert not (tmp_path / "out" / "base.json").exists()


def test_an_unknown_trial_is_refused(words, capsys):
    assert trials.main([words[0], "bas", *words[1:]]) == 2
    assert "trial bas must be one of base, with discriminators" in capsys.readouterr().err


def test_the_published_table_is_that_of_the_published_trials():
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == trials.table(RESULTS)


def test_the_plan_has_the_published_trials_and_their_options():
    plan = yaml.safe_load(Path("tests/recipe/plan.yaml").read_text(encoding="utf-8"))
    made = trials.Trials(plan, train="", dev="", minutes=1.0)
    for path in RESULTS.glob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["options"] == made.options(path.stem), path
