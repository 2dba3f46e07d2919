"""ONNX Runtime Web from folders, archives, the cache and a registry; what is not npm's package is refused."""

from __future__ import annotations

import http.client
import io
import json
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from callbacks.report.demo import runtime
from callbacks.report.demo.runtime import UnreachableRegistry, read_runtime
from codec.errors import InvalidValue, UnreadableFile

FILES = {
    "package.json": json.dumps({"version": "9.8.7"}).encode(),
    runtime.SCRIPT: b"export {}",
    runtime.WASM: b"\0asm",
}


def archive(files: Mapping[str, bytes | None] = FILES) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            if content is None:
                entry.type, content = tarfile.DIRTYPE, b""
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A registry whose archive is the pinned one, an empty cache, and the addresses that are asked for."""
    asked: list[str] = []
    packed = archive()

    def answer(address: str, timeout: float) -> io.BytesIO:
        asked.append(address)
        return io.BytesIO(packed)

    monkeypatch.setattr(runtime, "INTEGRITY", runtime._integrity(packed))
    monkeypatch.setattr("urllib.request.urlopen", answer)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    return asked


def test_a_folder_and_an_archive_give_the_same(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / "package" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / name).write_bytes(content)
    (tmp_path / "package.tgz").write_bytes(archive())
    found = read_runtime(tmp_path / "package")
    assert found == read_runtime(tmp_path / "package.tgz") == (b"export {}", b"\0asm", "9.8.7")


@pytest.mark.parametrize(
    "kind", ["missing", "text", "cut", "other package", "empty folder", "damaged", "a folder as member", "folders"]
)
def test_what_is_no_package_is_refused(tmp_path: Path, kind: str) -> None:
    given = tmp_path / "given"
    contents = {"text": b"no archive", "cut": archive()[:60], "other package": archive({"package.json": b"{}"})}
    whole = archive()
    contents["damaged"] = whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]  # its checksum
    contents["a folder as member"] = archive(FILES | {runtime.WASM: None})
    if kind == "empty folder":
        given.mkdir()
    elif kind == "folders":
        for name in FILES:
            (given / name).mkdir(parents=True)
    elif kind in contents:
        given.write_bytes(contents[kind])
    with pytest.raises(UnreadableFile, match=r"npm pack onnxruntime-web@") as caught:
        read_runtime(given)
    assert str(given) in str(caught.value)


def test_the_pinned_version_is_fetched_once(registry: list[str], tmp_path: Path) -> None:
    assert read_runtime() == read_runtime() == read_runtime()
    name = f"onnxruntime-web-{runtime.VERSION}.tgz"
    assert registry == [f"https://registry.npmjs.org/onnxruntime-web/-/{name}"]
    kept = tmp_path / "cache" / "neural-speech-codec" / name
    kept.write_bytes(kept.read_bytes()[:-1])  # damaged
    assert read_runtime().wasm == b"\0asm" and len(registry) == 2
    assert [path.name for path in kept.parent.iterdir()] == [name]


def test_the_user_chooses_the_registry(registry: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "https://mirror.example/npm/")
    read_runtime()
    assert registry == [f"https://mirror.example/npm/onnxruntime-web/-/onnxruntime-web-{runtime.VERSION}.tgz"]
    monkeypatch.setattr(runtime, "INTEGRITY", "sha512-of another")
    with pytest.raises(UnreadableFile, match=r"mirror\.example.*SHA-512"):
        read_runtime()
    monkeypatch.setenv("npm_config_registry", "file:///etc")
    with pytest.raises(InvalidValue, match=r"npm_config_registry file:///etc"):
        read_runtime()


def test_the_terminal_says_what_is_fetched_before_it_is(
    registry: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    fetch = urllib.request.urlopen
    monkeypatch.setattr(
        "urllib.request.urlopen", lambda *a, **k: said.append(capsys.readouterr().err) or fetch(*a, **k)
    )
    read_runtime()
    assert said == [f"Fetching onnxruntime-web {runtime.VERSION}, 33 MB, from {registry[0]}\n"]
    read_runtime()
    assert capsys.readouterr().err == ""


def test_an_address_without_a_port(registry: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")
    monkeypatch.setenv("npm_config_registry", "http://localhost:abc")
    with pytest.raises(UnreachableRegistry, match=r"http://localhost:abc/.* \(nonnumeric port: 'abc'\)"):
        read_runtime()


ERRORS = [
    urllib.error.URLError("no route"),
    TimeoutError("timed out"),
    ValueError("no host"),
    http.client.BadStatusLine("garbage"),
    http.client.IncompleteRead(b"1", 2),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_without_a_network_one_sentence_says_what_to_do(
    registry: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(address: str, timeout: float) -> None:
        raise error

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(UnreachableRegistry, match=r"--onnxruntime-web\.$"):
        read_runtime()
