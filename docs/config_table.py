"""Writes the table of configurations from the headers of the YAML files: `python docs/config_table.py [--check]`."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

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
    "quickstart small/fsq small/rvq small/student fsq rvq paper/neucodec paper/distill_neucodec "
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


def short(text: str) -> str:
    """The first clause of a field."""
    return text.split(";")[0]


def full_table() -> str:
    """The content of configs/README.md."""
    parts = [INTRODUCTION]
    for folder, heading in SECTIONS.items():
        rows = [header for header in headers() if header.name.rpartition("/")[0] == folder]
        parts.append(f"## {heading}\n\n{TABLE_HEAD}\n")
        for row in rows:
            cells = " | ".join(row.fields[field] for field in FIELDS)
            parts[-1] += f"| [{row.name}]({row.name}.yaml): {row.title}<br>`{row.commands[0]}` | {cells} |\n"
    return "\n".join(parts)


def short_table() -> str:
    """The table between the markers of README.md."""
    found = {header.name: header for header in headers()}
    lines = [TABLE_HEAD]
    for name in IN_README:
        cells = " | ".join(short(found[name].fields[field]) for field in FIELDS)
        lines.append(f"| [{name}](configs/{name}.yaml) | {cells} |")
    return "\n".join(lines)


def written() -> dict[Path, str]:
    """The files with their tables as they should be, by path."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    return {CONFIGS / "README.md": full_table(), readme: f"{before}{BEGIN}\n{short_table()}\n{END}{after}"}


def main() -> int:
    """Write the tables; with `--check` only say which is not current."""
    stale = [path for path, text in written().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not current: run python docs/config_table.py.")
        return 1 if stale else 0
    for path in stale:
        path.write_text(written()[path], encoding="utf-8")
        print(f"{path.relative_to(ROOT)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
