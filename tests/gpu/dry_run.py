"""One training step of a configuration on a pretend GPU: `python -m tests.gpu.dry_run CONFIG… [--adversarial]`.

Needs no GPU, but a torch with CUDA and a C compiler. Counted are launches, matrix products, copies, synchronisations
with the lines that ask for them, and memory; nothing is computed, so numbers, times and the memory of cuDNN's
workspaces, of NCCL and of CUDA's context (about 0.5 GB) are not covered.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.gpu.pretend.stubs import BYTES, build, environment, unavailable
from tests.support.arguments import clips, positive
from tests.support.paths import CONFIGS, ROOT

CARD_BYTES = int(0.97 * 80e9)  # that a step may allocate on a card of "80 GB", of which 79.1 GiB (84.9 GB) are usable
TEACHERS = {"student": "fsq", "small/quickstart_student": "quickstart", "paper/distill_neucodec": "paper/neucodec"}
HEADERS = (
    "small/fsq",
    "small/fsq small/gpu",
    "small/student",
    "fsq",
    "rvq",
    "student",
    "paper/decoder_24k",
    "paper/neucodec",
    "paper/neucodec paper/no_semantic",
    "paper/neucodec paper/neucodec_released",
    "paper/xcodec2",
    "paper/distill_neucodec",
)
SECONDS = 3600  # a step at full size that compiles for the first time


class Failed(RuntimeError):
    """The step could not be run; the message ends with what it printed."""


class Step(NamedTuple):
    """What to run.

    Attributes:
        configs: files, later ones laid over earlier ones.
        words: further options of `train.py fit`.
        batch: number of the counted batch, from 0.
        teacher: configuration that the teacher is built from; None where the module needs none.
        card_bytes: memory of the pretend card.
    """

    configs: list[Path]
    words: list[str]
    batch: int
    teacher: Path | None
    card_bytes: int = BYTES


def find_config(name: str) -> Path:
    """A file by its path or by its name below `configs/`."""
    for path in (Path(name), CONFIGS / name, CONFIGS / f"{name}.yaml"):
        if path.is_file():
            return path.resolve()
    raise SystemExit(f"There is no configuration {name}: give a path, or a name below configs/ such as paper/neucodec.")


def options(arguments: argparse.Namespace) -> list[str]:
    """The options of `train.py fit` that the command's own ones mean."""
    given = {
        "trainer.accelerator": "gpu",
        "trainer.devices": "1",
        "trainer.max_steps": str(arguments.steps),
        "trainer.strategy": strategy(arguments.strategy),
        "trainer.enable_model_summary": "false",
        "preflight.enabled": "false",
    }
    if arguments.validate:
        given |= {"trainer.val_check_interval": "2", "channels.num_workers": "0", "channels.fit_clips": "2"}
        given |= {"channels.metrics": '[{"class_path": "callbacks.SISDR"}]'}
    else:
        given |= {"trainer.limit_val_batches": "0", "trainer.num_sanity_val_steps": "0"}
    if arguments.adversarial:
        given["model.init_args.adversary.start"] = "0"
    if arguments.batch_size:
        given["data.batch_size"] = str(arguments.batch_size)
    if arguments.precision:
        given["trainer.precision"] = arguments.precision
    given |= dict(arguments.set)
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def setting(text: str) -> tuple[str, str]:
    """Name and value of `OPTION=VALUE`."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} must be OPTION=VALUE, such as model.init_args.compiled=true")
    return name, value


def strategy(name: str) -> str:
    """The Trainer's strategy, with a process group that needs no NCCL."""
    ours = {"ddp_alternating": "codec.AlternatingDDPStrategy", "fsdp_alternating": "codec.AlternatingFSDPStrategy"}
    if name not in ours:
        return name
    return json.dumps({"class_path": ours[name], "init_args": {"process_group_backend": "cpu:gloo,cuda:gloo"}})


