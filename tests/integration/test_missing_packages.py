"""Without some packages every module imports and a codec trains; what needs a package says so in one sentence."""

import json
import sys

import pytest
from packaging.requirements import Requirement

from tests.support.packages import (
    EVERY_MODULE,
    extras,
    metadata,
    modules_of,
    modules_without,
    normal,
    run_without,
    third_party_imports,
)

ABSENT = ["jsonargparse", "soundfile", "safetensors", "transformers", "pesq", "pystoi", "matplotlib", "tensorboard",
          "optuna"]  # fmt: skip
NOT_HERE = {
    "triton": "comes with torch where there are GPUs, the only place that imports it",
    "neptune": "of the users who have chosen its logger, which Lightning imports first",
}
BROUGHT = {"safetensors": ["transformers"]}  # a package that cannot be there either
WATCHERS = "CodecEMA, CodebookUsage, RunCheckpoint, Throughput"
TRAINING = f"""
from callbacks import {WATCHERS}
from tests.support.training import VoiceData, quiet_trainer, tiny_module
quiet_trainer(max_steps=1, callbacks=[CodecEMA(), Throughput()]).fit(tiny_module(), VoiceData())
"""


@pytest.mark.slow
def test_everything_imports_without_a_package():
    groups = [[package, *BROUGHT.get(package, [])] for package in ABSENT]
    for packages, ended in zip(
        groups, run_without(*((g, "import codec, data, callbacks") for g in groups)), strict=True
    ):
        assert ended.status == 0, f"{packages}: {ended.output[-2000:]}"


def test_a_codec_trains_without_any_of_them():
    (ended,) = run_without((ABSENT, "import codec, data, callbacks\n" + TRAINING))
    assert ended.status == 0, ended.output[-2000:]


def test_every_module_imports_without_all_extras_or_says_what_it_needs():
    check_modules([tuple(extras())])


@pytest.mark.slow
def test_every_module_imports_without_an_extra_or_says_what_it_needs():
    check_modules([(name,) for name in extras()])


def check_modules(groups):
    """Every module imports without the extras of a group, or raises one sentence of ours with the remedy."""
    for group, ended in zip(groups, run_without(*((modules_without(g), EVERY_MODULE) for g in groups)), strict=True):
        assert ended.status == 0, f"{group}: {ended.output[-2000:]}"
        failed = json.loads(ended.output.splitlines()[-1])
        for module, (kind, message) in failed.items():
            if module == "codec.layers.anti_aliased_triton" and "triton" in message:
                continue
            assert kind in ("MissingDependency", "DataError"), f"{group}: {module}: {kind}: {message}"
            assert "pip install" in message and "\n" not in message, f"{group}: {module}: {message}"
        assert ("codec.cli.sweeps.worker" in failed) == ("sweep" in group)  # the packages are hidden indeed


def test_the_dependencies_are_what_the_code_imports():
    stated = {normal(Requirement(line).name) for line in metadata()["dependencies"]}
    provided = {module for name in stated for module in modules_of(name)}
    needed = third_party_imports(top_level=True)
    assert {name: files for name, files in needed.items() if name not in {*provided, *NOT_HERE}} == {}
    used = third_party_imports(top_level=False)
    assert {name for name in stated if not set(modules_of(name)) & set(used)} == set()


def test_what_functions_import_is_a_dependency_or_in_an_extra():
    stated = [*metadata()["dependencies"], *(r for requirements in extras().values() for r in requirements)]
    provided = {module for line in stated for module in modules_of(normal(Requirement(line).name))}
    brought = {"huggingface_hub"}  # by transformers
    found = third_party_imports(top_level=False)
    assert {name: files for name, files in found.items() if name not in {*provided, *brought, *NOT_HERE}} == {}


