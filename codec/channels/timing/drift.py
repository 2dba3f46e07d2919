"""Bit posteriors behind insertions and deletions: forward-backward over the drift (Davey and MacKay 2001)."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class DriftModel(NamedTuple):
    """What happens at each bit sent, independently of the others.

    First k random bits are inserted, P(k) = p_i^k (1 − p_i) for k below I and p_i^I for k = I: each insertion allows
    another one, I at most. Then the bit is deleted with probability p_d, else it arrives, flipped with probability p_s.
    With I = ∞ these are the insertions, deletions and substitutions of Davey and MacKay, "Reliable communication over
    channels with insertions, deletions, and substitutions" (IEEE Trans. Inf. Theory 47, 2001), section II, whose
    probability of a deletion is (1 − p_i) p_d here.

    Attributes:
        deletion: p_d.
        insertion: p_i.
        flip: p_s.
        most_insertions: I, 1 or more.
    """

    deletion: float
    insertion: float
    flip: float = 0.0
    most_insertions: int = 1

    @property
    def insertion_law(self) -> Floats:
        """P(k) for k = 0 … I, float64 `[I + 1]`."""
        powers = self.insertion ** np.arange(self.most_insertions + 1.0)
        return powers * np.append(np.full(self.most_insertions, 1 - self.insertion), 1.0)

    @property
    def mean_insertions(self) -> float:
        """Expected number of insertions a bit, Σ p_i^k for k = 1 … I."""
        return float(np.arange(self.most_insertions + 1) @ self.insertion_law)

    def drift_limits(self, length: int, deviations: float = 6.0) -> tuple[int, int]:
        """Lowest and highest drift within so many standard deviations, at every bit of `length`; 0 lies inside."""
        number = np.arange(self.most_insertions + 1)
        variance = float(number**2 @ self.insertion_law) - self.mean_insertions**2
        variance += self.deletion * (1 - self.deletion)
        mean = length * (self.mean_insertions - self.deletion)
        spread = deviations * math.sqrt(length * variance) + 4
        low, high = math.floor(min(0.0, mean) - spread), math.ceil(max(0.0, mean) + spread)
        most = length * self.most_insertions if self.insertion else 0
        return max(low, -length if self.deletion else 0), min(high, most)


def bit_posteriors(
    received: NDArray[np.uint8], ones: Floats, model: DriftModel, limits: tuple[int, int], *, known_length: bool = True
) -> tuple[Floats, float] | None:
    """P(bit = 1 | all that was received) of each bit sent, and the likelihood: exact for drifts within the limits.

    The drift x after bit i is the number of bits received so far less i; it moves by −1 … I a bit. The forward pass
    sums the probabilities of what was received up to there over all that may have happened, the backward pass those
    of the rest (Davey and MacKay 2001, section III; Ratzer, "Marker codes for channels with insertions and deletions",
    Annals of Telecommunications 60, 2005). It takes N steps on vectors of as many places as there are drifts.

    Args:
        received: uint8 `[R]`, zeros and ones.
        ones: float64 `[N]`, prior probability of a one of each bit sent: 0 or 1 for markers, 0.5 for payload.
        model: of the channel.
        limits: lowest and highest drift, at most 0 and at least 0.
        known_length: all that was received belongs to these N bits, so that the last drift is R − N. Otherwise what
            follows them are random bits, of an unknown number among those received.

    Returns:
        float64 `[N]`, and the natural logarithm of the probability of `received`; None if no drift within the limits
        explains it.
    """
    (low, high), length = limits, len(ones)
    width = high - low + 1
    last = _last_weights(len(received) - length, limits, known_length)
    if last is None:
        return None
    # Padded so that the bit at drift x before bit i, received[i + x], stands at i + x − low.
    margin_right = max(0, length + high + 1 - len(received))
    is_one = np.pad((received == 1).astype(np.float64), (-low, margin_right))
    is_zero = np.pad((received == 0).astype(np.float64), (-low, margin_right))
    values, which = np.unique(ones, return_inverse=True)
    arrival = [_received_one(q, model) for q in values]  # P(received 1 | arrives)
    emissions = [(1 - model.deletion) * (p * is_one + (1 - p) * is_zero) for p in arrival]
    kinds = which.tolist()

    weights = (model.insertion_law * 0.5 ** np.arange(model.most_insertions + 1)).tolist()
    forward = np.zeros((length + 1, width))
    forward[0, -low] = 1.0
    inserted, log_likelihood = np.zeros(width + model.most_insertions), 0.0
    for i in range(length):
        _insert(forward[i], weights, inserted)
        state = emissions[kinds[i]][i : i + width] * inserted[:width]
        state += model.deletion * inserted[1 : width + 1]
        total = float(state.sum())
        if total <= 0.0:
            return None
        forward[i + 1] = state / total
        log_likelihood += math.log(total)
    end = float(forward[length] @ last)
    if end <= 0.0:
        return None

    found = np.empty(length)
    after, state = last, np.zeros(width + model.most_insertions)
    reached = np.zeros(width + 1)  # from the place after insertions, the rest's probability
    for i in reversed(range(length)):
        _insert(forward[i], weights, inserted)
        one = inserted[:width] * after
        arrived_one = float(one @ is_one[i : i + width]) * (1 - model.deletion)
        arrived_zero = float(one @ is_zero[i : i + width]) * (1 - model.deletion)
        deleted = float(inserted[1 : width + 1] @ after) * model.deletion
        found[i] = _posterior(float(ones[i]), arrived_one, arrived_zero, deleted, model.flip)
        np.multiply(emissions[kinds[i]][i : i + width], after, out=reached[:width])
        reached[width] = 0.0
        reached[1:] += model.deletion * after
        state[: width + 1] = reached
        before = weights[0] * reached[:width]
        for k in range(1, len(weights)):
            before += weights[k] * state[k : k + width]
        total = float(before.sum())
        if total <= 0.0:
            return None
        after = before / total
    return found, log_likelihood + math.log(end)


def _last_weights(drift: int, limits: tuple[int, int], known_length: bool) -> Floats | None:
    """Probability of what is received behind the last bit for each last drift; None outside the limits."""
    low, high = limits
    places = np.arange(low, high + 1)
    if known_length:
        return (places == drift).astype(np.float64) if low <= drift <= high else None
    following = drift - places  # number of random bits that follow
    return np.where(following >= 0, 0.5 ** np.maximum(following, 0), 0.0)


def _insert(state: Floats, weights: list[float], inserted: Floats) -> None:
    """Write into `inserted` what insertions make of a state: Σ_k w_k state[x − k]."""
    width = len(state)
    np.multiply(state, weights[0], out=inserted[:width])
    inserted[width:] = 0.0
    for k in range(1, len(weights)):
        inserted[k : k + width] += weights[k] * state


def _received_one(one: float, model: DriftModel) -> float:
    """P(received 1 | the bit arrives) of a bit that is 1 with probability `one`."""
    return one * (1 - model.flip) + (1 - one) * model.flip


def _posterior(one: float, arrived_one: float, arrived_zero: float, deleted: float, flip: float) -> float:
    """P(bit = 1 | received) from its prior and the probability of all if it arrived as 1, as 0, or was deleted."""
    as_one = one * ((1 - flip) * arrived_one + flip * arrived_zero + deleted)
    as_zero = (1 - one) * ((1 - flip) * arrived_zero + flip * arrived_one + deleted)
    return as_one / (as_one + as_zero) if as_one + as_zero > 0 else 0.5
