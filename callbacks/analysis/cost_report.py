"""The cost of the evaluated codecs as a table on the terminal and `costs.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.analysis.cost import PartCost, check_measurement, codec_costs
from callbacks.channel.tables import aligned
from callbacks.output.files import without_nan, write_json
from callbacks.output.loggers import log_folder, print_report, show_table
from codec.codec import NeuralCodec
from codec.training.comparison_module import evaluated_systems


class CostReport(Callback):
    """After `test`, states what encoder, quantizer and decoder of each evaluated codec cost, and their sum.

    Prints parameters, multiply-accumulates per second of audio and real-time factors, and writes them with the clip's
    duration into `costs.json` in the log folder. Multiply-accumulates do not depend on weights, device or machine
    (`callbacks.analysis.macs.count_macs` has the rules); times are of rank 0's device, in float32. Codecs of a
    comparison are timed in turns; systems that share a codec give it the name of the first.

    Args:
        seconds: duration of the clip of noise, as `callbacks.analysis.cost.codec_costs`.
        repeats: timings of each part; 0 to time nothing.

    Raises:
        InvalidValue: `seconds` is not above 0, or `repeats` negative.
    """

    def __init__(self, seconds: float = 4.0, *, repeats: int = 15) -> None:
        check_measurement(seconds, repeats)
        self.seconds, self.repeats = seconds, repeats
        self.costs: list[PartCost] = []

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = log_folder(trainer)
        if not trainer.is_global_zero:
            return
        named: dict[int, tuple[str, NeuralCodec]] = {}
        for system in evaluated_systems(pl_module, None)[0]:
            named.setdefault(id(system.codec), (system.name, system.codec))
        self.costs = codec_costs(dict(named.values()), seconds=self.seconds, repeats=self.repeats)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "costs.json", {"seconds": self.seconds, "costs": without_nan(self.costs)})
        show_table(trainer, "costs", self.costs, step=trainer.global_step)
        print_report(format_costs(self.costs, seconds=self.seconds))


def format_costs(costs: Sequence[PartCost], *, seconds: float) -> str:
    """A line for each part, the codec's name first where there are several."""
    names = 1 if len({cost.codec for cost in costs}) > 1 else 0
    table = [[*["system"][:names], "part", "parameters", "MMAC per second", "real-time factor"]]
    for cost in costs:
        macs, factor = cost.macs_per_second / 1e6, cost.real_time_factor
        figures = ["none" if math.isnan(macs) else f"{macs:,.1f}", "none" if math.isnan(factor) else f"{factor:.2g}"]
        table.append([*[cost.codec][:names], cost.part, f"{cost.parameters:,}", *figures])
    return "\n".join([f"Cost on a clip of {seconds:g} s:", *aligned(table, left=names + 1)])
