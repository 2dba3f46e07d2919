"""The audio library, soundfile, imported where a file is read or written, so that `import data` works without it."""

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
