"""The Viterbi algorithm over the trellis of a shift register (Viterbi 1967), for batches of whole messages."""

import numpy as np


def viterbi(llrs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Input bits of the most likely path through a trellis of 2^m states, from state zero to state zero.

    A register holds the newest bit and, in lower places, the m bits before it, which are the state; without its oldest
    bit it is the next state. The cost of a path is the sum of the log-likelihood ratios of the channel bits that are
    one on it. Of two paths of equal cost into a state, the one whose oldest bit is zero survives. Each survivor is
    stored as one bit, so a message takes T · 2^m / 8 bytes.

    Args:
        llrs: float64 `[B, T, n]`, log P(0)/P(1) of the n channel bits of each of T steps.
        outputs: float64 `[n, 2^(m+1)]`, the channel bits that each register sends.

    Returns:
        uint8 `[B, T]`; the last m bits are zeros.
    """
    batch, steps, _ = llrs.shape
    states = outputs.shape[1] // 2
    chunk = max(16, 4096 // max(batch, 1))  # steps whose branch costs are held at a time
    costs = np.full((batch, states), np.inf)
    costs[:, 0] = 0.0
    candidates = np.empty((batch, 2, states))
    keep_zero, keep_one = (candidates.reshape(batch, states, 2)[:, :, oldest] for oldest in (0, 1))
    survivors = []  # per chunk, uint8 [steps, B, states / 8]: the oldest bit on the best path into each state
    for start in range(0, steps, chunk):
        branches = (llrs[:, start : start + chunk].swapaxes(0, 1) @ outputs).reshape(-1, batch, 2, states)
        oldest = np.empty((len(branches), batch, states), dtype=bool)
        for step, branch in enumerate(branches):
            np.add(costs[:, None], branch, out=candidates)
            np.less(keep_one, keep_zero, out=oldest[step])
            np.minimum(keep_zero, keep_one, out=costs)
        costs -= costs.min(1, keepdims=True)
        survivors.append(np.packbits(oldest, axis=2))
    rows, state = np.arange(batch), np.zeros(batch, dtype=np.int64)
    path = np.empty((steps, batch), dtype=np.int64)
    step = steps
    for packed in reversed(survivors):
        for oldest in np.unpackbits(packed, axis=2)[::-1]:
            step -= 1
            path[step] = state
            state = (state << 1 & states - 1) | oldest[rows, state]
    return (path >= states // 2).T.astype(np.uint8)
