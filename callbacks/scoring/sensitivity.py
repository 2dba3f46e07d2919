"""The score that flips of some bits cost, as one row."""

from typing import NamedTuple


class Sensitivity(NamedTuple):
    """The score lost, by one metric, when some bits of a frame are flipped.

    `part` is "bit 3", "dimension 1", "codebook 0" or, where the codebooks have dimensions, "codebook 0, dimension 1";
    `bits` are its positions in the frame. `loss` is the score without flips minus the score with them (for a metric
    that is not better when higher, the other way round), paired over clips, `low` and `high` its bounds.
    `displacement` is the mean squared displacement of the latent for one flip, over the latent's variance, in about
    4096 frames. `pairs`, `unpaired` and `withheld` are as in `callbacks.scoring.differences.Difference`.
    """

    part: str
    bits: str
    flip_rate: float
    metric: str
    loss: float
    low: float
    high: float
    displacement: float
    pairs: int
    unpaired: int
    withheld: str
