"""The command `--demo`, which makes the page on which one hears codecs behind noisy channels."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from callbacks.report.demo.build import build, common_rate
from callbacks.report.demo.clips import SPOKEN, read_clips
from callbacks.report.demo.runtime import VERSION, read_runtime
from codec.checkpoints.reading import PRETRAINED as CARDS
from codec.checkpoints.reading import load_codec, pretrained
from codec.errors import InvalidValue, UserError, counted

PRETRAINED = {"FSQ": "small_fsq", "RVQ": "small_rvq", "Student": "small_student"}


def make(arguments: Sequence[str]) -> None:
    """Write the page and print its size; what cannot be done gives one sentence and exit status 2."""
    parser = _make_parser()
    chosen = parser.parse_args(arguments)
    try:
        runtime = read_runtime(chosen.onnxruntime_web)
        paths = _named(chosen.codec)
        codecs = {name: load_codec(path) for name, path in paths.items()}
        clips = read_clips(chosen.clips, common_rate(codecs))
        page = build(codecs, clips, runtime, notes=[*_licences(paths.values()), *chosen.notes]).encode()
        chosen.output.write_bytes(page)
    except (OSError, UserError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(
        f"{chosen.output}: {len(page) / 1e6:.1f} MB, {counted(len(codecs), 'codec')}, {counted(len(clips), 'clip')}, "
        f"ONNX Runtime Web {runtime.version}; open it in a browser"
    )


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
