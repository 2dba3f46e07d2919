"""Packet losses from hidden Markov chains: Gilbert-Elliott (Elliott 1963) and three states (Milner and James 2004)."""

import math
from bisect import bisect_right
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from codec.channels.base import check_share
from codec.channels.bit_errors import markov_states
from codec.channels.packets.frame_losses import PacketChannel
from codec.errors import InvalidValue

RAREST = 1e-12  # probability of leaving a state of received packets


class LossChain:
    """A stationary Markov chain whose state gives each packet's probability of being lost.

    With A the transition matrix, D₁ = diag(h), D₀ = I − D₁ and π the stationary distribution, the loss share is π h,
    bursts of losses begin at a share r = π D₀ A D₁ 1 of the packets, and P(burst ≥ l) = π D₀ (A D₁)^l 1 / r. Gaps, the
    runs of received packets, follow by exchanging D₀ and D₁.

    Attributes:
        transitions: A, float64 `[S, S]`, rows sum to 1.
        loss_probabilities: h, float64 `[S]`, probability of a loss in each state.
        stationary: π, float64 `[S]`.
    """

    def __init__(self, transitions: ArrayLike, loss_probabilities: ArrayLike, stationary: ArrayLike) -> None:
        self.transitions = np.asarray(transitions, dtype=np.float64)
        self.loss_probabilities = np.asarray(loss_probabilities, dtype=np.float64)
        self.stationary = np.asarray(stationary, dtype=np.float64)

    @property
    def loss_share(self) -> float:
        """Expected share of packets lost."""
        return float(self.stationary @ self.loss_probabilities)

    def mean_run(self, *, lost: bool) -> float:
        """Mean length of bursts (lost) or of gaps (received) in packets; infinite where they never begin."""
        share = self.loss_share if lost else 1.0 - self.loss_share
        beginnings = self._run_starts(lost).sum()
        return float(share / beginnings) if beginnings > 0 else math.inf

    def run_probabilities(self, longest: int, *, lost: bool) -> NDArray[np.float64]:
        """P(length ≥ l) of a burst (lost) or gap (received) for l = 1 … `longest`, float64 `[longest]`.

        Zero everywhere where they never begin.
        """
        emission = self.loss_probabilities if lost else 1.0 - self.loss_probabilities
        state = self._run_starts(lost)
        beginnings = state.sum()
        found = np.zeros(longest)
        for length in range(longest if beginnings > 0 else 0):
            found[length] = state.sum() / beginnings
            state = (state @ self.transitions) * emission
        return found

    def log_likelihood(self, lost: ArrayLike) -> float:
        """Natural logarithm of the probability of a pattern of losses, bool `[N]`, from the stationary start."""
        pattern = np.asarray(lost, dtype=np.int64)
        emissions = np.stack([1.0 - self.loss_probabilities, self.loss_probabilities])
        state, total = self.stationary, 0.0
        for k, symbol in enumerate(pattern.tolist()):
            state = (state if k == 0 else state @ self.transitions) * emissions[symbol]
            scale = state.sum()
            if scale <= 0.0:
                return -math.inf
            total += math.log(scale)
            state = state / scale
        return total

    def draw_states(self, length: int, generator: torch.Generator) -> Tensor:
        """Draw states int64 `[length]`, stationary, one random number of the generator a step."""
        rows = [list(accumulate(row)) for row in (self.stationary.tolist(), *self.transitions.tolist())]
        last = [max(k for k, p in enumerate(np.diff(row, prepend=0.0)) if p > 0) for row in rows]
        states, row = [], 0
        for draw in torch.rand(length, generator=generator, dtype=torch.float64).tolist():
            state = min(bisect_right(rows[row], draw), last[row])  # a sum below 1 by rounding ends in no other state
            states.append(state)
            row = state + 1
        return torch.tensor(states, dtype=torch.long)

    def _run_starts(self, lost: bool) -> NDArray[np.float64]:
        """P(a run begins at a packet and its state is s), float64 `[S]`."""
        inside = self.loss_probabilities if lost else 1.0 - self.loss_probabilities
        return ((self.stationary * (1.0 - inside)) @ self.transitions) * inside


class GilbertElliottLossChannel(PacketChannel):
    """Loses packets with one probability in a good state and another in a bad one (Gilbert 1960, Elliott 1963).

    The chain goes from good to bad with probability p and from bad to good with r at each packet, so that its bad share
    is p / (p + r), and starts in its stationary distribution. The loss share is (r h_G + p h_B) / (p + r). With h_G = 0
    and h_B = 1 it is Gilbert's simple chain, `PacketLossChannel` with bursts of 1 / r packets.

    >>> GilbertElliottLossChannel(0.02, 0.08, good_loss=0.01, bad_loss=0.5).error_rate
    0.108

    Args:
        to_bad: p, probability of going from good to bad at a packet.
        to_good: r, probability of going from bad to good.
        frames_per_packet: consecutive frames that travel together; the last packet of a clip may hold fewer.
        good_loss: h_G, probability of a loss in the good state.
        bad_loss: h_B, probability of a loss in the bad state.

    Raises:
        InvalidValue: a probability is outside [0, 1], p and r are both 0, or a packet has no frame.
    """

    family = "gilbert-elliott-loss"

    def __init__(
        self,
        to_bad: float,
        to_good: float,
        frames_per_packet: int = 1,
        *,
        good_loss: float = 0.0,
        bad_loss: float = 1.0,
    ) -> None:
        super().__init__(frames_per_packet)
        self.to_bad, self.to_good = check_share("to_bad", to_bad), check_share("to_good", to_good)
        self.good_loss, self.bad_loss = check_share("good_loss", good_loss), check_share("bad_loss", bad_loss)
        if to_bad + to_good == 0:
            raise InvalidValue("to_bad and to_good", 0, "leave both states for ever", "give one above 0")
        self.bad_share = to_bad / (to_bad + to_good)
        self.error_rate = (to_good * good_loss + to_bad * bad_loss) / (to_bad + to_good)
        settings = "-".join(f"{value:g}" for value in (to_bad, to_good, good_loss, bad_loss))
        self.name = f"{self.family}{packet_suffix(frames_per_packet)}-{settings}"

    @property
    def curve(self) -> str:
        return f"{self.family}{packet_suffix(self.frames_per_packet)}"

    @property
    def chain(self) -> LossChain:
        """The chain, of the states good and bad."""
        transitions = [[1 - self.to_bad, self.to_bad], [self.to_good, 1 - self.to_good]]
        return LossChain(transitions, [self.good_loss, self.bad_loss], [1 - self.bad_share, self.bad_share])

    def _lost(self, packets: int, generator: torch.Generator) -> Tensor:
        bad = markov_states(packets, self.bad_share, 1 / self.to_good if self.to_good else math.inf, generator)
        loss = torch.where(bad, self.bad_loss, self.good_loss)
        return torch.rand(packets, generator=generator, dtype=torch.float64) < loss


