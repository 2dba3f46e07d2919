"""Libraries imported where a file is read or written, so that `import data` works without them."""

from importlib import import_module
from types import ModuleType

from data.errors import DataError


def import_soundfile() -> ModuleType:
    """The module `soundfile`.

    Raises:
        DataError: it, or the libsndfile below it, is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package is there, the library is not
        raise DataError("Audio files", None, "need the soundfile package", "pip install soundfile") from error
    return soundfile


def import_pyarrow(name: str = "pyarrow") -> ModuleType:
    """The module `pyarrow`, or one in it.

    Raises:
        DataError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise DataError("Arrow and Parquet files", None, "need the pyarrow package", "pip install pyarrow") from error
