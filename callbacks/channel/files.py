"""A channel evaluation on disk and in the loggers: scores, figures and audio."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import Trainer
from matplotlib.figure import Figure

from callbacks.channel.document import channel_document
from callbacks.figures.panels import render
from callbacks.figures.quality import quality_figure
from callbacks.figures.spectrogram import spectrogram_figure
from callbacks.metrics import SpeechMetric
from callbacks.output.files import completed, write_csv, write_json
from callbacks.output.loggers import show_audio, show_image, show_table
from callbacks.scoring.differences import Difference
from callbacks.scoring.scores import ChannelRow, ClipScores, stated_clips

AUDIO_OR_SPECTROGRAM = re.compile(r"audio_\d+_.+\.wav|spectrogram_\d+\.png")


class ClipAudio(NamedTuple):
    """Audio kept of one clip: its reference [T], and the decoder's signal [T] behind some channels, by name."""

    clip_id: str
    reference: np.ndarray
    decoded: dict[str, np.ndarray]


class Scored(NamedTuple):
    """Results of an evaluation: rows, paired differences (in a comparison), and the scores of every clip."""

    rows: Sequence[ChannelRow]
    differences: Sequence[Difference]
    clips: Sequence[ClipScores]


def results_folder(run: Path, stage: str) -> Path:
    """Where the results of a stage go: the run's folder, or for a `fit` `validation` in it where those of a test are.

    So training that goes on does not replace the scores of a test.
    """
    try:
        earlier = json.loads((run / "channel.json").read_text(encoding="utf-8"))["stage"]
    except (OSError, ValueError, KeyError, TypeError):
        return run
    return run / "validation" if stage == "fit" and "test" in str(earlier).lower() else run


def write_results(
    folder: Path,
    scored: Scored,
    audio: Sequence[ClipAudio],
    *,
    metrics: Sequence[SpeechMetric],
    facts: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """Write `channel.csv`, `channel.json` and, under `channel/`, figures (PNG; curves also SVG) and WAV files.

    A comparison also has `differences.csv`, and one figure for each kind of channel. Audio and spectrograms of an
    earlier evaluation, of other clips or other weights, are removed.

    Returns:
        The figures by name, as uint8 pixels [height, width, 3].
    """
    from matplotlib.image import imsave

    media = folder / "channel"
    media.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "channel.csv", scored.rows, leave_out=("reasons",))
    if scored.differences:
        write_csv(folder / "differences.csv", scored.differences)
    rate = facts["sample_rate"]
    index = _write_audio(media, audio, sample_rate=rate)
    document = channel_document(facts, metrics, index, rows=scored.rows, clips=scored.clips)
    write_json(folder / "channel.json", document)
    figures: dict[str, Figure] = {}
    if scored.clips:
        for name, rows in _figures(scored.rows).items():
            figures[name] = quality_figure(rows, metrics, title=_title(facts, rows))
            with completed(media / f"{name}.svg") as partial:
                figures[name].savefig(partial)
    for number, clip in enumerate(audio):
        signals = {"original": clip.reference, **clip.decoded}
        figures[f"spectrogram_{number}"] = spectrogram_figure(signals, sample_rate=rate, title=clip.clip_id)
    images = {name: render(figure) for name, figure in figures.items()}
    for name, image in images.items():
        with completed(media / f"{name}.png") as partial:
            imsave(partial, image)
    kept = {media / f"{name}.png" for name in images} | {
        folder / file for clip in index for file in clip["files"].values()
    }
    for path in media.iterdir():
        if AUDIO_OR_SPECTROGRAM.fullmatch(path.name) and path not in kept:
            path.unlink()
    return images


def _write_audio(media: Path, audio: Sequence[ClipAudio], *, sample_rate: int) -> list[dict[str, Any]]:
    """Write WAV files; returns for each clip its id and the files by signal, as `channel.json` states them."""
    import soundfile

    index = []
    for number, clip in enumerate(audio):
        files = {}
        for name, signal in {"original": clip.reference, **clip.decoded}.items():
            path = media / f"audio_{number}_{_file_name(name)}.wav"
            soundfile.write(path, np.clip(signal, -1, 1), sample_rate, subtype="PCM_16")
            files[name] = f"{media.name}/{path.name}"
        index.append({"id": clip.clip_id, "files": files})
    return index


def show_results(
    trainer: Trainer,
    scored: Scored,
    images: Mapping[str, np.ndarray],
    audio: Sequence[ClipAudio],
    *,
    sample_rate: int,
    step: int,
) -> None:
    """Give figures, audio and tables to every logger that takes them."""
    for name, image in images.items():
        show_image(trainer, f"channel/{name}", image, step=step)
    for number, clip in enumerate(audio):
        for name, signal in {"original": clip.reference, **clip.decoded}.items():
            show_audio(trainer, f"channel/clip_{number}/{name}", signal, sample_rate=sample_rate, step=step)
    show_table(trainer, "channel/scores", scored.rows, step=step, leave_out=("reasons",))
    show_table(trainer, "channel/differences", scored.differences, step=step)


def _figures(rows: Sequence[ChannelRow]) -> dict[str, list[ChannelRow]]:
    """Rows of each figure: one figure for a single codec; in a comparison one for each kind of channel."""
    curves = list(dict.fromkeys(row.curve for row in rows))
    if len({row.codec for row in rows}) == 1 or len(curves) == 1:
        return {"quality": list(rows)}
    return {f"quality_{_file_name(curve)}": [row for row in rows if row.curve == curve] for curve in curves}


def _title(facts: Mapping[str, Any], rows: Sequence[ChannelRow]) -> str:
    codec = facts.get("codec")
    over = stated_clips(rows[0].clips, rows[0].speakers)
    subject = f"channel {rows[0].curve}"
    if codec:
        subject = f"{codec['bit_rate'] / 1000:g} kbit/s at {codec['frame_rate']:g} frames/s, step {facts['step']}"
    return f"{subject}: mean over {over}, band: {100 * facts['settings']['confidence']:g} % interval"


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
