"""Training curves: points at their batches, kept through a checkpoint, drawn with named axes."""

from __future__ import annotations

import numpy as np
import pytest

from callbacks.figures.training import training_figure
from callbacks.training.training_curves import TrainingCurves


def history() -> dict[str, list[tuple[int, float]]]:
    batches = range(20, 2020, 20)
    return {
        "train/mel": [(n, 5 / (1 + n / 500)) for n in batches],
        "val/mel": [(1000, 2.0), (2000, 1.5)],
        "train/quantizer": [(n, 0.0) for n in batches],
        "gradient_norm/generator": [(n, float("nan") if n < 100 else 3.0) for n in batches],
    }


def test_panels_without_values_are_left_out_and_axes_are_named() -> None:
    axes = [axis for axis in training_figure(history()).axes if axis.get_visible()]
    assert [axis.get_ylabel() for axis in axes] == [
        "mel loss (log10 units, sum of scales)",
        "gradient norm before clipping",
    ]
    assert all(axis.get_xlabel() == "batch" for axis in axes)
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["training", "validation"]


def test_the_running_mean_is_the_mean_of_the_last_points() -> None:
    raw, mean, _ = training_figure(history()).axes[0].lines
    values = raw.get_ydata()
    assert np.allclose(mean.get_ydata()[-1], values[-3:].mean())
    assert np.allclose(mean.get_ydata()[0], values[0])


def test_learning_rates_are_drawn_as_they_are() -> None:
    rates = [(n, 1e-3 * n / 2000) for n in range(20, 2020, 20)]
    (line,) = training_figure({"learning_rate/generator": rates}).axes[0].lines
    assert np.array_equal(line.get_xydata(), rates)


def test_history_travels_in_checkpoints() -> None:
    one, other = TrainingCurves(), TrainingCurves()
    one.history = history()
    other.load_state_dict(one.state_dict())
    assert other.history["train/mel"] == one.history["train/mel"]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="every_n_batches 0"):
        TrainingCurves(0)
