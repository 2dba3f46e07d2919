"""Writes the tables of configurations and fills the quoted scores: `python docs/config_table.py [--check]`.

The tables come from the headers of the YAML files. A score stands in a header as a reference in braces, such as
`STOI {codecs FSQ stoi bsc-0}`, which `callbacks.report.quoted_figures` explains, a published figure with its source, as
`{published (X-Codec 2): STOI 0.92}`.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

from callbacks.report.quoted import FILES, fill
from callbacks.report.quoted_figures import Figures
from codec.errors import UserError

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
FIELDS = ("Parameters", "Hardware", "Time", "Expected")
SECTIONS = {
    "": "Codecs",
    "small": "Small codecs, for one CPU core or quickstart size",
    "paper": "The published models",
    "evaluate": "Evaluation",
    "overlays": "Overlays: laid over another configuration",
    "sweeps": "Sweeps",
}
TABLE_HEAD = "| configuration | parameters | hardware | time | expected |\n|---|---|---|---|---|"
IN_README = (
    "quickstart small/fsq small/rvq small/student small/streaming fsq rvq paper/neucodec paper/distill_neucodec "
    "evaluate/pretrained evaluate/compare"
).split()
BEGIN, END = "<!-- configurations: written by `python docs/config_table.py` -->", "<!-- end of configurations -->"
INTRODUCTION = f"""# Configurations

{BEGIN}

Written by `python docs/config_table.py` from the header of each file. Options in a command win over the file, later
files over earlier ones; `--print_config` shows all that is in force. *Parameters* are those of encoder, quantizer and
decoder. Scores are on the test clips that the file names; what was not measured is marked so.
"""


class Header(NamedTuple):
    """What the comment at the top of a configuration states.

    Attributes:
        name: path below `configs/`, without extension.
        title: what it is, a sentence.
        commands: how it is run, the most usual first.
        fields: text of each of `FIELDS`.
    """

    name: str
    title: str
    commands: list[str]
    fields: dict[str, str]


def read_header(path: Path) -> Header:
    """Read the header of a configuration.

    It is the title; commands, each indented by three spaces, continued after a backslash; one line `# Field: text` for
    each of `FIELDS`, continued on lines indented by five; and after a line `#` notes, which are not read.

    Raises:
        ValueError: the title, the commands or a field is missing.
    """
    name = path.relative_to(CONFIGS).with_suffix("").as_posix()
    title: list[str] = []
    commands: list[str] = []
    fields: dict[str, str] = {}
    field, continued = "", False
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or not text:
            break
        named = re.match(rf"# ({'|'.join(FIELDS)}): (.*)", line)
        if named:
            field = named[1]
            fields[field] = named[2]
        elif field:
            fields[field] += f" {text}"
        elif continued:
            commands[-1] += f" {text.removesuffix(chr(92)).strip()}"
        elif line.startswith("#   "):
            commands.append(text.removesuffix("\\").strip())
        else:
            title.append(text)
        continued = line.endswith("\\")
    missing = [name for name, there in (("title", title), ("command", commands)) if not there]
    missing += [f"'# {field}: …'" for field in FIELDS if field not in fields]
    if missing:
        raise ValueError(f"The header of {path} has no {', '.join(missing)}: write it as in configs/fsq.yaml.")
    return Header(name, " ".join(title), [command.split("    #")[0].strip() for command in commands], fields)


def headers() -> list[Header]:
    """The headers of all configurations, by folder and name."""
    return [read_header(path) for folder in SECTIONS for path in sorted((CONFIGS / folder).glob("*.yaml"))]


def resolved(header: Header, field: str, figures: Figures) -> str:
    """A field with its references replaced by figures.

    Raises:
        UserError: a reference leads nowhere; the file and the field stand in front.
    """

    def figure(brace: re.Match[str]) -> str:
        return brace[1] if brace[1].startswith("published ") else figures.text(brace[1])

    try:
        return re.sub(r"\{([^{}]*)\}", figure, header.fields[field])
    except UserError as error:
        place = f"configs/{header.name}.yaml, {field}"
        raise type(error)(f"{place}: {error.what}", error.value, error.allowed, error.remedy) from error


def short(text: str) -> str:
    """The first clause of a field."""
    return text.split(";")[0]


def full_table(figures: Figures) -> str:
    """The content of configs/README.md."""
    parts = [INTRODUCTION]
    for folder, heading in SECTIONS.items():
        rows = [header for header in headers() if header.name.rpartition("/")[0] == folder]
        parts.append(f"## {heading}\n\n{TABLE_HEAD}\n")
        for row in rows:
            cells = " | ".join(resolved(row, field, figures) for field in FIELDS)
            parts[-1] += f"| [{row.name}]({row.name}.yaml): {row.title}<br>`{row.commands[0]}` | {cells} |\n"
    return "\n".join(parts)


def short_table(figures: Figures) -> str:
    """The table between the markers of README.md."""
    found = {header.name: header for header in headers()}
    lines = [TABLE_HEAD]
    for name in IN_README:
        cells = " | ".join(short(resolved(found[name], field, figures)) for field in FIELDS)
        lines.append(f"| [{name}](configs/{name}.yaml) | {cells} |")
    return "\n".join(lines)


def written() -> dict[Path, str]:
    """The files with their tables and scores as they should be, by path."""
    figures = Figures(ROOT / "docs/results")
    paths = [path for pattern in FILES for path in sorted(ROOT.glob(pattern))]
    texts = {p: fill(p.read_text(encoding="utf-8"), figures, name=p.relative_to(ROOT).as_posix()) for p in paths}
    before, rest = texts[ROOT / "README.md"].split(BEGIN)
    texts[ROOT / "README.md"] = f"{before}{BEGIN}\n{short_table(figures)}\n{END}{rest.split(END)[1]}"
    return {CONFIGS / "README.md": full_table(figures), **texts}


def main() -> int:
    """Write the files; with `--check` say which is not current, and return 1. A mistake gives one sentence and 2."""
    try:
        texts = written()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        name = path.relative_to(ROOT)
        if "--check" in sys.argv[1:]:
            print(f"{name} is not current: run python docs/config_table.py.")
        else:
            path.write_text(texts[path], encoding="utf-8")
            print(f"{name} written")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
