"""The one codec and link that an analysis callback examines."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule

from callbacks.metrics.checks import require
from codec.channels.link import Link
from codec.training.comparison_module import EvaluatedSystem, evaluated_systems


def single_system(callback: Callback, module: LightningModule, link: Link | None) -> tuple[EvaluatedSystem, int]:
    """The module's codec behind a link, and the rate in Hz of what it decodes.

    Raises:
        InvalidValue: The module compares several systems.
    """
    systems, rate = evaluated_systems(module, link)
    name = type(callback).__name__
    require(len(systems) == 1, f"{name} analyses one codec", remedy="test its checkpoint alone, without a comparison")
    return systems[0], rate