class ThreeStateLossChannel(PacketChannel):
    """Loses packets by a chain of three states: received in a gap (G), lost (L), received within a burst (B).

    G goes to L or stays; L stays, goes to B or to G; B goes to L or stays. So a burst, in the sense of RFC 3611
    (section 4.7.2), begins and ends with a loss and may hold received packets between losses, whose runs are shorter
    than those of gaps. Its four probabilities a packet give

    - the loss share π_L = 1 / (1 + p_LG / p_GL + p_LB / p_BL),
    - runs of losses of mean 1 / (p_LG + p_LB), geometric,
    - runs of received packets from a mixture of two geometric laws: of mean 1 / p_GL with probability
      p_LG / (p_LG + p_LB), else of mean 1 / p_BL.

    Chains of these states model losses for distributed speech recognition in Milner and James, "An analysis of packet
    loss models for distributed speech recognition" (Interspeech 2004). It is RFC 3611's model of four states (appendix
    A.2) without its state of an isolated loss in a gap, which here is a burst of one packet.

    >>> channel = ThreeStateLossChannel(0.01, 0.2, 0.3, 0.4)
    >>> round(channel.error_rate, 4), channel.chain.mean_run(lost=True)
    (0.046, 2.0)

    Args:
        gap_to_lost: p_GL, above 0.
        lost_to_gap: p_LG.
        lost_to_burst: p_LB, of a packet received within the burst.
        burst_to_lost: p_BL, above 0.
        frames_per_packet: consecutive frames that travel together; the last packet of a clip may hold fewer.

    Raises:
        InvalidValue: a probability is outside [0, 1], L is left with more than probability 1, G or B never, or a packet
            has no frame.
    """

    family = "three-state-loss"

    def __init__(
        self,
        gap_to_lost: float,
        lost_to_gap: float,
        lost_to_burst: float,
        burst_to_lost: float,
        *,
        frames_per_packet: int = 1,
    ) -> None:
        super().__init__(frames_per_packet)
        self.gap_to_lost = check_share("gap_to_lost", gap_to_lost)
        self.lost_to_gap = check_share("lost_to_gap", lost_to_gap)
        self.lost_to_burst = check_share("lost_to_burst", lost_to_burst)
        self.burst_to_lost = check_share("burst_to_lost", burst_to_lost)
        if min(gap_to_lost, burst_to_lost) < RAREST:
            allowed = "must both be at least 1e-12: a state of received packets is left some time"
            raise InvalidValue("gap_to_lost and burst_to_lost", f"{gap_to_lost} and {burst_to_lost}", allowed)
        if lost_to_gap + lost_to_burst > 1 + 1e-12:
            allowed = "must be at most 1 in sum"
            raise InvalidValue("lost_to_gap and lost_to_burst", f"{lost_to_gap} and {lost_to_burst}", allowed)
        self.error_rate = 1 / (1 + lost_to_gap / gap_to_lost + lost_to_burst / burst_to_lost)
        settings = "-".join(f"{value:g}" for value in (gap_to_lost, lost_to_gap, lost_to_burst, burst_to_lost))
        self.name = f"{self.family}{packet_suffix(frames_per_packet)}-{settings}"

    @property
    def curve(self) -> str:
        return f"{self.family}{packet_suffix(self.frames_per_packet)}"

    @property
    def chain(self) -> LossChain:
        """The chain, of the states G, L and B."""
        gap, to_gap, to_burst, burst = self.gap_to_lost, self.lost_to_gap, self.lost_to_burst, self.burst_to_lost
        stay = max(0.0, 1 - to_gap - to_burst)
        transitions = [[1 - gap, gap, 0.0], [to_gap, stay, to_burst], [0.0, burst, 1 - burst]]
        lost = self.error_rate
        return LossChain(transitions, [0.0, 1.0, 0.0], [lost * to_gap / gap, lost, lost * to_burst / burst])

    def _lost(self, packets: int, generator: torch.Generator) -> Tensor:
        return self.chain.draw_states(packets, generator) == 1


def packet_suffix(frames_per_packet: int) -> str:
    """Part of a channel's name that states frames a packet; nothing for one."""
    return f"-{frames_per_packet}" if frames_per_packet > 1 else ""
