"""The BCJR algorithm over the trellis of a shift register (Bahl, Cocke, Jelinek, Raviv 1974), for whole messages."""

import numpy as np

LARGEST = 700.0  # exp(-700) is about the smallest number that float64 keeps


def bcjr(llrs: np.ndarray, outputs: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """Log-likelihood ratios of the input bits of a trellis of S = 2^m states, from state zero to state zero.

    A register holds the newest bit and, in lower places, the m bits before it, which are the state; without its oldest
    bit it is the next state. log P(d_t = 0) / P(d_t = 1) is exact: it sums the probabilities of all paths, of which
    equally many were possible before reception. Infinite ratios are certain bits, which rule out paths.

    Args:
        llrs: float64 `[B, T, n]`, log P(0)/P(1) of the n channel bits of each of T > m steps; ±∞ is certain. Finite
            ones lie within ±600 / (n m), so that products over m steps do not underflow.
        outputs: integers `[n, 2S]`, the channel bits that each register sends; at least one depends on the oldest bit.
        labels: 0 or 1 of each register `[2S]`: ratios of this bit of each step instead of the input bit, at about twice
            the time. It must be a sum of the register's bits (mod 2), the newest among them.

    Returns:
        float64 `[B, T - m]`: ±∞ exactly where every path that agrees with the certain channel bits has that bit,
        within ±700 elsewhere; NaN in rows whose certain bits no path has.
    """
    zero, one = _path_sums(llrs, outputs, labels)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(zero) - np.log(one)
    ratios = np.nan_to_num(ratios, nan=0.0, posinf=LARGEST, neginf=-LARGEST).clip(-LARGEST, LARGEST)
    certain = np.isinf(llrs)
    if certain.any():
        # Sums may underflow, so certainty is found without the uncertain bits. As the code is linear, equally many
        # paths then reach each state that is reached, and all sums are exact.
        if llrs[~certain].any():
            zero, one = _path_sums(np.where(certain, llrs, 0.0), outputs, labels)
        ratios[one == 0.0] = np.inf
        ratios[zero == 0.0] = -np.inf
        ratios[(zero == 0.0) & (one == 0.0)] = np.nan
    return ratios


def _path_sums(llrs: np.ndarray, outputs: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Sums over the paths on which each step's bit is zero, and on which it is one, up to a factor: `[2, B, T - m]`."""
    batch, steps, _ = llrs.shape
    states = outputs.shape[1] // 2
    memory = states.bit_length() - 1
    symbols, forward = np.unique(outputs, axis=1, return_inverse=True)  # [n, symbols], [2S]
    weights = _symbol_weights(llrs, symbols, -steps % memory)  # [steps, B, symbols]
    if labels is None:  # every m steps the state holds all of the last m input bits
        kept = _recursions(weights, forward.ravel(), memory, every=memory)  # [blocks, 2, B, S]
        blocks = len(kept)
        joint = kept[:-1, 0] * kept[-2::-1, 1][..., _reversed_bits(memory)]  # [blocks - 1, B, S]
        sums = [joint.reshape(blocks - 1, batch, -1, 2, 2**place).sum((2, 4)) for place in range(memory)]
        return np.stack(sums, 1).reshape(-1, batch, 2)[: steps - memory].T
    kept = _recursions(weights, forward.ravel(), memory, every=1)  # [steps, 2, B, S]
    count, register = steps - memory, np.arange(2 * states)
    before = np.zeros((count, batch, states))
    before[0, :, 0] = 1.0
    before[1:] = kept[: count - 1, 0]
    after = kept[-2::-1, 1][:count][..., _reversed_bits(memory)]
    joint = before[..., register % states] * weights[:count][..., forward.ravel()] * after[..., register >> 1]
    return np.stack([joint[..., labels == bit].sum(-1) for bit in (0, 1)], -1).T


def _recursions(weights: np.ndarray, symbols: np.ndarray, memory: int, *, every: int) -> np.ndarray:
    """Probabilities of the states after every so many steps, forward and backward, up to a factor.

    The backward recursion is a forward one over the reversed message and the reversed register, so one loop does both.
    They are scaled every m steps.

    Args:
        weights: of each symbol at each step `[steps, B, symbols]`; steps is a multiple of m.
        symbols: that each register sends `[2S]`.
        memory: m.
        every: steps between the states kept, 1 or m.

    Returns:
        `[steps / every, 2, B, S]`; the second of two counts steps from the end, its states with their bits reversed.
    """
    batch, states = weights.shape[1], 2**memory
    directions = symbols, symbols[_reversed_bits(memory + 1)]
    kept = np.empty((len(weights) // every, 2, batch, states))
    state = np.zeros((2, batch, states))
    state[..., 0] = 1.0
    products = np.empty((2, batch, 2, states))
    zero_oldest, one_oldest = (products.reshape(2, batch, states, 2)[..., oldest] for oldest in (0, 1))
    chunk = (
        max(1, 2**16 // max(1, products.size * memory)) * memory
    )  # steps whose branches are held at a time, in cache
    branches = np.empty((chunk, 2, batch, 2, states))
    for start in range(0, len(weights), chunk):
        count = min(chunk, len(weights) - start)
        for direction, (part, symbol) in enumerate(zip((weights, weights[::-1]), directions, strict=True)):
            branches[:count, direction] = part[start : start + count].take(symbol, -1).reshape(count, batch, 2, states)
        for step, branch in enumerate(branches[:count], start + 1):
            np.multiply(state[:, :, None], branch, out=products)
            np.add(zero_oldest, one_oldest, out=state)
            if step % memory == 0:
                state /= np.maximum(state.max(-1, keepdims=True), np.finfo(float).tiny)
            if step % every == 0:
                kept[step // every - 1] = state
    return kept


def _symbol_weights(llrs: np.ndarray, symbols: np.ndarray, appended: int) -> np.ndarray:
    """Probability of each of the symbols `[n, symbols]` at each step, up to a factor: `[T + appended, B, symbols]`.

    The steps appended send zeros, which only the path that stays in state zero does.
    """
    padded = np.pad(llrs.swapaxes(0, 1), ((0, appended), (0, 0), (0, 0)), constant_values=np.inf)  # [steps, B, n]
    bits = np.exp(np.minimum(np.stack((padded, -padded), -1), 0.0))  # [steps, B, n, 2]
    weights = np.ones((*padded.shape[:2], symbols.shape[1]))
    for place, symbol in enumerate(symbols):
        weights *= bits[:, :, place].take(symbol, -1)
    return weights


def _reversed_bits(count: int) -> np.ndarray:
    """The numbers below 2^count with their bits in reversed order: int64 `[2^count]`."""
    places = np.arange(count)
    return ((np.arange(2**count)[:, None] >> places & 1) << places[::-1]).sum(1)
