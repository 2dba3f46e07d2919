"""Inputs and outputs of a command: one file, a folder's files, or pipes; each output whole or not there at all."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from codec.errors import InvalidValue, UnreadableFile, UserError, first_line

PIPE = "-"


class Job(NamedTuple):
    """One input and where its output goes.

    Attributes:
        source: path, or "-" for standard input.
        target: path, or "-" for standard output.
        clip_id: for the draws of channels: of a folder's file its path in the folder without its suffix.
    """

    source: str
    target: str
    clip_id: str = "stream"


def list_jobs(source: str, target: str, suffixes: Sequence[str], new_suffix: str) -> list[Job]:
    """One job for a file, or one for each file of a folder with one of the suffixes, its subfolders included.

    Args:
        source: file, folder, or "-".
        target: file or "-" for a file, else a folder, made if missing; files in it keep their relative paths.
        suffixes: of inputs in folders, in lower case.
        new_suffix: of outputs in folders.

    Raises:
        UnreadableFile: there is no such file or folder, or the folder has no input.
        InvalidValue: two inputs would have one output, or input and output are one file.
    """
    if source != PIPE and Path(source).is_dir():
        return _folder_jobs(Path(source), target, suffixes, new_suffix)
    if source != PIPE and not Path(source).exists():
        raise UnreadableFile("There is no file or folder", source, remedy="give one, or - for standard input")
    if target != PIPE and Path(target).is_dir():
        if source == PIPE:
            raise InvalidValue("OUT", target, "is a folder", "give a file, or - for standard output")
        target = str(Path(target) / (Path(source).stem + new_suffix))
    if PIPE not in (source, target) and Path(target).exists() and os.path.samefile(source, target):
        raise InvalidValue("OUT", target, "is the input", "give another file")
    return [Job(source, target)]


def _folder_jobs(folder: Path, target: str, suffixes: Sequence[str], new_suffix: str) -> list[Job]:
    if target == PIPE or Path(target).is_file():
        raise InvalidValue("OUT", target, "must be a folder, as the input is one")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not found:
        raise UnreadableFile("The folder", folder, f"has no file ending in {', '.join(suffixes)}", "give another one")
    jobs: dict[str, str] = {}
    for path in found:
        output = str(Path(target) / path.relative_to(folder).with_suffix(new_suffix))
        if output in jobs:
            raise InvalidValue(f"{jobs[output]} and {path}", None, f"would both be written to {output}", "rename one")
        jobs[output] = str(path)
    names = (Path(each).relative_to(folder).with_suffix("").as_posix() for each in jobs.values())
    return [Job(source, output, name) for (output, source), name in zip(jobs.items(), names, strict=True)]


def run_jobs(jobs: Sequence[Job], work: Callable[[Job], str]) -> int:
    """Do all jobs; of several, one that fails is told, and the others go on.

    Returns:
        The exit status: 0, or 2 where one failed.
    """
    if len(jobs) == 1:
        told = work(jobs[0])
        print(told, file=sys.stderr if jobs[0].target == PIPE else sys.stdout, flush=True)
        return 0
    failed = 0
    for job in tqdm(jobs, unit="file", disable=None, leave=False):
        try:
            tqdm.write(work(job), file=sys.stdout)
        except UserError as error:
            failed += 1
            tqdm.write(f"{job.source}: {error}", file=sys.stderr)
        except Exception as error:  # the others go on
            failed += 1
            tqdm.write(f"{job.source}: {type(error).__name__}: {first_line(error)}", file=sys.stderr)
    print(f"{len(jobs) - failed} of {len(jobs)} files written" + (f", {failed} failed" if failed else ""), flush=True)
    return 2 if failed else 0


@contextmanager
def reading(source: str) -> Iterator[BinaryIO]:
    """A file or standard input, open for reading bytes.

    Raises:
        UnreadableFile: it cannot be opened.
    """
    if source == PIPE:
        yield standard("stdin")
        return
    try:
        file = open(source, "rb")  # noqa: SIM115
    except OSError as error:
        raise UnreadableFile(source, None, f"cannot be read ({error.strerror})", "give another file") from error
    with file:
        yield file


@contextmanager
def writing(target: str) -> Iterator[Path | BinaryIO]:
    """Standard output, a device or pipe, or the path of a file that takes the place of `target` when whole."""
    if target == PIPE:
        yield standard("stdout")
        return
    path = Path(os.path.realpath(target))
    if path.exists() and not path.is_file():
        with open(path, "wb") as file:
            yield file
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as error:
        raise UnreadableFile(target, None, f"cannot be written ({error.strerror})", "give another path") from error
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UnreadableFile(target, None, f"cannot be written ({error.strerror})", "free some space") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing_bytes(target: str) -> Iterator[BinaryIO]:
    """As `writing`, open for writing bytes."""
    with writing(target) as place:
        if isinstance(place, Path):
            with open(place, "w+b") as file:
                yield file
        else:
            yield place


def standard(name: str) -> BinaryIO:
    """Standard input or output, "stdin" or "stdout", for bytes.

    Raises:
        UnreadableFile: it is closed.
    """
    stream = getattr(sys, name)
    if stream is None:
        raise UnreadableFile(f"{name} is closed", remedy="give a file in place of -")
    buffer: BinaryIO = stream.buffer
    return buffer


def progress(total: float | None, *, what: str) -> tqdm:
    """A bar of seconds of audio on a terminal, after a few seconds of work."""
    return tqdm(total=total, desc=what, unit="s", unit_scale=True, disable=None, delay=3.0, leave=False)
