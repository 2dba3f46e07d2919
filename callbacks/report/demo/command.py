"""The command `--demo`, which makes the page on which one hears codecs behind noisy channels."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from callbacks.report.demo.build import build, common_rate
from callbacks.report.demo.clips import SPOKEN, read_clips
from callbacks.report.demo.runtime import VERSION, read_runtime
from codec.checkpoints.reading import PRETRAINED as CARDS
from codec.checkpoints.reading import load_codec, pretrained
from codec.errors import InvalidValue, UnreadableFile, UserError, counted, first_line

PRETRAINED = {"FSQ": "small_fsq", "RVQ": "small_rvq", "Student": "small_student"}


def make(arguments: Sequence[str]) -> None:
    """Write the page and print its size; what cannot be done gives one sentence and exit status 2."""
    parser = _make_parser()
    chosen = parser.parse_args(arguments)
    try:
        with _output(chosen.output) as write:
            runtime = read_runtime(chosen.onnxruntime_web)
            paths = _named(chosen.codec)
            codecs = {name: load_codec(path) for name, path in paths.items()}
            clips = read_clips(chosen.clips, common_rate(codecs))
            page = build(codecs, clips, runtime, notes=[*_licences(paths.values()), *chosen.notes]).encode()
            write(page)
    except (OSError, UserError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted, no page was written.\n")
    print(
        f"{chosen.output}: {len(page) / 1e6:.1f} MB, {counted(len(codecs), 'codec')}, {counted(len(clips), 'clip')}, "
        f"ONNX Runtime Web {runtime.version}; open it in a browser"
    )


@contextmanager
def _output(path: Path) -> Iterator[Callable[[bytes], None]]:
    """What writes the page, which appears whole or not at all.

    Raises:
        UnreadableFile: the page cannot be written; where that is so from the start, before anything is computed.
    """

    def say(error: OSError) -> UnreadableFile:
        why = error.strerror or first_line(error)
        return UnreadableFile("page", path, f"cannot be written ({why})", "give another file with -o, or free space")

    if path.is_dir():
        raise InvalidValue("page", path, "is a folder", "give a file with -o")
    partial = path.with_name(f".partial-{path.name}")
    try:
        partial.touch()
    except OSError as error:
        raise say(error) from error

    def write(page: bytes) -> None:
        try:
            partial.write_bytes(page)
            partial.replace(path)
        except OSError as error:
            raise say(error) from error

    try:
        yield write
    finally:
        partial.unlink(missing_ok=True)


def _named(codecs: Sequence[str]) -> dict[str, str]:
    """Checkpoints by name, of NAME=CHECKPOINT; the pretrained codecs by default."""
    named: dict[str, str] = {}
    for text in codecs:
        name, equals, path = text.partition("=")
        if not (name and equals and path) or name in named:
            allowed = "must be NAME=CHECKPOINT, each name once"
            raise InvalidValue("--codec", text, allowed, "write, for example, --codec FSQ=small_fsq")
        named[name] = path
    return named or PRETRAINED


def _licences(paths: Iterable[str]) -> list[str]:
    """What the cards of pretrained codecs say of their licence and training data, which a page has to pass on."""
    found = []
    for name in set(paths) & set(pretrained()):
        card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
        said = re.search(r"^- \*\*Licence\*\* (.*?)(?=\n- |\n\n)", card, re.DOTALL | re.MULTILINE)
        assert said, f"the card of {name} states its licence"
        found.append("Licence " + re.sub(r"[*`]|\s*\n\s*", lambda mark: " " if mark[0].isspace() else "", said[1]))
    return sorted(set(found))


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m callbacks.report --demo", description="A page on which one hears codecs behind noisy channels."
    )
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("demo.html"), help="default: demo.html")
    add(
        "--codec", nargs="+", action="extend", default=[], metavar="NAME=CHECKPOINT",
        help=f"default: {' '.join(f'{name}={path}' for name, path in PRETRAINED.items())}",
    )  # fmt: skip
    add(
        "--clips", nargs="+", type=Path, default=[], metavar="FILE",
        help=f"audio files of at most 20 s; default: {len(SPOKEN)} sentences spoken by espeak-ng",
    )  # fmt: skip
    add("--notes", nargs="+", default=[], metavar="TEXT", help="attribution of clips and codecs, shown on the page")
    add(
        "--onnxruntime-web", type=Path, metavar="PATH",
        help=f"folder or .tgz of the npm package; default: version {VERSION} from the cache or the registry",
    )  # fmt: skip
    return parser
