"""Machines without some packages: the rooms import and a codec trains; what needs a package says so in one sentence."""

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

ABSENT = ["jsonargparse", "soundfile", "safetensors", "transformers", "pesq", "pystoi", "matplotlib", "tensorboard",
          "optuna"]  # fmt: skip
WATCHERS = "CodecEMA, CodebookUsage, RunCheckpoint, Throughput"
TRAINING = f"""
from callbacks import {WATCHERS}
from tests.support.training import VoiceData, quiet_trainer, tiny_module
quiet_trainer(max_steps=1, callbacks=[CodecEMA(), Throughput()]).fit(tiny_module(), VoiceData())
"""


HIDE = """
import importlib.machinery, importlib.metadata, sys

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in ABSENT else super().find_spec(name, path, target)

def distribution(name, found=importlib.metadata.distribution):
    if name in ABSENT:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)

sys.meta_path = [Finder if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
importlib.metadata.distribution = distribution
"""


def run_without(packages: list[str], code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that finds none of the packages, neither their modules nor their versions."""
    needs = {"safetensors": ["transformers"]}  # a package that cannot be there either
    absent = [*packages, *(other for package in packages for other in needs.get(package, []))]
    hidden = f"ABSENT = {absent!r}\n{HIDE}\n"
    return subprocess.run([sys.executable, "-c", hidden + code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("package", ABSENT)
def test_everything_imports_without_a_package(package):
    done = run_without([package], "import codec, data, callbacks")
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_codec_trains_without_any_of_them():
    done = run_without(ABSENT, "import codec, data, callbacks\n" + TRAINING)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(("package", "code", "kind", "sentence"), [
    ("soundfile", "from data.audio.reading import probe as use; file = 'README.md'", "data.DataError",
     "Audio files need the soundfile package: pip install soundfile."),
    ("safetensors", "from codec import load_codec as use; file = 'small_fsq'", "codec.MissingDependency",
     "A .safetensors file needs the safetensors package: pip install safetensors."),
])  # fmt: skip
def test_what_needs_a_package_says_so_in_one_sentence(package, code, kind, sentence):
    use = f"import codec, data\n{code}\ntry:\n    use(file)\nexcept {kind} as error:\n    print(error)"
    assert run_without([package], use).stdout.strip() == sentence
