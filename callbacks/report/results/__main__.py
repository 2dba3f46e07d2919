"""The command line of the results: `python -m callbacks.report.results docs/results -o RESULTS.md`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from callbacks.figures.quality import quality_figure
from callbacks.report.results import link_sections, sections
from callbacks.report.results.claims import claims
from callbacks.report.results.logged import Evaluation, Logged, read_logged


def document(logged: Logged, *, figures: str, leave_out: Sequence[str] = (), why: str = "") -> str:
    """RESULTS.md as text, given the folder of its figures as a link sees it."""
    codecs = logged.codecs
    facts = next(iter(codecs.systems.values())).facts
    lines = [
        "# Results",
        "",
        "Written by `python -m callbacks.report.results` from the runs logged in `docs/results`; `make results` (see "
        "README) scores the codecs that come with this project again and writes this file anew. What each codec is and "
        "how it was trained stands in its card in `codec/checkpoints/pretrained/`.",
        "",
        f"{len(codecs.clips)} clips, {codecs.repeats} channel draw{'s' * (codecs.repeats > 1)} a clip, seed "
        f"{facts['seed']}; intervals are {100 * codecs.bootstrap.confidence:g} % bootstrap intervals over clips "
        f"({codecs.bootstrap.resamples} resamples), those of differences paired. What could not be scored is stated in "
        "its cell. SI-SDR is low for every codec whose decoder invents its phases.",
        "",
        *claims(logged),
        *sections.reconstruction(codecs, leave_out, why),
        *sections.flips(codecs),
        f"![Quality against bit error rate]({figures}/codecs.svg)",
        "",
    ]
    if logged.links is not None:
        lines += [*link_sections.channels(logged.links), f"![Systems on the channel]({figures}/links.svg)", ""]
    if sections.aware_pairs(codecs):
        lines += sections.aware(codecs)
    if logged.students:
        lines += sections.students(logged)
    if logged.bits:
        lines += sections.bits(logged.bits)
    return "\n".join(lines).rstrip() + "\n"


def draw(evaluation: Evaluation, path: Path) -> None:
    """The curves behind plain flips as vector graphics, the same bytes for the same scores."""
    import matplotlib

    rows = [row for name in evaluation.systems for row in evaluation.rows(name).values() if row.curve == "bsc"]
    metrics = [m for m in next(iter(evaluation.systems.values())).metrics if m.name in ("stoi", "pesq_wb")]
    title = f"Mean over {len(evaluation.clips)} clips, band: {100 * evaluation.bootstrap.confidence:g} % interval"
    with matplotlib.rc_context({"svg.hashsalt": "results"}):
        rows = [row for row in rows if row.metric in {metric.name for metric in metrics}]
        quality_figure(rows, metrics, title=title).savefig(path, metadata={"Date": None})


def main(arguments: list[str] | None = None) -> None:
    """Write the file and its figures; what is wrong with a run is one sentence and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m callbacks.report.results", description=__doc__)
    parser.add_argument("folder", type=Path, help="holds the runs codecs, links, student and bits")
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
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(f"{options.output}: {len(logged.codecs.systems)} codecs on {len(logged.codecs.clips)} clips")


if __name__ == "__main__":
    main()
