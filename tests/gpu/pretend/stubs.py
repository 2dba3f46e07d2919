"""Compiles the stubs of CUDA runtime, cuBLAS and driver, and states the environment that loads them."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).parent
LIBRARY = "libpretend.so"  # one for all; the driver is a link to it
GIB = 2**30
BYTES = 1000 * GIB  # of the pretend card, more than any step needs


def unavailable() -> str:
    """Why there can be no pretend GPU here; empty where there can."""
    import torch

    if torch.version.cuda is None:
        return "torch is built without CUDA"
    if torch.cuda.is_available() and not os.environ.get("PRETEND_GPU"):
        return "there is a real GPU, whose driver the stubs would replace"
    if compiler() is None:
        return "there is no C compiler (cc)"
    return "" if find_header("cuda_runtime_api.h") and find_header("crt/host_config.h") else "there are no CUDA headers"


def compiler() -> str | None:
    """Path of the C compiler."""
    return shutil.which("cc") or shutil.which("gcc")


def find_header(name: str) -> Path | None:
    """The folder of CUDA's headers that holds `name`: of a package beside torch, or of the machine."""
    return next((folder for folder in _include_folders() if (folder / name).is_file()), None)


def _include_folders() -> Iterator[Path]:
    for package in ("nvidia", "triton"):
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            yield from sorted(path.parent for path in Path(root).rglob("cuda_runtime_api.h"))
    yield from (Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include",)


def build() -> Path:
    """The folder with the compiled stubs, made on first use; its name is a function of their sources."""
    sources = sorted(SOURCES.glob("*.c"))
    key = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"pretend_gpu_{os.getuid()}_{key}"
    library, driver = folder / LIBRARY, folder / "libcuda.so.1"
    if driver.exists():
        return folder
    folder.mkdir(exist_ok=True)
    headers = dict.fromkeys(
        [find_header("cuda_runtime_api.h"), find_header("crt/host_config.h")]
    )  # torch's version first
    options = ["-w", "-std=gnu11", "-shared", "-fPIC", "-O1", *(f"-I{path}" for path in headers if path)]
    partial = folder / f"{LIBRARY}.{os.getpid()}"
    subprocess.run([str(compiler()), *options, *map(str, sources), "-o", str(partial)], check=True)
    partial.replace(library)  # whole at once: another process may be building it too
    with contextlib.suppress(FileExistsError):
        driver.symlink_to(LIBRARY)
    return folder


def environment(folder: Path, card_bytes: int = BYTES) -> dict[str, str]:
    """Variables of the environment of a process that is to have the pretend GPU."""
    return {
        "PRETEND_GPU": str(folder),
        "PRETEND_GPU_BYTES": str(card_bytes),
        "LD_PRELOAD": str(folder / LIBRARY),
        "LD_LIBRARY_PATH": str(folder),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
