"""Fills quoted scores in Markdown from the logged files: `python -m callbacks.report.quoted [FILE...] [--check]`.

What stands between two invisible comments is written anew; `quoted_figures` explains the references in them:

    STOI <!-- score codecs FSQ stoi bsc-0 -->0.779<!-- / --> without errors

    <!-- table codecs rows FSQ RVQ columns bsc-0 bsc-0.1 of stoi ± -->
    | STOI, bits flipped | 0 | 10 % |
    ...
    <!-- /table -->

A sentence of RESULTS.md's summary is quoted by its name, `<!-- sentence assignment -->...<!-- / -->`, and a table of
its first section by its own, `<!-- table results parts -->`. A figure of others stays as it is typed, with its source:
`<!-- published Llasa, table 1 -->0.92<!-- / -->`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from callbacks.report.quoted_figures import Figures
from codec.errors import InvalidValue, UnreadableFile, UserError

FILES = ("README.md", "docs/*.md", "codec/checkpoints/pretrained/*.md")
FENCE = re.compile(r"^ *(```+).*?^ *\1 *$", re.M | re.S)
OPENING = re.compile(r"<!-- (score|sentence|table|published)\b *(.*?) *-->")
INLINE_END, BLOCK_END = "<!-- / -->", "<!-- /table -->"


def fill(text: str, figures: Figures, *, name: str) -> str:
    """The text with every score and table of its markers as the files have it; fenced code stays as it is.

    Raises:
        UserError: a marker is out of place or its reference leads nowhere; `name` and the line stand in front.
    """
    parts, place = [], 0
    for opening, end in _spans(text, name):
        try:
            new = _content(opening, figures, text[opening.end() : end])
        except UserError as error:
            raise type(error)(
                f"{_at(text, opening, name)}: {error.what}", error.value, error.allowed, error.remedy
            ) from error
        parts += [text[place : opening.end()], new]
        place = end
    return "".join([*parts, text[place:]])


def without_quotes(text: str, *, name: str) -> str:
    """The text without what its markers enclose and without fenced code: what was typed."""
    parts, place = [], 0
    for opening, end in _spans(text, name):
        parts.append(text[place : opening.start()])
        place = end
    return FENCE.sub("", "".join([*parts, text[place:]]))


def _spans(text: str, name: str) -> Iterator[tuple[re.Match[str], int]]:
    """Every opening marker outside fenced code, and where its content ends."""
    code = [match.span() for match in FENCE.finditer(text)]
    for opening in OPENING.finditer(text):
        if any(start < opening.start() < stop for start, stop in code):
            continue
        table = opening[1] == "table"
        starts = text[: opening.start()].rpartition("\n")[2].strip() == ""
        if starts != table:
            rule = "must begin its line" if table else "must not begin its line, which Markdown would take for a block"
            raise InvalidValue(f"{_at(text, opening, name)}: {opening[0]}", None, rule, "move it")
        end = text.find(BLOCK_END if table else INLINE_END, opening.end())
        between = text[opening.end() : end]
        if end < 0 or "<!--" in between or (not table and "\n" in between):
            wanted = f"{BLOCK_END} below" if table else f"{INLINE_END} on its line"
            raise InvalidValue(f"{_at(text, opening, name)}: {opening[0]}", None, f"has no {wanted}", "add it")
        yield opening, end


def _content(opening: re.Match[str], figures: Figures, old: str) -> str:
    if opening[1] == "table":
        return f"\n{figures.table(opening[2])}\n"
    if opening[1] == "score":
        return figures.text(opening[2])
    if opening[1] == "sentence":
        return figures.sentence(opening[2])
    if not opening[2]:
        raise InvalidValue(opening[0], allowed="names no source", remedy="write: <!-- published SOURCE -->")
    return old


def _at(text: str, opening: re.Match[str], name: str) -> str:
    return f"{name}, line {text.count(chr(10), 0, opening.start()) + 1}"


def main(arguments: list[str] | None = None) -> int:
    """Fill the files; with `--check` say which is not current, and return 1. A mistake gives one sentence and 2."""
    parser = argparse.ArgumentParser(
        prog="python -m callbacks.report.quoted", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help=f"default: {' '.join(FILES)}")
    parser.add_argument("--results", type=Path, default=Path("docs/results"), help="default: docs/results")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    figures = Figures(options.results)
    stale = 0
    try:
        for path in options.files or [path for pattern in FILES for path in sorted(Path().glob(pattern))]:
            if not path.is_file():
                raise UnreadableFile(str(path), allowed="is no file")
            text = path.read_text(encoding="utf-8")
            filled = fill(text, figures, name=str(path))
            if filled != text:
                stale += 1
                print(f"{path} is not current" if options.check else f"{path} written")
                if not options.check:
                    path.write_text(filled, encoding="utf-8")
    except (OSError, UnicodeDecodeError, UserError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
