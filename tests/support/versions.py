"""Does the project work on this Python, without extras and with each? `make versions PYTHON=python3.13`; 20 minutes.

The project is installed as a wheel into an environment of its own outside the checkout. There every module is imported,
and a small codec trained and tested. Each extra is then laid over that environment, which stays as it is, and tried by
its own tests; last come all extras together and the quick tests. One table tells how it went. Needs no package, and of
the network only the package registry; an environment takes 6 GB, and goes at the end.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
NAME = "channel-robust-codecs"
PACKED = ["train.py", "pyproject.toml", "README.md", "LICENSE", "codec", "data", "callbacks"]
TOOLS = ["pytest>=8", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "hypothesis>=6.100", "packaging"]
OWN_TESTS = {
    "demo": ["tests/data/sources/demo"],
    "hf": ["tests/codec/hub", "tests/codec/encoders/test_semantic.py", "tests/codec/layers/test_fbank.py"],
    "sweep": ["tests/codec/cli/test_sweep.py"],
    "ray": ["tests/data/prepare"],
    "arrow": ["tests/data/sources/test_huggingface.py", "tests/data/sources/test_recognised.py", "tests/data/shards"],
    "ffmpeg": ["tests/data/sources/test_folder.py", "tests/data/audio/test_decoded.py"],
    "docs": [],  # the manual is built
}
EVERYWHERE = ["tests/integration/test_missing_packages.py"]
QUICK = ["tests/data", "tests/callbacks/output", "tests/callbacks/training", "tests/codec/checkpoints",
         "tests/codec/training", "tests/codec/cli", "tests/codec/test_inputs.py", *EVERYWHERE]  # fmt: skip
SPEECH = "--data.{0} data.FolderSource --data.{0}.init_args.root speech"
SMALL = ["--config", f"{ROOT}/configs/quickstart.yaml", "--config", f"{ROOT}/configs/overlays/debug.yaml",
         *" ".join(SPEECH.format(split) for split in ("train", "val", "test")).split(),
         *"--trainer.max_steps 4 --trainer.val_check_interval 4 --checkpoint.every_n_batches 2".split()]  # fmt: skip
WRITE_SPEECH = "import pathlib, runpy; runpy.run_path({!r})['write_speech'](pathlib.Path('speech'), speakers='ab')"


class Row(NamedTuple):
    """How one environment did: each of the three is a short text, "-" where it was not tried."""

    extra: str
    imports: str = "-"
    runs: str = "-"
    tests: str = "-"


class Version:
    """The environments of one interpreter, below a folder.

    Args:
        python: the interpreter, a name or path.
        folder: where everything is written; `base` and `tools` in it are used again where they are there.
        workers: processes that share the tests.
    """

    def __init__(self, python: str, folder: Path, *, workers: int) -> None:
        self.python, self.folder, self.workers = python, folder, workers
        self.base, self.tools, self.work = folder / "base", folder / "tools", folder / "work"
        self.wheel = folder / f"{NAME}.whl"
        for place in (folder / "logs", self.work):
            place.mkdir(parents=True, exist_ok=True)

    def run(self, log: str, *words: object, cwd: Path | None = None, path: Path | None = None) -> int:
        """Run a command into logs/LOG.txt, with `path` to be looked in for modules; returns its exit status."""
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_MKDOCS_2_WARNING": "1"}
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        with (self.folder / "logs" / f"{log}.txt").open("w", encoding="utf-8") as file:
            return subprocess.run(
                [str(word) for word in words], cwd=cwd or self.work, env=environment, stdout=file, stderr=file
            ).returncode

    def lines(self, log: str) -> list[str]:
        return (self.folder / "logs" / f"{log}.txt").read_text(encoding="utf-8", errors="replace").splitlines()

    def last_line(self, log: str) -> str:
        lines = self.lines(log)
        return lines[-1].strip(" =") if lines else ""

    def must(self, log: str, *words: object, cwd: Path | None = None) -> None:
        if self.run(log, *words, cwd=cwd):
            raise SystemExit(f"{self.python}: {' '.join(map(str, words))} failed: see {self.folder}/logs/{log}.txt")

    def prepare(self) -> None:
        """The base environment: the wheel without extras, and beside it what runs tests."""
        pip = [self.base / "bin/python", "-m", "pip"]
        if not self.base.exists():
            self.must("venv", self.python, "-m", "venv", self.base)
        with tempfile.TemporaryDirectory() as copy:  # building leaves files
            for name in PACKED:
                source, target = ROOT / name, Path(copy, name)
                if source.is_dir():
                    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, target)
            shutil.rmtree(self.folder / "wheel", ignore_errors=True)
            self.must("wheel", *pip, "wheel", "--no-deps", "-w", self.folder / "wheel", copy)
        (self.wheel,) = (self.folder / "wheel").iterdir()
        self.must("install", *pip, "install", self.wheel)
        self.must("again", *pip, "install", "--no-deps", "--force-reinstall", self.wheel)
        if not self.tools.exists():
            self.must("tools", *pip, "install", "--target", self.tools, *TOOLS)

    def overlay(self, extras: list[str]) -> Path | None:
        """The interpreter of an environment with some extras that finds the rest in the base; None if pip fails."""
        place = self.folder / "-".join(extras)
        self.must("venv", self.python, "-m", "venv", "--without-pip", place)
        (packages,) = place.glob("lib/python*/site-packages")
        (beneath,) = self.base.glob("lib/python*/site-packages")
        (packages / "beneath.pth").write_text(f"{beneath}\n")
        python = place / "bin/python"
        wanted = f"{self.wheel}[{','.join(extras)}]"
        return None if self.run(f"install_{place.name}", python, "-m", "pip", "install", wanted) else python

    def imports(self, python: Path, extra: str) -> str:
        """Import every module of the installed project; those that do not say in one sentence what they need count."""
        log = f"imports_{extra}"
        code = (ROOT / "tests/support/every_module.py").read_text(encoding="utf-8")
        if self.run(log, python, "-W", "ignore", "-c", code):
            return f"FAILED: {self.last_line(log)}"
        failed = json.loads(self.last_line(log))
        wrong = [
            module
            for module, (kind, text) in failed.items()
            if kind not in ("MissingDependency", "DataError") or "pip install" not in text or "\n" in text
        ]
        said = f"all but {len(failed)} that name their extra" if failed else "all"
        return f"FAILED: {', '.join(wrong)}" if wrong else said

    def fit_and_test(self, python: Path, extra: str) -> str:
        """Train a small codec for four batches, and test it, with the installed project on files made here."""
        log = f"speech_{extra}"
        if self.run(log, python, "-c", WRITE_SPEECH.format(str(ROOT / "tests/support/speech.py"))):
            return f"FAILED: {self.last_line(log)}"
        shutil.rmtree(self.work / "runs", ignore_errors=True)
        for command, rest in (("fit", []), ("test", ["--ckpt_path", "last"])):
            log = f"{command}_{extra}"
            if self.run(log, python, "-m", "train", command, *SMALL, *rest):
                return f"FAILED: {command}: {self.last_line(log)}"
        return "ok"

    def tests(self, python: Path, extra: str, *paths: str) -> str:
        """Run the quick tests among some of the checkout's."""
        words = ["-n", self.workers, "-p", "no:cacheprovider", "-m", "not slow", "--durations=3", *paths]
        failed = self.run(f"tests_{extra}", python, "-m", "pytest", *words, cwd=ROOT, path=self.tools)
        if not failed:
            return self.last_line(f"tests_{extra}")
        lines = self.lines(f"tests_{extra}")
        names = [line.split(" - ")[0].removeprefix("FAILED ") for line in lines if line.startswith("FAILED ")]
        return "; ".join([f"FAILED: {self.last_line(f'tests_{extra}')}", *names])

    def manual(self, python: Path) -> str:
        words = ["-m", "mkdocs", "build", "--strict", "--site-dir", self.folder / "site"]
        return "FAILED: mkdocs" if self.run("tests_docs", python, *words, cwd=ROOT) else "manual built"

    def row(self, extra: str) -> Row:
        """Try one environment: "none", the name of an extra, or "all"."""
        python = self.base / "bin/python"
        if extra != "none":
            laid = self.overlay([*OWN_TESTS, "dev"] if extra == "all" else [extra])
            if laid is None:
                return Row(extra, "FAILED: pip install")
            python = laid
        imports = self.imports(python, extra)
        runs = self.fit_and_test(python, extra) if extra in ("none", "all") else "-"
        if extra == "docs":
            tests = self.manual(python)
        else:
            own = [path for paths in OWN_TESTS.values() for path in paths]
            chosen = {"none": [*EVERYWHERE, *own], "all": QUICK}
            tests = self.tests(python, extra, *(chosen.get(extra) or OWN_TESTS[extra]))
        if extra != "none":
            shutil.rmtree(python.parents[1])
        return Row(extra, imports, runs, tests)


def main() -> int:
    """Try the interpreters given and print the table; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("python", nargs="+", help="interpreters, such as python3.10")
    parser.add_argument("--folder", type=Path, help="where to work, and what to keep; else a temporary folder")
    parser.add_argument("--extras", nargs="+", default=["none", *OWN_TESTS, "all"], help="rows of the table")
    parser.add_argument("--workers", type=int, default=2, help="processes that share the tests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = []
        for python in options.python:
            asked = [python, "-c", "import platform; print(platform.python_version())"]
            number = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
            version = Version(python, (options.folder or Path(temporary)).resolve() / number, workers=options.workers)
            version.prepare()
            for extra in options.extras:
                rows.append([number, *version.row(extra)])
                print("| " + " | ".join(rows[-1]) + " |", flush=True)
    print("\n| Python | Extra | Imports | Fit and test | Tests |\n|---|---|---|---|---|")
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    return int(any("FAILED" in cell for row in rows for cell in row))


if __name__ == "__main__":
    sys.exit(main())
