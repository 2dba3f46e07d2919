"""Map-style data sets: training crops, numbered by their draw and augmented, and whole clips for evaluation."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from data.audio.bad_files import BadFiles
from data.audio.channels import MEAN, Channel
from data.audio.decoded import DecodedClips
from data.audio.reading import (
    Crop,
    read_crop,
    read_whole,
    within_full_scale,
)
from data.datasets.levels import CropGains, amplified, level_gain
from data.errors import AudioReadError, DataError, counted
from data.sampling import ClipTable, Draw, draw_uniforms
from data.sources.base import AudioSource, Clip, refuse_shortened

MAX_ATTEMPTS = 100  # unreadable clips in one draw before it is an error


class AudioFormat(NamedTuple):
    """The audio that data sets return.

    Attributes:
        rates: of the model's input in Hz and, where it differs, of its target.
        highpass_hz: cut-off of the high-pass filter; None for no filter.
        loudness: to which clips are brought, in LUFS; None to leave their levels as they are.
        channel: which of several channels.
    """

    rates: tuple[int, ...]
    highpass_hz: float | None = None
    loudness: float | None = None
    channel: Channel = MEAN

    def item(self, waves: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        """{"audio": [1, T]} of one wave, and "target" of a second one."""
        return dict(zip(("audio", "target"), waves, strict=False))


@dataclass(frozen=True)
class Augmentation:
    """What is changed at random in the training crops: noise is mixed in, then a gain is applied.

    Args:
        gain_db: lowest and highest gain in dB; None for no gain.
        noise: the recordings to mix in; None for none. They are read from their files, also with `in_memory`.
        snr_db: lowest and highest signal-to-noise ratio in dB.
        noise_probability: share of the crops that get noise, from 0 to 1.
    """

    gain_db: tuple[float, float] | None = None
    noise: AudioSource | None = None
    snr_db: tuple[float, float] = (5.0, 30.0)
    noise_probability: float = 0.5


NO_AUGMENTATION = Augmentation()


class ListedClips(NamedTuple):
    """Clips, and the table that chooses among them."""

    clips: Sequence[Clip]
    table: ClipTable


class CropDataset(Dataset[dict[str, torch.Tensor]]):
    """Training crops: item i is a pure function of (seed, i), so any process may make it.

    Items are {"audio": float32 [1, samples]}, and {"target": [1, T']} of the same region at a second rate. A clip that
    cannot be read is reported to `bad_files` and another one is drawn; one shorter than a crop is reported and followed
    by zeros.

    Args:
        speech: the clips to cut crops from.
        samples: length of a crop at the first rate.
        audio_format: rates and high-pass filter.
        seed: of all draws.
        bad_files: record of the files that cannot be used.
        strict: raise AudioReadError where a file would be reported.
        augmentation: gain, and how noise is mixed in.
        noise: the clips of `augmentation.noise`; None for no noise.
        decoded: the speech clips in memory; those it does not hold are read from their files.

    Raises:
        DataError: MAX_ATTEMPTS clips drawn one after the other cannot be read.
    """

    def __init__(
        self,
        speech: ListedClips,
        *,
        samples: int,
        audio_format: AudioFormat,
        seed: int,
        bad_files: BadFiles,
        strict: bool = False,
        augmentation: Augmentation = NO_AUGMENTATION,
        noise: ListedClips | None = None,
        decoded: DecodedClips | None = None,
    ) -> None:
        self._speech, self._samples, self._format = speech, samples, audio_format
        self._seed, self._bad_files, self._strict = seed, bad_files, strict
        self._augmentation, self._noise, self._decoded = augmentation, noise, decoded
        rates, highpass_hz, loudness, channel = audio_format
        self._gains = None
        if loudness is not None:
            self._gains = CropGains(loudness, rates=rates, highpass_hz=highpass_hz, channel=channel)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        for attempt in range(MAX_ATTEMPTS):
            draw = draw_uniforms(self._seed, index, attempt)
            try:
                crop = self._read(self._speech.table.choose(draw.clip), draw.position)
                return self._format.item(self._augment(crop.waves, draw))
            except AudioReadError as error:
                if self._strict:
                    raise
                self._bad_files.report(error.path, error.reason)
        problem = f"{MAX_ATTEMPTS} clips drawn in a row cannot be read"
        named = counted(len(self._bad_files), "bad file")
        remedy = f"see the log, which names {named} so far, and check that the corpus is complete"
        raise DataError(problem, remedy=remedy)

    def _read(self, number: int, position: float) -> Crop:
        clip = self._speech.clips[number]
        crop = self._decoded.crop(number, position) if self._decoded else None
        if crop is None:
            crop = read_crop(
                clip.path,
                self._samples,
                rates=self._format.rates,
                position=position,
                segment=clip.segment,
                highpass_hz=self._format.highpass_hz,
                channel=self._format.channel,
            )
        refuse_shortened(clip, crop.file_seconds)
        wanted = self._samples / self._format.rates[0]
        if crop.file_seconds < wanted:
            reason = f"shorter than a crop ({crop.file_seconds:.3f} s of {wanted:.3f} s)"
            if self._strict:
                raise AudioReadError(clip.name, reason)
            self._bad_files.report(clip.name, f"{reason}, used with zeros after it")
        if self._gains is not None:
            start = position * max(0.0, crop.file_seconds - wanted)
            crop = crop._replace(waves=amplified(crop.waves, self._gains.gain_db(clip, start, crop.file_seconds)))
        return crop

    def _augment(self, waves: tuple[torch.Tensor, ...], draw: Draw) -> tuple[torch.Tensor, ...]:
        options = self._augmentation
        if self._noise is not None and draw.noise < options.noise_probability:
            clip = self._noise.clips[self._noise.table.choose(draw.noise_clip)]
            noises = read_crop(
                clip.path,
                self._samples,
                rates=self._format.rates,
                position=draw.noise_position,
                segment=clip.segment,
                channel=self._format.channel,
            ).waves
            scale = noise_scale(waves[0], noises[0], snr_db=_between(options.snr_db, draw.snr))
            waves = tuple(wave + scale * noise for wave, noise in zip(waves, noises, strict=True))
        if options.gain_db is not None:
            factor = 10.0 ** (_between(options.gain_db, draw.gain) / 20.0)
            waves = tuple(wave * factor for wave in waves)
        return within_full_scale(waves)


class ClipDataset(Dataset[dict[str, torch.Tensor | str]]):
    """Whole clips: {"audio": float32 [1, T], "id", "path", "speaker", "text"}, {"target": [1, T']} for a second rate.

    `speaker` and `text` are empty where the source does not know them. Clips are cut to `max_seconds`; those numbered
    in `cut` lose something by it, so that their texts, of more than is heard, are empty too; those in `long` share no
    batch with others. Where the format states a loudness, "gain_db" (float32) is what the clip was amplified by. Raises
    AudioReadError for a file that has become unreadable since `readable_clips`. With `exact` they are filtered as
    pieces of clips are.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        audio_format: AudioFormat,
        *,
        max_seconds: float | None = None,
        exact: bool = False,
        cut: Collection[int] = (),
        long: Collection[int] = (),
    ) -> None:
        self._clips, self._format, self._max_seconds, self._exact = clips, audio_format, max_seconds, exact
        self._cut, self._long = frozenset(cut), frozenset(long)

    def __len__(self) -> int:
        return len(self._clips)

    def stands_alone(self, index: int) -> bool:
        """Whether a clip shares no batch: it is long."""
        return index in self._long

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        clip, audio = self._clips[index], self._format
        if index in self._cut:
            clip = clip._replace(text=None)
        waves = read_whole(
            clip.path,
            audio.rates,
            segment=clip.segment,
            max_seconds=self._max_seconds,
            highpass_hz=audio.highpass_hz,
            channel=audio.channel,
            exact=self._exact,
        )
        if audio.loudness is None:
            return self.described(clip, waves)
        gain = level_gain(waves, audio.rates[0], target=audio.loudness)
        return self.described(clip, amplified(waves, gain), gain)

    def described(
        self, clip: Clip, waves: tuple[torch.Tensor, ...], gain_db: float | None = None
    ) -> dict[str, torch.Tensor | str]:
        """The item of a clip, given its waves and what they were amplified by."""
        item: dict[str, torch.Tensor | str] = {**self._format.item(waves), "id": clip.id, "path": clip.path}
        item["speaker"], item["text"] = clip.speaker or "", clip.text or ""
        return item if gain_db is None else {**item, "gain_db": torch.tensor(gain_db, dtype=torch.float32)}


def noise_scale(speech: torch.Tensor, noise: torch.Tensor, *, snr_db: float) -> float:
    """The factor for `noise` that gives `snr_db` (10 log10 of mean squares); 0 where either is silent."""
    speech_power, noise_power = speech.square().mean().item(), noise.square().mean().item()
    if speech_power == 0.0 or noise_power == 0.0:
        return 0.0
    return math.sqrt(speech_power / noise_power / 10.0 ** (snr_db / 10.0))


def _between(limits: tuple[float, float], uniform: float) -> float:
    low, high = limits
    return low + (high - low) * uniform
