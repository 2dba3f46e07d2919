"""What the project's metadata asks for, what its code imports, and processes in which some packages are hidden."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement

from tests.support.paths import ROOT

ROOMS = ("codec", "data", "callbacks")
IMPORT_NAMES = {"espeakng-loader": ["espeakng_loader"], "mlflow-skinny": ["mlflow"], "pyyaml": ["yaml"],
                "protobuf": ["google"]}  # fmt: skip  # Python 3.10 does not tell of a namespace
HIDE = """
import importlib.machinery, importlib.metadata, sys

def hide(absent):
    class Finder(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            return None if name.split(".")[0] in absent else super().find_spec(name, path, target)

    def distribution(name, found=importlib.metadata.distribution):
        if name in absent:
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    sys.meta_path = [Finder if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
    importlib.metadata.distribution = distribution
"""
# Forks for each case, as starting anew and importing PyTorch takes seconds; prints [status, output] of each.
EACH = """
import json, os, sys, tempfile, traceback
import numpy, scipy.signal, torch

ended = []
for absent, code in CASES:
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            hide(absent)
            try:
                exec(code, {"__name__": "__main__"})
                status = 0
            except BaseException:
                traceback.print_exc()
                status = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        ended.append([status, output.read()])
print(json.dumps(ended))
"""
EVERY_MODULE = (ROOT / "tests/support/every_module.py").read_text(encoding="utf-8")


class Ended(NamedTuple):
    """How a piece of code ended: 0 for well, and what it wrote."""

    status: int
    output: str


def run_without(*cases: tuple[Iterable[str], str]) -> list[Ended]:
    """Run pieces of code, each in a process that finds none of its packages (import names), nor their versions."""
    listed = [[sorted(packages), code] for packages, code in cases]
    script = f"{HIDE}\nCASES = {listed!r}\n{EACH}"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [Ended(*item) for item in json.loads(done.stdout.splitlines()[-1])]


@cache
def metadata() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return toml.loads((ROOT / "pyproject.toml").read_text())["project"]


def extras() -> dict[str, list[str]]:
    """The requirements of each extra."""
    return metadata()["optional-dependencies"]


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def modules_of(distribution: str) -> tuple[str, ...]:
    """What a distribution is imported as."""
    return tuple(IMPORT_NAMES.get(distribution) or _installed().get(distribution) or [distribution.replace("-", "_")])


@cache
def _installed() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for module, names in importlib.metadata.packages_distributions().items():
        for name in names:
            found.setdefault(normal(name), []).append(module)
    return found


def closure(requirements: Iterable[str]) -> set[str]:
    """Distributions that installing the requirements brings along here, themselves included."""
    found: set[str] = set()
    waiting: list[tuple[Requirement, str]] = [(Requirement(line), "") for line in requirements]
    seen = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        key = normal(requirement.name), tuple(sorted(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(key[0])
        try:
            lines = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [(Requirement(line), extra) for line in lines for extra in (*requirement.extras, "")]
    return found


def modules_without(extra_names: Iterable[str]) -> set[str]:
    """Import names that are absent where only the dependencies and the other extras are installed."""
    without = set(extra_names)
    kept = closure(
        [*metadata()["dependencies"], *(r for name, rs in extras().items() if name not in without for r in rs)]
    )
    left_out = closure(r for name in without for r in extras()[name]) - kept
    kept_modules = {module for name in kept for module in modules_of(name)}  # some share a namespace, such as `google`
    return {module for name in left_out for module in modules_of(name)} - kept_modules


def third_party_imports(*, top_level: bool) -> dict[str, set[str]]:
    """{import name: our files} of other people's packages: those that importing a file needs, or all.

    Imports in functions, in a `try` and under TYPE_CHECKING are not needed by the import.
    """
    found: dict[str, set[str]] = {}
    files = [ROOT / "train.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    for file in files:
        for name in _imports(ast.parse(file.read_text(encoding="utf-8")), top_level=top_level):
            if name not in sys.stdlib_module_names and name not in (*ROOMS, "train"):
                found.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    return found


def _imports(node: ast.AST, *, top_level: bool) -> Iterable[str]:
    later = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Try)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield (child.module or "").split(".")[0]
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("import_module") and not top_level:
            yield from (str(a.value).split(".")[0] for a in child.args if isinstance(a, ast.Constant))
        guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not (top_level and (isinstance(child, later) or guarded)):
            yield from _imports(child, top_level=top_level)
