"""The contents of `channel.json`: the evaluation, its rows, and every clip's score of every draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from callbacks.channel.rates import CodeRates
from callbacks.metrics import SpeechMetric
from callbacks.output.files import without_nan
from callbacks.scoring.scores import ChannelRow, ClipScores
from codec.training.comparison_module import EvaluatedSystem

STATED = ("name", "label", "unit", "higher_is_better", "worst", "needs", "pooled")  # of a metric


def codec_facts(system: EvaluatedSystem, rates: CodeRates | None = None) -> dict[str, Any]:
    """What `channel.json` states of a codec, its link, and the rates of its codes."""
    codec, connection = system.codec, system.connection
    return {
        "bit_rate": codec.bit_rate,
        "frame_rate": codec.frame_rate,
        "bits_per_frame": codec.bits_per_frame,
        "codebook_sizes": list(codec.quantizer.codebook_sizes),
        "sample_rate": codec.sample_rate,
        "output_sample_rate": codec.output_sample_rate,
        "parameters": sum(parameter.numel() for parameter in codec.parameters()),
        "index_map": connection.index_map.name,
        "concealment": type(connection.concealment).__name__,
        "error_correction": connection.code.name if connection.code else None,
        "entropy_coding": connection.link.entropy_code.name if connection.link.entropy_code else None,
        **(rates.facts if rates else {}),
    }


def evaluation_facts(
    systems: Sequence[EvaluatedSystem],
    settings: Mapping[str, Any],
    rates: Mapping[str, CodeRates],
    *,
    stage: str,
    step: int,
    sample_rate: int,
) -> dict[str, Any]:
    """What `channel.json` states of an evaluation: stage, step, rate in Hz, codecs with their rates, settings."""
    codecs = {system.name: codec_facts(system, rates.get(system.name)) for system in systems}
    return {
        "stage": stage,
        "step": step,
        "sample_rate": sample_rate,
        **({"codec": codecs[""]} if "" in codecs else {"codecs": codecs}),
        "settings": dict(settings),
    }


def channel_document(
    facts: Mapping[str, Any],
    metrics: Sequence[SpeechMetric],
    audio: Sequence[Mapping[str, Any]],
    *,
    rows: Sequence[ChannelRow],
    clips: Sequence[ClipScores],
) -> dict[str, Any]:
    """Facts, metrics, the files of audio, the rows with the reasons of unscorable draws, and every clip's scores."""
    stated = [{name: getattr(metric, name) for name in STATED} for metric in metrics]
    return {
        **without_nan(facts),
        "metrics": without_nan(stated),
        "audio": list(audio),
        "rows": without_nan(list(rows)),
        "clips": [_clip(clip, rows) for clip in clips],
    }


def _clip(clip: ClipScores, rows: Sequence[ChannelRow]) -> dict[str, Any]:
    channels = list(dict.fromkeys(row.channel for row in rows))
    metrics = list(dict.fromkeys(row.metric for row in rows))
    draws = {}
    for c, channel in enumerate(channels):
        unscorable = {metric: clip.reasons(c, metric) for metric in metrics}
        draws[channel] = {
            "bit_error_rate": clip.bit_errors[c].tolist(),
            "erased_codewords": clip.erased_codewords[c].tolist(),
            "scores": {metric: without_nan(clip.values(c, metric)) for metric in metrics},
            "unscorable": {metric: reasons for metric, reasons in unscorable.items() if reasons},
        }
    named = {"codec": clip.codec} if clip.codec else {}
    facts = {"speaker": clip.speaker, "seconds": clip.seconds, "bits": clip.bits}
    facts |= {"coded_bit_rate": without_nan(clip.coded_bit_rate)}
    weights = {metric: clip.weight(metric) for metric in metrics if any(metric in s.weights for s in clip.scores)}
    facts |= {"weights": weights} if weights else {}
    facts |= {"text": clip.transcript} if clip.transcript else {}
    return {"id": clip.clip_id, **named, **facts, "channels": draws}
