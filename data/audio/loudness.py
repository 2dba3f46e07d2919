"""Loudness after ITU-R BS.1770-4 and EBU R 128, measured piece by piece, and the gain to a target loudness."""

import math

import torch
from torchaudio.functional import highpass_biquad, treble_biquad

ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS; LU
OFFSET = -0.691
STEPS = 4  # of a quarter of a gating block of 0.4 s
LEAD_SECONDS = 0.1  # heard again before each piece, for filters that have settled
GATE_ROUNDS = 4  # measurements of what a gain lets through the absolute gate; speech needs two
HEADROOM = 4.0  # the library's filters clip at full scale


class LoudnessMeter:
    """Integrated loudness in LUFS of a mono signal that comes in pieces, in bounded memory.

    The filters are torchaudio's, as in `torchaudio.functional.loudness`; that function needs the whole signal, clips
    what the filters bring above full scale, and has no value for less than 0.4 s. Gating: blocks of 0.4 s, three
    quarters overlapping; those below -70 LUFS are left out, then those 10 LU below the mean of the others. A signal
    shorter than a block counts as one block of its length.

    Args:
        sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate, self._step = sample_rate, max(1, round(0.1 * sample_rate))
        self._lead = round(LEAD_SECONDS * sample_rate)
        self._held = torch.zeros(1, 0)  # what was heard last, and after it what fills no step yet
        self._heard = 0  # samples of `_held` that are in a step already
        self._energies: list[torch.Tensor] = []

    def push(self, wave: torch.Tensor) -> None:
        """Hear a further piece, float32 [1, T]."""
        held = torch.cat((self._held, wave), -1)
        steps = (held.shape[1] - self._heard) // self._step
        stop = self._heard + steps * self._step
        if steps:
            weighted = self._weighted(held[:, :stop])[:, self._heard :]
            self._energies.append(weighted.view(steps, self._step).square().mean(1))
        first = max(0, stop - self._lead)
        self._held, self._heard = held[:, first:].clone(), stop - first

    def gain_to(self, target: float, *, scale: float = 1.0, peak: float) -> float:
        """The gain in dB that brings all so far, times `scale`, to `target` LUFS, or as near as its peak allows.

        The absolute gate hears more of a quiet signal when it is louder: the gain is that at which it then has the
        target loudness. 0 for silence.
        """
        factor = 20 * math.log10(scale)
        gain = gain_to(target, loudness=self.loudness(factor), peak=peak * scale)
        for _ in range(GATE_ROUNDS):
            gain += gain_to(target, loudness=self.loudness(factor + gain), peak=peak * scale * 10 ** (gain / 20))
        return gain

    def loudness(self, gain_db: float = 0.0) -> float:
        """The loudness of all so far after `gain_db`, in LUFS; minus infinity for silence."""
        energies = torch.cat([torch.zeros(0, dtype=torch.float64), *self._energies])
        if len(energies) < STEPS:
            rest = self._weighted(self._held)[0, self._heard :].square()
            samples = len(energies) * self._step + len(rest)
            blocks = ((energies.sum() * self._step + rest.sum()) / max(1, samples))[None]
        else:
            blocks = energies.unfold(0, STEPS, 1).mean(1)
        blocks = blocks * 10 ** (gain_db / 10)
        heard = blocks[blocks > _energy(ABSOLUTE_GATE)]
        if not len(heard):
            return -math.inf
        loud = heard[heard > heard.mean() * 10 ** (RELATIVE_GATE / 10)]
        return OFFSET + 10 * math.log10(loud.mean().item())

    def _weighted(self, wave: torch.Tensor) -> torch.Tensor:
        """K-weighting: a shelf that stands for the head, then a high-pass."""
        if not wave.shape[1]:
            return wave.double()
        shelved = treble_biquad(wave.double() / HEADROOM, self._rate, 4.0, 1500.0, 1 / math.sqrt(2))
        return highpass_biquad(shelved, self._rate, 38.0, 0.5) * HEADROOM


def gain_to(target: float, *, loudness: float, peak: float) -> float:
    """The gain in dB that brings a signal to `target` LUFS, or as near as its peak allows: it stays within full scale.

    0 for silence.
    """
    if not math.isfinite(loudness) or peak <= 0.0:
        return 0.0
    return min(target - loudness, -20 * math.log10(peak))


def _energy(loudness: float) -> float:
    return 10 ** ((loudness - OFFSET) / 10)
