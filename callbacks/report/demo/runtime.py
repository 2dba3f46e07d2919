"""ONNX Runtime Web, which runs the models in the page: from a given package, the cache, or npm's registry."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import io
import json
import os
import sys
import tarfile
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from codec.errors import InvalidValue, UnreadableFile, first_line

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # npm's
REGISTRY = "https://registry.npmjs.org"
SETTINGS = ("npm_config_registry", "NPM_CONFIG_REGISTRY")  # npm reads both
SCRIPT, WASM = "dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"
SIZE = 33e6  # bytes of the archive, about
LARGEST = 200e6  # bytes that are read of an archive


class Runtime(NamedTuple):
    """The runtime's JavaScript module and WebAssembly, and its version."""

    script: bytes
    wasm: bytes
    version: str


class UnreachableRegistry(UnreadableFile):
    """The package is neither in the cache nor to be had from the registry."""


def read_runtime(given: Path | None = None) -> Runtime:
    """The runtime of a package's folder or `.tgz`; by default of the pinned version, kept in the user's cache.

    Raises:
        UnreadableFile: what is given is no such package, or what was downloaded is not what npm published.
        UnreachableRegistry: there is nothing in the cache and no network.
    """
    if given is None:
        return _from_archive(_pinned(), f"{PACKAGE} {VERSION}")
    if given.is_dir():
        return _collect(lambda name: (given / name).read_bytes(), str(given))
    try:
        return _from_archive(given.read_bytes(), str(given))
    except OSError as error:
        raise _unusable(str(given), error.strerror or "cannot be read") from error


def _from_archive(archive: bytes, source: str) -> Runtime:
    try:
        content = gzip.decompress(archive)  # to its end, where the checksum is: reading members stops before it
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as opened:

            def read(name: str) -> bytes:
                file = opened.extractfile(f"package/{name}")
                if file is None:
                    raise IsADirectoryError(f"{name} is no file")
                return file.read()

            return _collect(read, source)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise _unusable(source, f"is no archive of npm ({first_line(error)})") from error


def _collect(read: Callable[[str], bytes], source: str) -> Runtime:
    try:
        version = str(json.loads(read("package.json"))["version"])
        return Runtime(read(SCRIPT), read(WASM), version)
    except PermissionError as error:
        raise _unusable(source, f"cannot be read ({first_line(error)})") from error
    except (KeyError, ValueError, TypeError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise _unusable(source, f"holds no package.json, {SCRIPT} and {WASM} of {PACKAGE}") from error


def _unusable(source: str, why: str) -> UnreadableFile:
    remedy = f"give the folder node_modules/{PACKAGE}, or the file that `npm pack {PACKAGE}@{VERSION}` writes"
    return UnreadableFile(source, allowed=why, remedy=remedy)


def _pinned() -> bytes:
    """The archive of the pinned version, from the cache or the registry."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neural-speech-codec"
    kept = caches / f"{PACKAGE}-{VERSION}.tgz"
    if kept.is_file() and _integrity(archive := kept.read_bytes()) == INTEGRITY:
        return archive
    archive = _download()
    try:
        caches.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(archive)
        partial.replace(kept)
    except OSError:
        pass  # the next page downloads it again
    return archive


def _download() -> bytes:
    registry = next(filter(None, map(os.environ.get, SETTINGS)), REGISTRY)
    address = f"{registry.rstrip('/')}/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"
    if not address.startswith(("https://", "http://")):
        raise InvalidValue("npm_config_registry", registry, "must be an address of http or https", "unset it")
    print(f"Fetching {PACKAGE} {VERSION}, {SIZE / 1e6:.0f} MB, from {address}", file=sys.stderr, flush=True)
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            archive = bytes(answer.read(int(LARGEST)))
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
    ) as error:  # urllib's errors are OSErrors
        why = getattr(error, "reason", None) or first_line(error)
        raise UnreachableRegistry(
            f"{PACKAGE} {VERSION}",
            allowed=f"is not in the cache and cannot be fetched from {address} ({why})",
            remedy=f"run `npm pack {PACKAGE}@{VERSION}` where there is a network and give its file with "
            f"--onnxruntime-web",
        ) from error
    if _integrity(archive) != INTEGRITY:
        raise UnreadableFile(
            address,
            allowed="is not what npm published: its SHA-512 differs",
            remedy="set npm_config_registry to a registry that you trust, or give the package with --onnxruntime-web",
        )
    return archive


def _integrity(archive: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(archive).digest()).decode()}"
