"""Whether a resumed run equals an uninterrupted one, and whether fp16 with a fused optimizer clips as bfloat16 does."""

import statistics
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting, adversarial, build_module, model_block, overlay
from tests.gpu.acceptance.steps import fit, signal_data

FUSED = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1.5e-3, "betas": [0.8, 0.9], "fused": True}}


def trained(
    setting: Setting, batches: int, *, stop: int | None = None, deterministic: bool = False
) -> dict[str, Tensor]:
    """Weights behind `batches` batches of small FSQ, stopped and resumed at `stop`."""
    options: dict[str, Any] = {"precision": "bf16-mixed", "deterministic": deterministic}
    path: Path | None = None
    for end in (batches,) if stop is None else (stop, batches):
        module = build_module(adversarial(model_block("small/fsq"), setting))
        data = signal_data(module, setting, size=setting.pick(8, 2), seconds=setting.pick(1.0, 0.4))
        trainer = fit(module, setting, data=data, batches=end, ckpt_path=path and str(path), **options)
        path = setting.folder / "stopped.ckpt"
        if end != batches:
            trainer.save_checkpoint(path)
    return {name: value.detach().cpu() for name, value in module.state_dict().items()}


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Norm of the difference of all weights over the norm of the first."""
    names = [name for name, value in a.items() if value.is_floating_point()]
    squares = sum(float((a[name].double() - b[name].double()).square().sum()) for name in names)
    return (squares / sum(float(a[name].double().square().sum()) for name in names)) ** 0.5


def run_resume(setting: Setting, report: Report) -> None:
    """Twice whole, once resumed, in the usual mode and in the deterministic one, where all must be equal."""
    batches = setting.pick(40, 6)
    for deterministic in (False, True):
        name = "deterministic" if deterministic else "as usual"
        try:
            whole = trained(setting, batches, deterministic=deterministic)
            again = trained(setting, batches, deterministic=deterministic)
            resumed = trained(setting, batches, stop=batches // 2, deterministic=deterministic)
        finally:
            torch.use_deterministic_algorithms(False)
        repeat, gap = distance(whole, again), distance(whole, resumed)
        report.value(f"{name}: two whole runs, relative distance", repeat)
        report.at_most(f"{name}: whole and resumed, relative distance", gap, 0.0 if deterministic else 3 * repeat)
        if deterministic:
            report.at_most(f"{name}: two whole runs again", repeat, 0.0)


class Norms(L.Callback):
    """Keeps the gradient norms that the module has measured before clipping, of both optimizers."""

    def __init__(self) -> None:
        self.norms: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        optimizers = pl_module.lightning_optimizers()
        self.norms.append(torch.stack([pl_module.gradient_norm(o).detach().float() for o in optimizers]))

    def medians(self) -> list[float]:
        """The median over the batches with finite norms, for each optimizer."""
        columns = torch.stack([norm.cpu() for norm in self.norms]).T
        return [statistics.median(column[column.isfinite()].tolist()) for column in columns]


def run_fp16(setting: Setting, report: Report) -> None:
    """Norms before clipping under 16-mixed are those of bfloat16, not multiplied by the loss scale."""
    batches, found = setting.pick(40, 6), {}
    for precision in ("bf16-mixed", "16-mixed"):
        block = adversarial(model_block("small/fsq"), setting)
        fused = {"adversary": {"optimizer": FUSED}, "optimization": {"optimizer": FUSED}}
        module = build_module(overlay(block, {"init_args": fused}))
        norms = Norms()
        data = signal_data(module, setting, size=setting.pick(8, 2), seconds=setting.pick(1.0, 0.4))
        fit(module, setting, data=data, batches=batches, precision=precision, callbacks=[norms])
        found[precision] = norms.medians()
        broken = sum(int((~value.isfinite()).sum()) for value in module.state_dict().values())
        report.at_most(f"{precision}, fused: weights that are not finite", broken, 0)
        report.at_most(f"{precision}, fused: skipped steps", float(module.skipped_steps), batches // 2)
    for name, usual, scaled in zip(
        ("generator", "discriminators"), found["bf16-mixed"], found["16-mixed"], strict=True
    ):
        report.value(f"gradient norm of the {name}, bf16", usual)
        ratio = scaled / usual
        report.true(f"gradient norm of the {name}, fp16 over bf16", ratio, "1/3 … 3", passed=1 / 3 <= ratio <= 3)
