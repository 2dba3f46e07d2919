"""The command line of the results: `python -m callbacks.report.results docs/results -o RESULTS.md`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from callbacks.figures.quality import quality_figure
from callbacks.report.results import sections
from callbacks.report.results.claims import claims
from callbacks.report.results.link_sections import links
from callbacks.report.results.logged import Evaluation, Logged, read_logged
from callbacks.report.results.markdown import cells
from codec.errors import UserError


def document(logged: Logged, *, figures: str, leave_out: Sequence[str] = (), why: str = "") -> str:
    """RESULTS.md as text, given the folder of its figures relative to it."""
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["cells"] = cells
    template = environment.from_string(files(__package__).joinpath("results.md.j2").read_text(encoding="utf-8"))
    codecs = logged.codecs
    text = template.render(
        codecs=codecs,
        figures=figures,
        interval=f"{100 * codecs.bootstrap.confidence:g} %",
        claims=claims(logged),
        reconstruction=sections.reconstruction(codecs, leave_out, why),
        flips=sections.flips(codecs),
        links=links(logged.links),
        channel_aware=sections.channel_aware(codecs),
        students=sections.students(logged),
        bits=sections.bits(logged.bits),
    )
    return text.rstrip() + "\n"


def draw(evaluation: Evaluation, path: Path) -> None:
    """The curves behind flipped bits as SVG; the same scores give the same bytes."""
    import matplotlib

    rows = [row for name in evaluation.systems for row in evaluation.rows(name).values() if row.curve == "bsc"]
    metrics = [m for m in next(iter(evaluation.systems.values())).metrics if m.name in ("stoi", "pesq_wb")]
    title = f"Mean over {len(evaluation.clips)} clips, band: {100 * evaluation.bootstrap.confidence:g} % interval"
    with matplotlib.rc_context({"svg.hashsalt": "results"}):
        rows = [row for row in rows if row.metric in {metric.name for metric in metrics}]
        quality_figure(rows, metrics, title=title).savefig(path, metadata={"Date": None})


def main(arguments: list[str] | None = None) -> None:
    """Write the file and its figures; a run that cannot be used gives one sentence and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m callbacks.report.results", description=__doc__)
    parser.add_argument("folder", type=Path, help="has the runs codecs, links, student and bits")
    parser.add_argument("-o", "--output", type=Path, default=Path("RESULTS.md"), help="default: RESULTS.md")
    parser.add_argument(
        "--leave-out", nargs="*", default=[], metavar="PATTERN", help="a second table without these clips: 'lj_*'"
    )
    parser.add_argument("--why", default="", metavar="CLAUSE", help="why that table leaves them out: 'which ...'")
    options = parser.parse_args(arguments)
    try:
        logged = read_logged(options.folder)
        shown = options.folder.resolve()
        base = options.output.resolve().parent
        figures = shown.relative_to(base).as_posix() if shown.is_relative_to(base) else shown.as_posix()
        text = document(logged, figures=figures, leave_out=options.leave_out, why=options.why)
        options.output.write_text(text, encoding="utf-8")
        draw(logged.codecs, options.folder / "codecs.svg")
        if logged.links is not None:
            draw(logged.links, options.folder / "links.svg")
    except (OSError, UserError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(f"{options.output}: {len(logged.codecs.systems)} codecs on {len(logged.codecs.clips)} clips")


if __name__ == "__main__":
    main()
