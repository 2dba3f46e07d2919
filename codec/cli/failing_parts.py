"""Why a part named by a `class_path` does not load or cannot be made, as one sentence with its remedy."""

from __future__ import annotations

import re
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from codec.errors import InvalidValue, MissingDependency, UserError, first_line

# As jsonargparse names what was given; its own text of the cause is cut, or lost among those of a union's other types.
GIVEN = re.compile(r"(?:class_path '|Expected a path but )([A-Za-z_][\w.]*\.\w+)")
INSTALL = re.compile(r"pip install (?:-U )?'?([^`'\"\s]+)")
DISTRIBUTIONS = {"comet_ml": "comet-ml", "sklearn": "scikit-learn", "yaml": "PyYAML", "PIL": "Pillow"}
REASON = 600  # characters of a reason that are shown


class FailedParts:
    """Makes parts for jsonargparse, and keeps the last one that failed with its error."""

    def __init__(self) -> None:
        self.last: tuple[str, Exception] | None = None

    def __call__(self, part: Any, *args: Any, **settings: Any) -> Any:
        """Make a part."""
        try:
            return part(*args, **settings)
        except Exception as error:
            self.last = f"{part.__module__}.{part.__qualname__}", error
            raise


def failed_part(name: str, error: BaseException) -> UserError:
    """The sentence about a part that could not be made: a missing package, or what its constructor says and where."""
    if isinstance(error, ImportError):
        return _missing(name, error)
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    if name.endswith(".MLFlowLogger") and places and Path(places[-1].filename).name == "file_store.py":
        return InvalidValue(
            name, None, "may not keep its runs in a folder, which MLflow advises against since 3.17",
            "set the environment variable MLFLOW_ALLOW_FILE_STORE=true, or give a database or server as "
            "trainer.logger.init_args.tracking_uri, such as sqlite:///mlflow.db",
        )  # fmt: skip
    where = f", {Path(places[-1].filename).name} line {places[-1].lineno}" if places else ""
    reason = f"{type(error).__name__}: {first_line(error, limit=REASON)}{where}"
    return InvalidValue(name, None, f"cannot be made ({reason})", "correct its init_args, or give another class_path")


def unloadable_part(message: str) -> UserError | None:
    """The sentence about the class path in an error of jsonargparse whose module does not load; None where all do."""
    for name in reversed(GIVEN.findall(message)):  # the innermost is the last
        module = name.rpartition(".")[0]
        try:
            loaded = import_module(module)
        except ModuleNotFoundError as error:
            if error.name and not f"{module}.".startswith(f"{error.name}."):
                return _missing(name, error)
        except ImportError as error:
            return _missing(name, error)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error, limit=REASON)}"
            return InvalidValue(name, None, f"does not load ({reason})", f"correct the module {module}")
        else:
            if name.endswith(".NeptuneLogger") and module.startswith(("lightning", "pytorch_lightning")):
                ended = isinstance(getattr(loaded, "NeptuneLogger", None), type) or not hasattr(loaded, "NeptuneLogger")
                if ended:
                    return InvalidValue(name, None, "has been ended by Lightning 2.6", "use another logger")
    return None


def _missing(name: str, error: ImportError) -> UserError:
    said = INSTALL.search(str(error))
    if said:
        return MissingDependency(name, None, f"needs {said[1]}, which is not installed", f"pip install '{said[1]}'")
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        package = DISTRIBUTIONS.get(package, package)
        return MissingDependency(name, None, f"needs {package}, which is not installed", f"pip install {package}")
    reason = first_line(error, limit=REASON)
    return MissingDependency(name, None, f"needs what cannot be imported ({reason})", "install it, or another version")
