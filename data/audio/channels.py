"""One channel of several: their mean, the first, the loudest, or one by its number."""

from typing import Literal

import numpy as np

from data.errors import DataError

Channel = Literal["mean", "first", "loudest"] | int
MEAN: Channel = "mean"
LOST_DB = 6.0  # less than this below the loudest channel, the mean is what is expected of two good channels
SILENT = 1e-3  # root mean square below which nothing is said about a loss


def parse_channel(what: str, value: object) -> Channel:
    """`value`, that of the option `what`, as a choice of channel. Raises DataError unless it is one."""
    if value == "mean" or value == "first" or value == "loudest":
        return value
    if not str(value).isdecimal():
        raise DataError(what, value, "must be mean, first, loudest, or the number of a channel, from 0 on")
    return int(str(value))


def mean_loss_db(block: np.ndarray) -> float:
    """By how many dB the mean of the channels of `block` [T, C] is below the loudest; 0 where that is silent."""
    loudest = np.sqrt(np.square(block, dtype=np.float64).mean(axis=0).max()) if len(block) else 0.0
    if not SILENT < loudest < np.inf:
        return 0.0
    mean = np.sqrt(np.square(block.mean(axis=1), dtype=np.float64).mean())
    return float(20 * np.log10(loudest / max(mean, 1e-10)))
