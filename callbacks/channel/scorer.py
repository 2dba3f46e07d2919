"""Sends clips through channels, one after the other, decodes them, and passes the signals to the scoring pool."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from callbacks.channel.files import ClipAudio
from callbacks.channel.rates import coded_bit_rate
from callbacks.channel.transmission import decode_receptions, transmit
from callbacks.metrics import SpeechMetric
from callbacks.scoring.pool import ScoringPool
from callbacks.scoring.scores import ClipScores
from codec.channels import Channel
from codec.errors import InvalidValue
from codec.training.comparison_module import EvaluatedSystem, encode_at


@dataclass
class Clip:
    """A clip to transmit: its reference [T] at the scoring rate, and each codec's codes [1, K, F] on the CPU.

    `speaker` and `transcript` are empty where not known.
    """

    clip_id: str
    reference: np.ndarray
    codes: dict[str, Tensor]
    speaker: str = ""
    transcript: str = ""


def clip_of(
    batch: Any, outputs: Tensor | Mapping[str, Any] | None, systems: Sequence[EvaluatedSystem], *, sample_rate: int
) -> Clip:
    """The clip of an evaluation batch, with the step's `"codes"`, or encoded here if the step has not returned them.

    Args:
        batch: `audio` [1, 1, T] at `sample_rate`, `id`, `speaker` where known, and `target` where the output rate
            differs.
        outputs: of the step; its `"codes"` are a tensor, or in a comparison a tensor for each name.
        systems: evaluated systems to encode with.
        sample_rate: of the input, in Hz.

    Raises:
        InvalidValue: The batch does not hold exactly one clip.
    """
    audio = batch["audio"]
    if audio.ndim != 3 or audio.shape[:2] != (1, 1) or len(batch["id"]) != 1:
        raise InvalidValue(
            "a batch's audio",
            list(audio.shape),
            "must be one whole clip [1, 1, T] for channel evaluation",
            "use batch size 1 for validation and test",
        )
    codes = outputs.get("codes") if isinstance(outputs, Mapping) else None
    if codes is None:
        codes = {c.name: encode_at(c.codec, audio, sample_rate) for c in systems}
    if isinstance(codes, Tensor):
        codes = {systems[0].name: codes}
    reference = batch.get("target", audio)[0, 0].float().cpu().numpy()
    on_cpu = {name: found.detach().cpu() for name, found in codes.items()}
    said = (batch.get(name, [""])[0] for name in ("speaker", "text"))
    return Clip(batch["id"][0], reference, on_cpu, *said)


def _delay_frames(system: EvaluatedSystem, channel: Channel) -> int:
    """Frames that error correction and interleaving in `channel`, and concealment, hold back."""
    return channel.delay_frames + system.connection.delay_frames


def hash_order(clip_id: str) -> bytes:
    """Sort key: a fixed pseudo-random order of clips, which mixes speakers and corpora."""
    return hashlib.sha256(clip_id.encode()).digest()


def check_unique(ids: Iterable[str]) -> None:
    """Raise InvalidValue where an id occurs twice."""
    twice = sorted({a for a, b in pairwise(sorted(ids)) if a == b})
    if twice:
        raise InvalidValue(
            "clips",
            twice[:3],
            "were evaluated twice",
            "give each clip its own id, and each rank its own clips (a DistributedSampler pads with duplicates; set "
            "use_distributed_sampler=False)",
        )


class ChannelScorer:
    """Scores the clips of one rank; scoring runs in processes while the next clip is decoded.

    Args:
        channels: Channels to send each clip through.
        metrics: What to measure.
        num_workers: Scoring processes.
        repeats: Draws per clip and channel.
        seed: Seed of the draws.
        decode_batch: Number of receptions decoded at once.
        audio_clips: Number of clips, the first by `hash_order`, whose audio is kept.
        audio_channels: Number of channels whose audio is kept, spread evenly, the first included.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        metrics: Sequence[SpeechMetric],
        *,
        num_workers: int,
        repeats: int,
        seed: int,
        decode_batch: int,
        audio_clips: int,
        audio_channels: int,
    ) -> None:
        self.channels, self.repeats, self.seed, self.decode_batch = channels, repeats, seed, decode_batch
        self.audio_clips = audio_clips
        places = np.linspace(0, len(channels) - 1, min(audio_channels, len(channels)))
        self.kept_channels = sorted({round(place) for place in places})
        self.pool = ScoringPool(metrics, num_workers)
        self._scores: list[ClipScores] = []
        self._audio: list[ClipAudio] = []
        self._threads: int | None = None

    def add(self, systems: Sequence[EvaluatedSystem], clip: Clip, *, sample_rate: int) -> None:
        """Transmit and decode one clip with every system, and queue its signals for scoring."""
        self._leave_cores_to_scoring()
        kept = ClipAudio(clip.clip_id, clip.reference, {})
        for system in systems:
            kept.decoded.update(self._add(system, clip, sample_rate))
        self._audio = self.first_audio([*self._audio, kept])

    def _add(self, system: EvaluatedSystem, clip: Clip, sample_rate: int) -> dict[str, np.ndarray]:
        """The same with one system; returns the signals to keep, by name."""
        codec, codes = system.codec, clip.codes[system.name]
        channels = [system.connection.protect(channel) for channel in self.channels]
        sent = transmit(system.connection, codes, channels, clip_id=clip.clip_id, seed=self.seed, repeats=self.repeats)
        number, frames = len(self._scores), codes.shape[-1]
        scores = ClipScores(
            clip.clip_id,
            codec=system.name,
            speaker=clip.speaker,
            seconds=len(clip.reference) / sample_rate,
            bits=frames * codec.bits_per_frame,
            codewords=codes.numel(),
            bit_rates=sent.bits * codec.frame_rate / frames,
            delays_ms=1000 * np.array([min(_delay_frames(system, c), 2 * frames) for c in channels]) / codec.frame_rate,
            signals=sent.signals,
            bit_errors=sent.bit_errors,
            erased_codewords=sent.erased_codewords,
            coded_bit_rate=coded_bit_rate(codes[0].numpy(), codec.quantizer.digits, codec.frame_rate),
            codes=codes[0].numpy(),
            transcript=clip.transcript,
        )
        self._scores.append(scores)
        kept = {c: int(sent.signals[c, 0]) for c in self.kept_channels}
        audio: dict[int, np.ndarray] = {}
        signals = decode_receptions(
            system, sent, sample_rate=sample_rate, length=len(clip.reference), batch_size=self.decode_batch
        )
        for index, signal in enumerate(signals):
            key, text = (number, index), clip.transcript
            self.pool.submit(key, clip.reference, signal, sample_rate=sample_rate, transcript=text)
            if index in kept.values():
                audio[index] = signal
        prefix = f"{system.name}, " if system.name else ""
        return {f"{prefix}{self.channels[c].name}": audio[index] for c, index in kept.items()}

    def first_audio(self, audio: Iterable[ClipAudio]) -> list[ClipAudio]:
        """The clips whose audio is kept, of those given."""
        return sorted(audio, key=lambda kept: hash_order(kept.clip_id))[: self.audio_clips]

    def collect(self) -> tuple[list[ClipScores], list[ClipAudio]]:
        """Wait for the scores of all clips since the last call, and return them with the audio kept."""
        scored = self.pool.results()
        for number, clip in enumerate(self._scores):
            clip.scores = [scored[number, index] for index in range(clip.signals.max() + 1)]
        found = self._scores, self._audio
        self.reset()
        return found

    def reset(self) -> None:
        """Forget clips not yet collected."""
        self._scores, self._audio = [], []
        if self._threads is not None:
            torch.set_num_threads(self._threads)
            self._threads = None

    def close(self) -> None:
        """End the processes."""
        self.reset()
        self.pool.close()

    def _leave_cores_to_scoring(self) -> None:
        """Use few threads while processes score: waiting threads of PyTorch keep a core busy."""
        if self.pool.num_workers and self._threads is None:
            self._threads = torch.get_num_threads()
            torch.set_num_threads(max(1, self._threads - self.pool.num_workers))
