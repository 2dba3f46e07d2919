"""Arguments of the command lines below tests/."""

import argparse
import math


def positive(text: str) -> float:
    """A number above 0 that is not infinite, as the `type` of an argument."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be a number above 0")
    return number
