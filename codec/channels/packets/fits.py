"""Loss models fitted to traces by maximum likelihood: counting where states are seen, else Baum-Welch (1970)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codec.channels.packets.loss_models import GilbertElliottLossChannel, ThreeStateLossChannel
from codec.errors import InvalidValue

Floats = NDArray[np.float64]
TRIAL_STEPS = 25  # of EM from each start; the likeliest is followed
MAX_STEPS = 500
TOLERANCE = 1e-5  # in log-likelihood, of the whole trace: EM stops at a smaller gain in a step
LEAST = 1e-9  # probability of leaving a state: what a finite trace cannot tell from 0


class Parameters(NamedTuple):
    """Of a hidden Markov chain with binary output: A `[S, S]`, losses h `[S]`, first state `[S]`."""

    transitions: Floats
    loss: Floats
    first: Floats


class Expectation(NamedTuple):
    """What Baum-Welch's E-step finds in a trace.

    Attributes:
        log_likelihood: of the parameters, natural.
        steps: expected number of transitions, `[S, S]`.
        visits: expected number of packets (received, lost) in each state, `[2, S]`.
        first: probabilities of the first state, `[S]`.
    """

    log_likelihood: float
    steps: Floats
    visits: Floats
    first: Floats


def fit_gilbert(lost: ArrayLike, frames_per_packet: int = 1) -> GilbertElliottLossChannel:
    """Gilbert's simple chain of greatest likelihood given the first packet: p = n₀₁ / n₀, r = n₁₀ / n₁.

    Args:
        lost: bool `[N]`, such as `PacketTrace.lost` or `PacketTrace.late(…)`.
        frames_per_packet: of the channel that is returned.

    Raises:
        InvalidValue: fewer than two packets, or all are lost or all received.
    """
    pattern = _checked(lost)
    before, after = pattern[:-1], pattern[1:]
    to_bad = float(after[~before].mean()) if not before.all() else 1.0
    to_good = float((~after[before]).mean()) if before.any() else 1.0
    return GilbertElliottLossChannel(max(to_bad, LEAST), max(to_good, LEAST), frames_per_packet)


def fit_gilbert_elliott(lost: ArrayLike, frames_per_packet: int = 1) -> GilbertElliottLossChannel:
    """The Gilbert-Elliott model of greatest likelihood, all four probabilities free, by Baum-Welch.

    EM goes a few steps from fixed starts (bad states that last as long as bursts of losses, 4 and 16 times as long)
    and from the likeliest of them to convergence; so equal traces give equal models. The first packet's state is free.
    The bad state is the one that loses more. Where the trace has no memory, or that of the simple chain, some of the
    four are not determined by it: then its model is one of several of equal likelihood.

    Args and raises: as `fit_gilbert`.
    """
    pattern = _checked(lost)
    simple, share = fit_gilbert(pattern), float(pattern.mean())
    starts = []
    for factor, bad_loss in ((1.0, 0.95), (4.0, 0.6), (16.0, 0.4)):
        bad_loss = max(bad_loss, 0.5 * (1 + share))
        good_loss = 0.1 * share
        bad = (share - good_loss) / (bad_loss - good_loss)
        leave = min(0.5, max(simple.to_good, 0.01) / factor)
        enter = min(0.5, leave * bad / (1 - bad))
        transitions = np.array([[1 - enter, enter], [leave, 1 - leave]])
        starts.append(Parameters(transitions, np.array([good_loss, bad_loss]), np.array([1 - bad, bad])))
    found = _likeliest(pattern, starts, free_loss=True)
    good, bad_state = np.argsort(found.loss, kind="stable")
    to_bad, to_good = found.transitions[good, bad_state], found.transitions[bad_state, good]
    return GilbertElliottLossChannel(
        max(float(to_bad), LEAST),
        max(float(to_good), LEAST),
        frames_per_packet,
        good_loss=float(found.loss[good]),
        bad_loss=float(found.loss[bad_state]),
    )


def fit_three_state(
    lost: ArrayLike, frames_per_packet: int = 1, *, shortest_gap: int | None = None
) -> ThreeStateLossChannel:
    """The three-state model of greatest likelihood, by Baum-Welch, or by counting with RFC 3611's gaps.

    Args:
        lost: bool `[N]`, such as `PacketTrace.lost`.
        frames_per_packet: of the channel that is returned.
        shortest_gap: RFC 3611's Gmin (16 there): runs of at least so many received packets, and those at the ends of
            the trace, are gaps and shorter ones lie within bursts, so that states are seen and counted. None leaves
            them hidden; EM then starts from what 2, 4 and 16 give.

    Raises:
        InvalidValue: as `fit_gilbert`, or `shortest_gap` is below 1.
    """
    pattern = _checked(lost)
    if shortest_gap is not None:
        if shortest_gap < 1:
            raise InvalidValue("shortest_gap", shortest_gap, "must be at least 1 packet, or null", "take 16")
        found = _counted_three_state(pattern, shortest_gap, 0.0)
    else:
        first = np.full(3, 1 / 3)
        loss = np.array([0.0, 1.0, 0.0])
        starts = [Parameters(_counted_three_state(pattern, gap, 0.5), loss, first) for gap in (2, 4, 16)]
        found = _likeliest(pattern, starts, free_loss=False).transitions
        if found[0, 1] > found[2, 1]:  # gaps are the longer runs
            found = found[::-1, ::-1]
    return ThreeStateLossChannel(
        max(float(found[0, 1]), LEAST),
        float(found[1, 0]),
        float(found[1, 2]),
        max(float(found[2, 1]), LEAST),
        frames_per_packet=frames_per_packet,
    )


def expectation(pattern: NDArray[np.bool_], parameters: Parameters) -> Expectation:
    """Forward-backward over a trace: exact, and vectorised over √N stretches of √N packets.

    Args:
        pattern: bool `[N]`, True where lost, N at least 2.
        parameters: of the chain.
    """
    transitions, loss, first = parameters
    emissions = np.stack([1 - loss, loss])
    states = len(first)
    operators = np.stack([transitions * emissions[0], transitions * emissions[1], np.eye(states)])
    width = math.isqrt(len(pattern) - 2) + 1
    rows = -(-(len(pattern) - 1) // width)
    padded = np.full(rows * width, 2)  # beyond the end nothing changes
    padded[: len(pattern) - 1] = pattern[1:]
    symbols = padded.reshape(rows, width)

    product, scale = np.broadcast_to(np.eye(states), (rows, states, states)), np.zeros(rows)
    for k in range(width):  # of each stretch, its operators' product
        product = product @ operators[symbols[:, k]]
        size = product.sum((1, 2), keepdims=True)
        product, scale = product / size, scale + np.log(size[:, 0, 0])
    forward, backward = np.empty((rows, width + 1, states)), np.empty((rows, width + 1, states))
    state = first * emissions[int(pattern[0])]
    log_likelihood = math.log(state.sum())
    state = state / state.sum()
    for row in range(rows):
        forward[row, 0] = state
        state = state @ product[row]
        log_likelihood += math.log(state.sum()) + scale[row]
        state = state / state.sum()
    state = np.full(states, 1 / states)
    for row in reversed(range(rows)):
        backward[row, width] = state
        state = product[row] @ state
        state = state / state.sum()
    for k in range(width):
        moved = _moved(forward[:, k], symbols[:, k], operators)
        forward[:, k + 1] = moved / moved.sum(1, keepdims=True)
        back = width - 1 - k
        moved = _moved(backward[:, back + 1], symbols[:, back], operators.transpose(0, 2, 1))
        backward[:, back] = moved / moved.sum(1, keepdims=True)

    steps, visits = np.zeros((states, states)), np.zeros((2, states))
    initial = forward[0, 0] * backward[0, 0] / (forward[0, 0] @ backward[0, 0])
    visits[int(pattern[0])] += initial
    for symbol in (0, 1):
        chosen = symbols == symbol
        before, after = forward[:, :-1][chosen], backward[:, 1:][chosen]
        weight = ((before @ operators[symbol]) * after).sum(1, keepdims=True)
        joint = operators[symbol] * ((before / weight).T @ after)
        steps += joint
        visits[symbol] += joint.sum(0)
    return Expectation(log_likelihood, steps, visits, initial)


def _moved(state: Floats, symbols: NDArray[np.int64], operators: Floats) -> Floats:
    """States `[R, S]` after a step, each by the operator of its own symbol; the last symbol changes nothing."""
    moved = [state @ operator for operator in operators[:-1]]
    return np.where(symbols[:, None] == 1, moved[1], np.where(symbols[:, None] == 0, moved[0], state))


def _likeliest(pattern: NDArray[np.bool_], starts: Sequence[Parameters], *, free_loss: bool) -> Parameters:
    """Parameters that EM finds from the start that is the likeliest after some steps."""
    trials = [_climb(pattern, start, TRIAL_STEPS, free_loss=free_loss) for start in starts]
    best = max(trials, key=lambda trial: trial[1])[0]
    return _climb(pattern, best, MAX_STEPS, free_loss=free_loss)[0]


def _climb(
    pattern: NDArray[np.bool_], parameters: Parameters, steps: int, *, free_loss: bool
) -> tuple[Parameters, float]:
    """Parameters after at most so many steps of EM, and the log-likelihood before the last one."""
    likelihood = -math.inf
    for _ in range(steps):
        found = expectation(pattern, parameters)
        visited = found.steps.sum(1, keepdims=True)
        transitions = np.where(visited > 0, found.steps / np.maximum(visited, 1e-300), parameters.transitions)
        total = found.visits.sum(0)
        loss = np.where(total > 0, found.visits[1] / np.maximum(total, 1e-300), parameters.loss)
        parameters = Parameters(transitions, loss if free_loss else parameters.loss, found.first)
        gain, likelihood = found.log_likelihood - likelihood, found.log_likelihood
        if gain < TOLERANCE:
            break
    return parameters, likelihood


def _counted_three_state(pattern: NDArray[np.bool_], shortest_gap: int, prior: float) -> Floats:
    """Transition matrix of G, L, B by counting, where runs of so many received packets are gaps.

    `prior` is added to the count of each transition that the model has, so that EM can leave each state.
    """
    edges = np.flatnonzero(np.diff(pattern)) + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(pattern)]])
    states = np.ones(len(pattern), dtype=np.int64)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if not pattern[start]:
            gap = end - start >= shortest_gap or start == 0 or end == len(pattern)
            states[start:end] = 0 if gap else 2
    counts = np.bincount(states[:-1] * 3 + states[1:], minlength=9).reshape(3, 3).astype(np.float64)
    counts += prior * np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]])
    never = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 0]])  # a state that does not occur
    total = counts.sum(1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), never)


def _checked(lost: ArrayLike) -> NDArray[np.bool_]:
    """A trace to which a model can be fitted."""
    pattern = np.asarray(lost, dtype=bool)
    if pattern.ndim != 1 or len(pattern) < 2 or pattern.all() or not pattern.any():
        what = f"a trace of shape {list(pattern.shape)} with {int(pattern.sum())} losses"
        raise InvalidValue(what, allowed="cannot be fitted", remedy="take one with lost and with received packets")
    return pattern
