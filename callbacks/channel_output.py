"""A channel evaluation on disk and in TensorBoard: scores, figures and audio."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import Trainer
from matplotlib.figure import Figure

from callbacks.channel_report import write_csv, write_json
from callbacks.channel_scores import ChannelRow, ClipScores
from callbacks.figures import quality_figure, render, spectrogram_figure
from callbacks.metrics import SpeechMetric
from callbacks.outputs import tensorboard_writers


class ClipAudio(NamedTuple):
    """A clip to hear and see: its reference [T] and the decoder's signal [T] behind some channels, by name."""

    clip_id: str
    reference: np.ndarray
    decoded: dict[str, np.ndarray]


def write(
    folder: Path,
    rows: Sequence[ChannelRow],
    clips: Sequence[ClipScores],
    audio: Sequence[ClipAudio],
    *,
    metrics: Sequence[SpeechMetric],
    facts: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """Write `channel.csv`, `channel.json` and, under `channel/`, figures (PNG; curves also SVG) and WAV files.

    Returns:
        The figures by name, as uint8 pixels [height, width, 3].
    """
    import soundfile
    from matplotlib.image import imsave

    media = folder / "channel"
    media.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "channel.csv", rows)
    write_json(folder / "channel.json", rows, clips, facts=facts)
    figures: dict[str, Figure] = {}
    rate = facts["codec"]["output_sample_rate"]
    if clips:
        figures["quality"] = quality_figure(rows, metrics, title=_title(clips, facts))
        figures["quality"].savefig(media / "quality.svg")
    for number, clip in enumerate(audio):
        signals = {"original": clip.reference, **clip.decoded}
        figures[f"spectrogram_{number}"] = spectrogram_figure(signals, sample_rate=rate, title=clip.clip_id)
        for name, signal in signals.items():
            path = media / f"audio_{number}_{_safe(name)}.wav"
            soundfile.write(path, np.clip(signal, -1, 1), rate, subtype="PCM_16")
    images = {name: render(figure) for name, figure in figures.items()}
    for name, image in images.items():
        imsave(media / f"{name}.png", image)
    return images


def show(
    trainer: Trainer, images: Mapping[str, np.ndarray], audio: Sequence[ClipAudio], *, sample_rate: int, step: int
) -> None:
    """Give the figures and the audio to TensorBoard, where there is one."""
    for writer in tensorboard_writers(trainer):
        for name, image in images.items():
            writer.add_image(f"channel/{name}", image, step, dataformats="HWC")
        for number, clip in enumerate(audio):
            for name, signal in {"original": clip.reference, **clip.decoded}.items():
                clipped = np.clip(np.pad(signal, (0, max(0, 2 - len(signal)))), -1, 1)  # one sample alone is refused
                writer.add_audio(f"channel/clip_{number}/{name}", clipped[None], step, sample_rate=sample_rate)


def _title(clips: Sequence[ClipScores], facts: Mapping[str, Any]) -> str:
    codec, settings = facts["codec"], facts["settings"]
    return (
        f"{codec['bit_rate'] / 1000:g} kbit/s at {codec['frame_rate']:g} frames/s, step {facts['step']}: mean over "
        f"{len(clips)} clips, band: {100 * settings['confidence']:g} % interval"
    )


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