def run(step: Step) -> dict[str, Any]:
    """The counts of one batch (`pretend.device.Counts`), and the parameters, by name.

    Raises:
        Failed: the run ended before that batch.
    """
    words = [word for path in step.configs for word in ("--config", str(path))] + step.words
    command = [sys.executable, "-m", "tests.gpu.pretend.fit", str(step.teacher or ""), str(step.batch), *words]
    variables = {**os.environ, **environment(build(), step.card_bytes), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed(f"The run took longer than {SECONDS} s and was stopped.") from None
    if done.returncode:
        raise Failed(f"The run failed with status {done.returncode}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def prepare(names: list[str], arguments: argparse.Namespace) -> Step:
    """The step that the command line asks for."""
    configs = [find_config(name) for name in names]
    words = options(arguments)
    known = [TEACHERS.get(path.relative_to(CONFIGS).with_suffix("").as_posix()) for path in configs if ours(path)]
    teacher = arguments.teacher or next(filter(None, known), None)
    distilled = teacher or any("DistillationModule" in path.read_text() for path in configs)
    if arguments.adversarial and distilled:
        words += ["--model.init_args.distillation_start", "0", "--model.init_args.distillation_ramp", "0"]
    taught_by = find_config(teacher) if teacher else None
    return Step(configs, words, arguments.steps - 2, taught_by, int(arguments.card * 1e9))


def ours(path: Path) -> bool:
    """Whether a file is a configuration of this project."""
    return path.is_relative_to(CONFIGS)


def report(counts: dict[str, Any]) -> str:
    """The counts as lines of text."""
    parameters = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in counts["parameters"].items())
    copies = [counts[f"copies_{where}"] for where in ("to_device", "to_host", "on_device")]
    asked = [f"  {count} × {line}" for line, count in counts["lines"].items()]
    estimate = f"{counts['estimate'] / 1e9:.2f} GB" if "estimate" in counts else counts["estimate_failed"]
    silent = counts["synchronisations"] - sum(counts["lines"].values())
    return "\n".join(
        [
            f"parameters: {parameters}",
            f"launches {counts['launches']}, matrix products {counts['products']}, calls of cuDNN and cuFFT "
            f"{counts['library_calls']}",
            f"copies: {copies[0]} to the device, {copies[1]} to the host, {copies[2]} on the device",
            f"memory: {counts['memory_before'] / 1e9:.2f} GB before, {counts['memory_peak'] / 1e9:.2f} GB at most, "
            f"{counts['memory_reserved'] / 1e9:.2f} GB reserved",
            f"preflight's estimate: {estimate} in {counts['estimate_seconds']:.1f} s",
            f"synchronisations: {counts['synchronisations']}",
            *asked,
            *([f"  {silent} × without a line"] if silent > 0 else []),
        ]
    )


def print_headers(arguments: argparse.Namespace) -> None:
    """A table of all configurations, adversarial and at their own batch size, eager and compiled."""
    print("| configuration | compiled | launches | synchronisations | memory before, GB | peak, GB |\n|" + "---|" * 6)
    chosen, arguments.set = list(arguments.set), []
    arguments.adversarial = True
    for names in arguments.configs or HEADERS:
        for compiled in arguments.compiled:
            arguments.set = [("model.init_args.compiled", compiled), *chosen]
            try:
                found = run(prepare(names.split(), arguments))
                numbers = [found["launches"], found["synchronisations"]]
                numbers += [f"{found[name] / 1e9:.1f}" for name in ("memory_before", "memory_peak")]
            except Failed as error:
                numbers = [str(error).splitlines()[-1][:120]]
            print(f"| {names} | {compiled} | {' | '.join(map(str, numbers))} |", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="files or names, later ones over earlier ones")
    parser.add_argument("--adversarial", action="store_true", help="discriminators and distillation from batch 0 on")
    parser.add_argument("--steps", type=int, default=6, help="batches of the run, of which the last but one is counted")
    parser.add_argument("--batch-size", type=clips, metavar="CLIPS")
    parser.add_argument("--precision")
    parser.add_argument(
        "--set", action="append", default=[], type=setting, metavar="OPTION=VALUE", help="option of train.py fit"
    )
    parser.add_argument("--strategy", default="auto", help="such as ddp_alternating, with one rank")
    parser.add_argument("--teacher", metavar="CONFIG", help="what the teacher of a student is built from")
    parser.add_argument("--validate", action="store_true", help="with sanity check and validations before that batch")
    parser.add_argument("--card", type=positive, default=BYTES / 1e9, metavar="GB", help="memory of the card")
    parser.add_argument("--kernels", type=int, default=0, metavar="N", help="name the N most frequent kernels")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the counts as well")
    parser.add_argument("--headers", action="store_true", help="a table for the headers of the configurations")
    parser.add_argument(
        "--compiled", nargs="+", default=["false", "true"], choices=["false", "true"], help="rows of that table"
    )
    arguments = parser.parse_args()
    if not (arguments.configs or arguments.headers):
        parser.error("give a configuration, or --headers")
    if arguments.steps < 3:
        parser.error("give at least 3 steps")
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"--json {arguments.json} must lie in a folder that there is")
    return arguments


def main() -> None:
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the run is ended with this process
    reason = unavailable()
    if reason:
        raise SystemExit(f"There can be no pretend GPU here: {reason}.")
    if arguments.headers:
        return print_headers(arguments)
    try:
        counts = run(prepare(arguments.configs, arguments))
    except Failed as error:
        raise SystemExit(str(error)) from None
    print(report(counts))
    for name, count in list(counts["kernels"].items())[: arguments.kernels]:
        print(f"  {count} × {name}")
    if arguments.json:
        arguments.json.write_text(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
