"""Scores clips behind channels, one after the other: transmit, decode, and hand to the scoring processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from callbacks.channel_output import ClipAudio
from callbacks.channel_scores import ClipScores
from callbacks.metrics import SpeechMetric
from callbacks.scoring import ScoringPool
from callbacks.transmission import decode_receptions, transmit
from codec.channels import Channel
from codec.codec import NeuralCodec


@dataclass
class Clip:
    """A clip whose codes are to be sent: reference [T] at the output rate, codes [1, K, F] on the CPU."""

    clip_id: str
    reference: np.ndarray
    codes: Tensor


def clip_of(batch: Any, outputs: Tensor | Mapping[str, Any] | None, codec: NeuralCodec) -> Clip:
    """The clip of an evaluation batch, with the step's `"codes"`, or encoded if the step has not returned them.

    Raises:
        ValueError: The batch holds anything but one clip.
    """
    audio = batch["audio"]
    if audio.ndim != 3 or audio.shape[:2] != (1, 1) or len(batch["id"]) != 1:
        raise ValueError(
            f"channel evaluation needs one whole clip per batch, audio [1, 1, T]; got {tuple(audio.shape)}: "
            "use batch size 1 for validation and test"
        )
    codes = outputs.get("codes") if isinstance(outputs, Mapping) else None
    if codes is None:
        with torch.no_grad():
            codes = codec.encode(audio)
    reference = batch.get("target", audio)[0, 0].float().cpu().numpy()
    return Clip(batch["id"][0], reference, codes.detach().cpu())


def order(clip_id: str) -> bytes:
    """Sort key: a fixed pseudo-random order of clips, which mixes speakers and corpora."""
    return hashlib.sha256(clip_id.encode()).digest()


def check_unique(ids: Iterable[str]) -> None:
    """Raise ValueError where an id occurs twice."""
    twice = sorted({a for a, b in pairwise(sorted(ids)) if a == b})
    if twice:
        raise ValueError(
            f"clips {twice[:3]} were evaluated twice: give each clip its own id, and each rank its own clips "
            "(a DistributedSampler pads with duplicates; set use_distributed_sampler=False)"
        )


class ChannelScorer:
    """Scores the clips of one rank; scoring runs in processes while the next clip is decoded.

    Args:
        channels: Channels to send each clip through.
        metrics: What to measure.
        num_workers: Scoring processes.
        repeats: Draws per clip and channel.
        seed: Seed of the draws.
        decode_batch: Receptions decoded at once.
        audio_clips: Number of clips, the first by `order`, whose audio is kept.
        audio_channels: Number of channels whose audio is kept, spread evenly, the first always among them.
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
        self.heard = sorted({round(place) for place in places})
        self.pool = ScoringPool(metrics, num_workers)
        self._scores: list[ClipScores] = []
        self._audio: list[ClipAudio] = []
        self._threads: int | None = None

    def add(self, codec: NeuralCodec, clip: Clip) -> None:
        """Transmit and decode one clip, and queue its signals for scoring."""
        self._leave_cores_to_scoring()
        sent = transmit(
            clip.codes,
            self.channels,
            codebook_sizes=codec.quantizer.codebook_sizes,
            clip_id=clip.clip_id,
            seed=self.seed,
            repeats=self.repeats,
        )
        number, rate = len(self._scores), codec.output_sample_rate
        scores = ClipScores(
            clip.clip_id,
            seconds=len(clip.reference) / rate,
            bits=clip.codes.shape[-1] * codec.bits_per_frame,
            words=clip.codes.numel(),
            signals=sent.signals,
            bit_errors=sent.bit_errors,
            erased_words=sent.erased_words,
        )
        self._scores.append(scores)
        heard = {self.channels[c].name: int(sent.signals[c, 0]) for c in self.heard}
        audio: dict[int, np.ndarray] = {}
        signals = decode_receptions(codec, sent, length=len(clip.reference), batch_size=self.decode_batch)
        for index, signal in enumerate(signals):
            self.pool.submit((number, index), clip.reference, signal, sample_rate=rate)
            if index in heard.values():
                audio[index] = signal
        kept = ClipAudio(clip.clip_id, clip.reference, {name: audio[index] for name, index in heard.items()})
        self._audio = self.first_audio([*self._audio, kept])

    def first_audio(self, audio: Iterable[ClipAudio]) -> list[ClipAudio]:
        """The clips whose audio is kept, of those given."""
        return sorted(audio, key=lambda kept: order(kept.clip_id))[: self.audio_clips]

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
        """Use few threads while processes score: PyTorch's threads burn a core as they wait for each other."""
        if self.pool.num_workers and self._threads is None:
            self._threads = torch.get_num_threads()
            torch.set_num_threads(max(1, self._threads - self.pool.num_workers))
