"""The command line of the results: `python -m callbacks.report.results docs/results -o RESULTS.md`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from callbacks.figures.quality import quality_figure
from callbacks.report.results import sections
from callbacks.report.results.assignment import assignment
from callbacks.report.results.claims import claims
from callbacks.report.results.evaluation import Evaluation
from callbacks.report.results.field import field_scores
from callbacks.report.results.flips import draw_flips
from callbacks.report.results.link_sections import kinds
from callbacks.report.results.logged import Logged, read_logged
from callbacks.report.results.markdown import cells
from callbacks.report.results.operating import operating
from callbacks.report.results.questions import questions
from callbacks.report.results.summary import summary
from codec.errors import UserError

METRICS = ("stoi", "pesq_wb")  # of the figures


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
        clips=codecs.over,
        speakers=codecs.speaker_count,
        draws=_draws(logged),
        figures=figures,
        interval=f"{100 * codecs.bootstrap.confidence:g} %",
        summary=summary(logged),
        claims=claims(logged),
        questions=questions(logged),
        assignment=assignment(logged.maps),
        reconstruction=sections.reconstruction(codecs, leave_out, why),
        flips=sections.flips(codecs),
        links=kinds(logged.links, ("stoi",)),
        receivers=kinds(logged.receivers, ("stoi", "estoi")),
        fine_tuning=sections.fine_tuning(logged.fine_tuning),
        students=sections.students(logged),
        field=field_scores(logged),
        operating=operating(logged.choices),
        bits=sections.bits(logged.bits),
    )
    return text.rstrip() + "\n"


def _draws(logged: Logged) -> str:
    """Draws a clip of each section."""
    runs = {"1": logged.maps, "2": logged.codecs, "3": logged.links, "4": logged.receivers, "5": logged.fine_tuning}
    stated = [f"{run.repeats} in section {name}" for name, run in runs.items() if run is not None]
    return f"Draws a clip: {', '.join(stated)}."


def draw(evaluation: Evaluation, path: Path, *, systems: Sequence[str], metrics: Sequence[str]) -> None:
    """The curves of some systems behind flipped bits as SVG; the same scores give the same bytes."""
    import matplotlib

    rows = [row for name in systems for row in evaluation.rows(name).values() if row.curve == "bsc"]
    shown = [m for m in next(iter(evaluation.systems.values())).metrics if m.name in metrics]
    title = f"Mean over {evaluation.over}, band: {100 * evaluation.bootstrap.confidence:g} % interval"
    with matplotlib.rc_context({"svg.hashsalt": "results"}):
        rows = [row for row in rows if row.metric in {metric.name for metric in shown}]
        quality_figure(rows, shown, title=title).savefig(path, metadata={"Date": None})


def main(arguments: list[str] | None = None) -> None:
    """Write the file and its figures; a run that cannot be used gives one sentence and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m callbacks.report.results", description=__doc__)
    parser.add_argument("folder", type=Path, help="has the runs codecs, maps, links, student and so on")
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
        draw(logged.codecs, options.folder / "codecs.svg", systems=list(logged.codecs.systems), metrics=METRICS)
        if logged.maps is not None:
            firsts = [name for name in logged.maps.systems if not re.search(r" seed [1-9]", name)]
            draw(logged.maps, options.folder / "maps.svg", systems=firsts, metrics=METRICS)
        draw_flips(options.folder / "rate", options.folder / "rate.svg")
    except (OSError, UserError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(f"{options.output}: {len(logged.codecs.systems)} codecs on {len(logged.codecs.clips)} clips")


if __name__ == "__main__":
    main()
