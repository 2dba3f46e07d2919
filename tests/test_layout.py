"""Rooms: imports go one way and in no circle, folders and modules stay small enough to read."""

import ast
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

OURS = {"codec", "data", "callbacks", "tests", "train"}
MAY_IMPORT = {"codec": {"codec"}, "data": {"data"}, "callbacks": {"callbacks", "codec"}}
# A room imports only rooms that stand before it.
ROOMS = {
    "codec": (
        "errors layers quantizers channels encoders decoders codec checkpoints training transport hub cli __main__"
    ).split(),
    "callbacks": "metrics scoring figures output channel analysis training report".split(),
    "data": "errors audio sampling sources datasets shards datamodule prepare features".split(),
}
ENTRIES = {"codec": 12, "callbacks": 10, "data": 10, "configs": 10}
LINES = 300


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in MAY_IMPORT for path in files(package)}


def imported(path: Path) -> set[str]:
    """Dotted names of all that a file imports, also in functions and for types."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(path: Path) -> set[str]:
    """Those of our modules that a file imports: `from codec.codec import NeuralCodec` imports `codec.codec`."""
    found = set()
    for name in imported(path):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found.add(name)
    return found - {"", module_name(path)}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules of which each imports every other, directly or through others."""
    reachable = {name: set(targets) for name, targets in graph.items()}
    for middle in graph:
        for targets in reachable.values():
            if middle in targets:
                targets |= reachable[middle]
    return sorted({tuple(sorted(n for n in reachable[name] if name in reachable[n]))
                   for name in graph if name in reachable[name]})  # fmt: skip


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_only_what_they_may(package):
    for path in files(package):
        assert {name.split(".")[0] for name in imported(path)} & OURS <= MAY_IMPORT[package], path


@pytest.mark.parametrize("package", sorted(ROOMS))
def test_rooms_import_only_rooms_before_them(package):
    order = {f"{package}.{room}": place for place, room in enumerate(ROOMS[package])}
    back = []
    for name, path in MODULES.items():
        room = ".".join(name.split(".")[:2])
        if not name.startswith(f"{package}."):
            continue
        assert room in order, f"{room} has no place in the order of rooms"
        for target in imported_modules(path):
            other = ".".join(target.split(".")[:2])
            if target.split(".")[0] == package and other != room and order.get(other, len(order)) > order[room]:
                back.append(f"{name} imports {target}")
    assert not back


def test_no_modules_import_each_other_in_a_circle():
    """Imports in functions and under TYPE_CHECKING count."""
    assert not circles({name: imported_modules(path) for name, path in MODULES.items()})


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [("b", "c")]


@pytest.mark.parametrize("folder", sorted(ENTRIES))
def test_folders_have_few_entries(folder):
    names = {path.name for path in (ROOT / folder).iterdir()} - {
        "py.typed",
        "__pycache__",
        "__init__.py",
        "__main__.py",
    }
    assert len(names) <= ENTRIES[folder], sorted(names)


def test_modules_are_short_and_open_with_what_they_hold():
    for path in MODULES.values():
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), path
        assert text.count("\n") <= LINES, path


def test_wheel_holds_the_packages_and_nothing_else():
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    setup = toml.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setup["packages"]["find"]["include"] == ["codec*", "data*", "callbacks*"]
    assert setup["py-modules"] == ["train"]
    assert all((ROOT / package / "__init__.py").is_file() for package in MAY_IMPORT)
