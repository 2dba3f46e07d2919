"""The gains of loudness normalisation: of whole clips, and of the crops that are cut from them."""

import torch

from data.audio.channels import MEAN, Channel
from data.audio.files import Segment
from data.audio.loudness import LoudnessMeter
from data.audio.reading import read_whole
from data.sources.base import Clip

STRETCH_SECONDS = 60.0  # of a longer clip that is measured for a crop
REMEMBERED = 100_000  # gains


def level_gain(waves: tuple[torch.Tensor, ...], sample_rate: int, *, target: float) -> float:
    """The gain in dB that brings waves, the first at `sample_rate`, to `target` LUFS within full scale."""
    peak = max(wave.abs().max().item() for wave in waves)
    meter = LoudnessMeter(sample_rate)
    meter.push(waves[0])
    return meter.gain_to(target, peak=peak)


def amplified(waves: tuple[torch.Tensor, ...], gain_db: float) -> tuple[torch.Tensor, ...]:
    """The waves, louder by `gain_db`."""
    factor = 10 ** (gain_db / 20)
    return waves if factor == 1.0 else tuple(wave * factor for wave in waves)


class CropGains:
    """The gain of a training crop: that of its whole clip, or where this is longer than 60 s, of the 60 s around it.

    A crop's own loudness would bring pauses to the level of speech. A clip or stretch is read when a process first
    draws from it; the gain is a function of the file alone.

    Args:
        target: loudness in LUFS.
        rates: at which crops are read.
        highpass_hz: as the crops are filtered.
        channel: of which the crops are.
    """

    def __init__(
        self, target: float, *, rates: tuple[int, ...], highpass_hz: float | None, channel: Channel = MEAN
    ) -> None:
        self._target, self._rates, self._highpass_hz, self._channel = target, rates, highpass_hz, channel
        self._known: dict[tuple[str, Segment | None], float] = {}

    def gain_db(self, clip: Clip, start: float, seconds: float) -> float:
        """The gain in dB of a crop from second `start` on, in a clip of `seconds`. Raises AudioReadError."""
        segment = clip.segment
        if seconds > STRETCH_SECONDS:
            first = start // STRETCH_SECONDS * STRETCH_SECONDS
            begin = 0.0 if segment is None else segment.start
            segment = Segment(begin + first, min(STRETCH_SECONDS, seconds - first))
        key = clip.path, segment
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            waves = read_whole(
                clip.path, self._rates, segment=segment, highpass_hz=self._highpass_hz, channel=self._channel
            )
            self._known[key] = level_gain(waves, self._rates[0], target=self._target)
        return self._known[key]
