"""The search space of a sweep: options of the command line by their dotted paths, and the YAML that sets them."""

import contextlib
import io
import math
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from codec.cli.sweeps.library import Trial
from codec.errors import InvalidValue

FORMS = "{choices: [...]}, {choices: {name: block, ...}} or {low: ..., high: ..., log: true, step: ...}"


class Option:
    """The values that one option may take.

    Args:
        path: dotted path, such as `data.batch_size` or `model.init_args.codec.init_args.quantizer`.
        form: `choices`, a list of values or a mapping of names to values, which may be whole class blocks; or `low`
            and `high`, both included and integers if both are, with `log` or `step`.

    Raises:
        InvalidValue: the form is none of these, or its numbers do not make a range.
    """

    def __init__(self, path: str, form: Any) -> None:
        self.path = path
        self.choices: dict[str, Any] = {}
        self.low = self.high = 0.0
        keys = set(form) if isinstance(form, Mapping) else set()
        if keys == {"choices"} and isinstance(form["choices"], Mapping | list) and form["choices"]:
            named = form["choices"]
            self.choices = dict(named) if isinstance(named, Mapping) else {str(value): value for value in named}
        elif keys >= {"low", "high"} and keys <= {"low", "high", "log", "step"}:
            self._set_range(**form)
        else:
            raise InvalidValue(f"The search space gives {path} as", f"{form!r:.120}", remedy=f"write {FORMS}")

    def _set_range(self, low: Any, high: Any, log: bool = False, step: Any = None) -> None:
        try:
            self.low, self.high = float(low), float(high)  # YAML reads 1e-4 as text
            self.step = None if step is None else float(step)
        except (TypeError, ValueError):
            self.low, self.high, self.step = math.nan, math.nan, None
        self.integer = all(isinstance(value, int) for value in (low, high, step or 1))
        self.log = bool(log)
        if not self.low < self.high or (log and (self.low <= 0 or step)) or (self.step or 1) <= 0:
            raise InvalidValue(
                f"The search space gives {self.path}",
                f"low {low}, high {high}, log {log}, step {step}",
                remedy="low must be below high, log needs low above 0 and no step, and a step is positive",
            )

    def suggest(self, trial: Trial) -> Any:
        """The value of the option in a trial."""
        if self.choices:
            return self.choices[trial.suggest_categorical(self.path, list(self.choices))]
        if self.integer:
            step = int(self.step or 1)
            return trial.suggest_int(self.path, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(self.path, self.low, self.high, step=self.step, log=self.log)

    def samples(self) -> list[Any]:
        """Values to check: every choice, or the ends of the range."""
        ends = [int(self.low), int(self.high)] if not self.choices and self.integer else [self.low, self.high]
        return list(self.choices.values()) or ends


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options by dotted path as the nested mapping of a YAML file; later ones go over earlier ones."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, name = path.split(".")
        for parent in reversed([*parents, name]):
            value = {parent: value}
        _merge(tree, value)
    return tree


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Lay a mapping over another, in place; a block of another class replaces the block that was there."""
    for key, value in other.items():
        old = tree.get(key)
        if not isinstance(value, Mapping):
            tree[key] = value
            continue
        if not isinstance(old, dict) or value.get("class_path", old.get("class_path")) != old.get("class_path"):
            tree[key] = {}
        _merge(tree[key], value)


def check_options(
    parse: Callable[[], None], configs: Sequence[str], *, overrides: Mapping[str, Any], options: Sequence[Option]
) -> None:
    """Parse the base configuration with the overrides, and with every value to check, without building anything.

    Raises:
        InvalidValue: a configuration, an option path or a value is refused; names the nearest valid one.
    """
    cases: list[tuple[str, dict[str, Any]]] = [("the overrides", {})]
    cases += [
        (f"{option.path} {value!r:.120}", {option.path: value}) for option in options for value in option.samples()
    ]
    with tempfile.TemporaryDirectory() as folder:
        overlay = Path(folder) / "trial.yaml"
        for what, values in cases:
            overlay.write_text(yaml.safe_dump(nested({**overrides, **values})))
            refusal = _refusal(parse, [*configs, str(overlay)])
            if refusal:
                raise InvalidValue(f"{' + '.join(configs)} with {what} is refused", remedy=refusal.removesuffix("."))


def _refusal(parse: Callable[[], None], configs: Sequence[str]) -> str:
    """Why the command line is refused, in one line; empty where it is not."""
    before, output, errors = sys.argv, io.StringIO(), io.StringIO()
    sys.argv = [before[0], "fit", *(word for config in configs for word in ("--config", config)), "--print_config"]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            parse()
    except SystemExit as stop:
        if stop.code in (0, None):
            return ""
    finally:
        sys.argv = before
    lines = [line.strip(" -") for line in errors.getvalue().partition("error: ")[2].splitlines() if line.strip()]
    hints = [line for line in lines if line.startswith("Did you mean")]
    telling = [line for line in lines if re.search(r"not accept|unrecognized|Expected a|has no attr|No module", line)]
    reason = (telling or lines or ["the command line cannot be read"])[0].rstrip(".")
    return " ".join([f"{reason}.", *hints[:1]])