SENTENCES = [
    ("soundfile", "from data.audio.reading import probe as use; file = 'README.md'",
     "DataError: Audio files need the soundfile package: pip install soundfile."),
    ("safetensors", "from codec import load_codec as use; file = 'small_fsq'",
     "MissingDependency: A .safetensors file needs the safetensors package: pip install safetensors."),
    ("transformers", "from codec import TransformersCodec as use; file = 'README.md'",
     "MissingDependency: A third-party codec needs the transformers package: pip install '.[hf]'."),
    ("optuna", "import importlib; use = importlib.import_module; file = 'codec.cli.sweeps.study'",
     "MissingDependency: Sweeps need the optuna package: pip install '.[sweep]'."),
    ("espeakng_loader", "from data import make_demo_corpus as use; file = '/nonexistent'",
     "DataError: espeak-ng speaks the demo corpus and is not installed: pip install '.[demo]'."),
    ("jiwer", "import callbacks; use = getattr(callbacks, 'CharacterErrorRate'); file = None",
     "MissingDependency: CharacterErrorRate needs the package jiwer: pip install '.[asr]'."),
    ("pocketsphinx", "import callbacks; use = getattr(callbacks, 'WordErrorRate'); file = None",
     "MissingDependency: PocketSphinx needs the package pocketsphinx: pip install '.[asr]'."),
    ("resemblyzer", "import callbacks; use = getattr(callbacks, 'SpeakerSimilarity'); file = None",
     "MissingDependency: Resemblyzer needs the package resemblyzer: pip install '.[speaker]'."),
    ("speechmos", "import callbacks; use = getattr(callbacks, 'DNSMOS'); file = 'overall'",
     "MissingDependency: DNSMOS needs the packages speechmos and onnxruntime: pip install '.[mos]'."),
    ("distillmos", "from callbacks import DistillMOS\ndef use(file): DistillMOS()\nfile = ''",
     "MissingDependency: DistillMOS needs the package distillmos: pip install '.[mos]'."),
    ("sounddevice", "from codec.transport.live.devices import Microphone as use; file = 16_000",
     "MissingDependency: The microphone needs the package sounddevice: pip install '.[live]'."),
    ("visqol", "from callbacks import ViSQOL\ndef use(file): ViSQOL()\nfile = ''",
     "MissingDependency: ViSQOL needs the package visqol: pip install '.[visqol]'."),
    ("onnxscript", "from codec import load_codec\nfrom codec.hub.onnx import export_onnx\n"
     "def use(file): export_onnx(load_codec(file), '/nonexistent')\nfile = 'small_fsq'",
     "MissingDependency: The export to ONNX needs the package onnxscript: pip install '.[onnx]'."),
]  # fmt: skip


@pytest.mark.slow
def test_what_needs_a_package_says_so_in_one_sentence():
    use = "\ntry:\n    use(file)\nexcept ValueError as error:\n    print(f'{type(error).__name__}: {error}')"
    cases = [([package, *BROUGHT.get(package, [])], code + use) for package, code, _ in SENTENCES]
    for (_, _, sentence), ended in zip(SENTENCES, run_without(*cases), strict=True):
        assert ended.output.strip() == sentence


def test_python_is_one_that_the_metadata_allows():
    from packaging.specifiers import SpecifierSet

    assert ".".join(map(str, sys.version_info[:2])) in SpecifierSet(metadata()["requires-python"])


LOGGERS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow", "CometLogger": "comet-ml"}
EACH = f"""
import sys, train
for logger in {sorted(LOGGERS)}:
    sys.argv = ["train.py", "fit", "--config", "configs/quickstart.yaml", "--trainer.accelerator", "cpu",
                "--trainer.logger", "lightning.pytorch.loggers." + logger]
    try:
        train.main()
    except SystemExit as end:
        print(logger, end.code, file=sys.stderr)
"""


@pytest.mark.slow
def test_a_logger_without_its_package_names_it():
    hidden = [package.replace("-", "_") for package in LOGGERS.values()]
    ((_, said),) = run_without((hidden, EACH))
    for logger, package in LOGGERS.items():
        assert f"{logger} needs {package}" in said and f"pip install '{package}" in said, said
        assert f"{logger} 2" in said.splitlines()
    assert "Traceback" not in said
