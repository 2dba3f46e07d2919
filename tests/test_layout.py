"""Imports go one way: callbacks may import codec, and data and codec never meet."""

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT

OURS = {"codec", "data", "callbacks", "tests", "train"}
MAY_IMPORT = {"codec": {"codec"}, "data": {"data"}, "callbacks": {"callbacks", "codec"}}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_only_what_they_may(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        assert imported(path) & OURS <= MAY_IMPORT[package], path


def test_modules_open_with_what_they_hold():
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_wheel_holds_the_packages_and_nothing_else():
    import tomllib

    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setup["packages"]["find"]["include"] == ["codec*", "data*", "callbacks*"]
    assert setup["py-modules"] == ["train"]
    assert all((ROOT / package / "__init__.py").is_file() for package in MAY_IMPORT)
