"""Every callback can be named in YAML."""

from __future__ import annotations

from typing import Any

import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback

from callbacks import ChannelEvaluation


def build(class_path: str, **arguments: Any) -> Callback:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Callback, "callback")
    config = parser.parse_object({"callback": {"class_path": class_path, "init_args": arguments}})
    return parser.instantiate_classes(config).callback


def test_channel_evaluation_takes_channels_rates_and_metrics() -> None:
    channel = {"class_path": "codec.channels.BinarySymmetricChannel", "init_args": {"bit_error_rate": 0.3}}
    metrics = [{"class_path": "callbacks.STOI", "init_args": {"extended": True}}, {"class_path": "callbacks.SISDR"}]
    callback = build(
        "callbacks.ChannelEvaluation", bit_error_rates=[0, 0.01], channels=[channel], metrics=metrics, fit_clips=None
    )
    assert isinstance(callback, ChannelEvaluation)
    assert [channel.name for channel in callback.channels] == ["bsc-0", "bsc-0.01", "bsc-0.3"]
    assert [metric.name for metric in callback.metrics] == ["estoi", "si_sdr"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ChannelEvaluation", {}),
        ("CodebookUsage", {"every_n_batches": 5}),
        ("CodecEMA", {"decay": 0.99}),
        ("PredictionWriter", {"output_dir": "predictions"}),
        ("Throughput", {}),
    ],
)
def test_other_callbacks_are_built_from_yaml(name: str, arguments: dict[str, Any]) -> None:
    assert type(build(f"callbacks.{name}", **arguments)).__name__ == name
