"""Distils a codec's encoder into a smaller one, its quantizer and decoder frozen (NeuCodec, arXiv 2509.09550)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from codec.checkpoints.reading import codec_config, load_codec, read_checkpoint
from codec.checkpoints.warm_start import warm_start
from codec.codec import CodecOutput, NeuralCodec
from codec.encoders.base import Encoder
from codec.encoders.feature_cache import TeacherCache
from codec.training.codec_module import CodecModule, LossWeights, adamw
from codec.training.discriminators import Discriminator
from codec.training.losses.distillation import DistillationLoss, LatentDistance, View
from codec.training.losses.mel import AdversarialLoss, MultiScaleMelLoss
from codec.training.schedules import Schedule

DEFAULT_WEIGHTS = LossWeights()


class DistillationModule(CodecModule):
    """Trains a student encoder under a teacher's quantizer and decoder, which stay bit for bit what they are.

    `codec` is the student's codec; its checkpoints load like any other's, without the teacher's file. `teacher` is the
    whole teacher, in eval mode, without gradients and in no checkpoint; it shares quantizer and decoder with `codec`.
    The losses are `CodecModule`'s and, from batch `distillation_start` on, those of `distillation`.

    Args:
        teacher: checkpoint of the teacher's run.
        encoder: the student.
        discriminators: judges of the output; with `continue_discriminators` built as the teacher's were.
        distillation: distances from the teacher; the paper's is `LatentDistance`, the default.
        distillation_start: batches before they count (20,000 in the paper, where they diverged from batch 0).
        distillation_ramp: batches over which their factor then rises linearly to their weight.
        continue_discriminators: start the discriminators from the teacher's run instead of afresh.
        cache: keeps the teacher's latents on disk.
        reconstruction_loss: see `CodecModule`, as for all that follows.

    Raises:
        ValueError: start or ramp is below 0, the student's hop or width is not the teacher's, two losses have one
            name, the teacher's file cannot be read; see also `CodecModule`.
    """

    teacher: NeuralCodec

    def __init__(
        self,
        teacher: str,
        encoder: Encoder,
        *,
        discriminators: Sequence[Discriminator] = (),
        distillation: Sequence[DistillationLoss] | None = None,
        distillation_start: int = 20_000,
        distillation_ramp: int = 0,
        continue_discriminators: bool = False,
        cache: TeacherCache | None = None,
        reconstruction_loss: MultiScaleMelLoss | None = None,
        adversarial_loss: AdversarialLoss | None = None,
        weights: LossWeights = DEFAULT_WEIGHTS,
        optimizer: OptimizerCallable = adamw,
        discriminator_optimizer: OptimizerCallable = adamw,
        schedule: Schedule | None = None,
        discriminator_schedule: Schedule | None = None,
        discriminator_start: int = 0,
        discriminator_crop: int = 0,
        gradient_clip: float = 1.0,
        accumulate: int = 1,
        seed: int = 0,
        init_from: str | None = None,
        init_parts: Sequence[str] = ("codec.encoder",),
    ) -> None:
        if distillation_start < 0 or distillation_ramp < 0:
            raise ValueError(
                f"distillation_start {distillation_start} and distillation_ramp {distillation_ramp} must be 0 or more."
            )
        whole = load_codec(teacher).requires_grad_(False)
        check_encoder(encoder, whole)
        super().__init__(
            NeuralCodec(encoder, whole.quantizer, whole.decoder, sample_rate=whole.sample_rate),
            discriminators,
            reconstruction_loss=reconstruction_loss,
            adversarial_loss=adversarial_loss,
            weights=weights,
            optimizer=optimizer,
            discriminator_optimizer=discriminator_optimizer,
            schedule=schedule,
            discriminator_schedule=discriminator_schedule,
            discriminator_start=discriminator_start,
            discriminator_crop=discriminator_crop,
            gradient_clip=gradient_clip,
            accumulate=accumulate,
            seed=seed,
            frozen_parts=("quantizer", "decoder"),
            init_from=init_from,
            init_parts=init_parts,
        )
        self.__dict__["teacher"] = whole  # not a submodule: no checkpoint, average or mode reaches it
        self.teacher_config = codec_config(read_checkpoint(teacher))
        self.distillation = torch.nn.ModuleList([LatentDistance()] if distillation is None else distillation)
        for loss in self._distances():
            loss.check(whole.quantizer)
        names = [loss.name for loss in self._distances()]
        if len(set(names)) < len(names):
            raise ValueError(f"distillation losses {names} must differ: give each once.")
        self.distillation_start, self.distillation_ramp = distillation_start, distillation_ramp
        self.cache = cache
        if continue_discriminators:
            warm_start(self, teacher, parts=["discriminators"])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DistillationModule":
        """Move the teacher's encoder along with the module."""
        self.teacher.encoder._apply(fn)
        return super()._apply(fn, recurse)

    def distillation_factor(self, batch: int) -> float:
        """Factor on the distillation losses at the batch with this number: 0, a linear rise, then 1."""
        age = batch - self.distillation_start
        return 0.0 if age < 0 else min(1.0, (age + 1) / (self.distillation_ramp + 1))

    @torch.no_grad()
    def teach(self, audio: Tensor) -> View:
        """What the teacher makes of `[B, 1, T]`: its latents before and after quantization, both `[B, D, F]`."""
        if self.cache is None:
            z_e = self.teacher.encode_latents(audio)
        else:
            encoder, frames = self.teacher.encoder, -(-audio.shape[-1] // self.teacher.hop_length)
            z_e = self.cache(encoder, encoder.whole_frames(audio))[..., :frames]
        return View(z_e, self.teacher.quantizer(z_e).latents)

    def stated_codec(self) -> dict[str, Any] | None:
        """The student's codec as a block of YAML: the teacher's with another encoder."""
        if self.config is None or self.teacher_config is None:
            return None
        parts = self.teacher_config["init_args"] | {"encoder": self.config["init_args"]["encoder"]}
        return codec_config({"codec_config": self.teacher_config | {"init_args": parts}})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the codec's configuration, so that it loads without the teacher."""
        super().on_save_checkpoint(checkpoint)
        if self.stated_codec() is not None:
            checkpoint["codec_config"] = self.stated_codec()

    def _distances(self) -> list[DistillationLoss]:
        return [loss for loss in self.distillation if isinstance(loss, DistillationLoss)]

    def _further_losses(self, output: CodecOutput, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        losses = super()._further_losses(output, batch)
        if self.distillation_factor(self.global_step) == 0 or not len(self.distillation):
            return losses
        student, teacher = View(output.z_e, output.z_q), self.teach(batch["audio"])
        return losses | {loss.name: loss(student, teacher, self.codec.quantizer) for loss in self._distances()}

    def _weighted_sum(self, losses: Mapping[str, Tensor]) -> Tensor:
        factor = self.distillation_factor(self.global_step)
        terms = [factor * loss.weight * losses[loss.name] for loss in self._distances() if loss.name in losses]
        return torch.stack([super()._weighted_sum(losses), *terms]).sum()


def check_encoder(encoder: Encoder, teacher: NeuralCodec) -> None:
    """ValueError unless the encoder's hop and width are those of the teacher's."""
    own, wanted = (encoder.hop_length, encoder.dim), (teacher.hop_length, teacher.encoder.dim)
    if own != wanted:
        raise ValueError(
            f"The student has hop {own[0]} and width {own[1]}, the teacher hop {wanted[0]} and width {wanted[1]}: set "
            "the student's strides and dim to the teacher's."
        )
