"""Arguments of the command lines below tests/."""

import argparse
import math
from pathlib import Path

from data import DataError


def positive(text: str) -> float:
    """A number above 0 that is not infinite, as the `type` of an argument."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be a number above 0")
    return number


def clips(text: str) -> int:
    """A number of clips, at least 1, as the `type` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number above 0")
    return int(text)


def make_folder(option: str, folder: Path) -> None:
    """Make the folder that an option names, before there is anything to write.

    Raises:
        DataError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(option, folder, f"must be a folder that can be written ({error.strerror})") from None
