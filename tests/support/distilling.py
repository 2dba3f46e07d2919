"""A tiny teacher on disk and a distillation from it; on two ranks `-m tests.support.distilling TEACHER OUT STEPS`."""

import copy
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from codec import CodecModule
from codec.checkpoints.building import build_codec
from codec.encoders.spectral import MelEncoder
from codec.training.distillation_module import DistillationModule
from codec.training.distributed.ddp import AlternatingDDPStrategy
from codec.training.losses import DistillationLoss, LatentDistance, LossInputs
from tests.support.leaving import leave_together
from tests.support.training import VoiceData, adam, discriminators, mel_loss, module_settings, quiet_trainer, sgd

EMA_CODEBOOK = {"class_path": "codec.EMACodebook", "init_args": {"size": 8, "dim": 4}}
QUANTIZERS: dict[str, dict[str, Any]] = {
    "FSQ": {"class_path": "codec.FSQ", "init_args": {"dim": 16, "levels": [4, 4, 3, 5]}},
    "RVQ": {"class_path": "codec.RVQ", "init_args": {"dim": 16, "codebooks": [EMA_CODEBOOK, EMA_CODEBOOK]}},
}
STUDENT = {
    "class_path": "codec.encoders.spectral.MelEncoder",
    "init_args": {"dim": 16, "hop_length": 160, "bands": 20, "width": 8, "depth": 1},
}


class QuantizedCosine(DistillationLoss):
    """A distance of a user's own: one minus the cosine of the quantizer's outputs, mean over frames."""

    name = "quantized_cosine"

    def forward(self, inputs: LossInputs) -> torch.Tensor:
        assert inputs.teacher is not None
        return 1 - F.cosine_similarity(inputs.output.z_q.float(), inputs.teacher.z_q.float(), dim=1).mean()


def save_teacher(path: Path, quantizer: str = "FSQ", *, dim: int = 16) -> Path:
    """Write the checkpoint of a run with a small codec of hop 160, dropout in its decoder, and discriminators."""
    torch.manual_seed(11)
    backbone = {"dim": dim, "width": 32, "depth": 1, "heads": 2, "dropout": 0.5}
    encoder = {"dim": dim, "hop_length": 160, "width": 32, "depth": 1}
    block = {"class_path": "codec.TransformerBackbone", "init_args": backbone}
    config = {
        "class_path": "codec.NeuralCodec",
        "init_args": {
            "encoder": {"class_path": "codec.SpectralEncoder", "init_args": encoder},
            "quantizer": QUANTIZERS[quantizer],
            "decoder": {"class_path": "codec.VocosDecoder", "init_args": {"backbone": block, "hop_length": 160}},
        },
    }
    codec = build_codec(copy.deepcopy(config))
    settings = {"discriminators": discriminators(), "reconstruction_loss": mel_loss(), "optimizer": adam}
    module = CodecModule(codec, **module_settings(settings))
    module.config = {"class_path": "codec.CodecModule", "init_args": {"codec": config}}
    trainer = quiet_trainer(max_steps=2)
    trainer.fit(module, VoiceData())
    trainer.save_checkpoint(path)
    return path


def student_of(teacher: Path, **changes: Any) -> DistillationModule:
    torch.manual_seed(1)
    settings: dict[str, Any] = {
        "discriminators": discriminators(),
        "reconstruction_loss": mel_loss(),
        "optimizer": adam,
        "discriminator_optimizer": adam,
        "distillation_start": 0,
        "seed": 3,
    } | changes
    module = DistillationModule(str(teacher), MelEncoder(**STUDENT["init_args"]), **module_settings(settings))
    module.config = {
        "class_path": "codec.training.distillation_module.DistillationModule",
        "init_args": {"encoder": STUDENT},
    }
    return module


def main() -> None:
    teacher, out, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    losses: list[DistillationLoss] = [LatentDistance(10.0)]
    module = student_of(teacher, optimizer=sgd, discriminator_optimizer=sgd, gradient_clip=0.0, distillation=losses)
    trainer = quiet_trainer(max_steps=steps, devices=2, strategy=AlternatingDDPStrategy(process_group_backend="gloo"))
    trainer.fit(module, VoiceData(2))
    torch.save(module.state_dict(), out / f"rank{trainer.global_rank}.pt")


if __name__ == "__main__":
    main()
    leave_together()
