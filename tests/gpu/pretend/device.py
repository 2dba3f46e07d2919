"""What a stretch of a program asks of the pretend GPU: launches, products, copies, synchronisations and memory."""

import ctypes
import os
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.gpu.pretend.operations import calls

ROOT = Path(__file__).parents[3]
COUNTERS = (
    "launches",
    "products",
    "synchronisations",
    "copies_to_device",
    "copies_to_host",
    "copies_on_device",
)


@dataclass
class Counts:
    """What was counted; memory in bytes of the caching allocator, without CUDA's context and cuDNN's workspaces.

    Attributes:
        launches: kernels, without those of cuBLAS, cuDNN and cuFFT.
        products: matrix products of cuBLAS.
        library_calls: of cuDNN and cuFFT.
        synchronisations: halts of the program until the device is done, of any kind.
        lines: how often each line of the program (innermost of this project, and of all) has asked for one.
        kernels: how often each kernel was launched, the most frequent first.
        memory_before: allocated at the start.
        memory_peak: largest allocated.
        memory_reserved: largest reserved from the card.
    """

    launches: int = 0
    products: int = 0
    library_calls: int = 0
    synchronisations: int = 0
    copies_to_device: int = 0
    copies_to_host: int = 0
    copies_on_device: int = 0
    lines: dict[str, int] = field(default_factory=dict)
    kernels: dict[str, int] = field(default_factory=dict)
    memory_before: int = 0
    memory_peak: int = 0
    memory_reserved: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def library() -> ctypes.CDLL:
    """The stubs that this process has loaded."""
    return ctypes.CDLL(f"{os.environ['PRETEND_GPU']}/libpretend.so")


def kernels() -> Counter[str]:
    """Launches of each kernel since the process began."""
    with tempfile.NamedTemporaryFile() as file:
        library().pretend_write_kernels(file.name.encode())
        lines = [line.decode().split(maxsplit=1) for line in Path(file.name).read_bytes().splitlines()]
    found: Counter[str] = Counter({"elementwise, compiled at run time": calls["elementwise"]})
    for count, name in lines:
        found[name] += int(count)
    return found


def counters() -> Counter[str]:
    """The counters since the process began."""
    stub = library()
    found = Counter({name: ctypes.c_long.in_dll(stub, f"pretend_{name}").value for name in COUNTERS})
    found["launches"] += calls["elementwise"]
    found["library_calls"] = calls["cudnn"] + calls["cufft"]
    return found


class Recorder:
    """Counts from `start` to `stop`."""

    def __init__(self) -> None:
        self._before: Counter[str] = Counter()
        self._kernels: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        self._memory = 0
        self._recording = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, PyTorch reports synchronisations, as warnings that are recorded instead of shown."""
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if "synchroniz" not in str(message):
                usual(message, category, *place)
            elif self._recording:
                self._lines[asking_line()] += 1

        warnings.filterwarnings("always", message=".*synchroniz.*")
        warnings.showwarning = show  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
            warnings.showwarning = usual

    def start(self) -> None:
        torch.cuda.reset_peak_memory_stats()
        self._memory = torch.cuda.memory_allocated()
        self._lines.clear()
        self._recording = True
        self._kernels = kernels()
        self._before = counters()

    def stop(self) -> Counts:
        found = {name: count - self._before[name] for name, count in counters().items()}
        self._recording = False
        return Counts(
            **found,
            lines=dict(self._lines.most_common()),
            kernels=dict((kernels() - self._kernels).most_common()),
            memory_before=self._memory,
            memory_peak=torch.cuda.max_memory_allocated(),
            memory_reserved=torch.cuda.max_memory_reserved(),
        )


def asking_line() -> str:
    """The project's innermost line on the stack, and the innermost of all where that is a library's."""
    stack = [frame for frame in traceback.extract_stack() if "warnings.py" not in frame.filename]
    stack = [frame for frame in stack if str(Path(__file__).parent) not in frame.filename]
    own = [frame for frame in stack if Path(frame.filename).is_relative_to(ROOT)]
    last = stack[-1]
    library = f"{'/'.join(Path(last.filename).parts[-3:])}:{last.lineno} {last.name}"
    if not own:
        return library
    place = own[-1]
    shown = f"{Path(place.filename).relative_to(ROOT)}:{place.lineno} {place.name}: {place.line}"
    return shown if place is last else f"{shown} [{library}]"
