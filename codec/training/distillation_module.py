"""Distils a codec's encoder into a smaller one, its quantizer and decoder frozen (NeuCodec, arXiv 2509.09550)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from codec.checkpoints.reading import codec_config, load_codec, read_checkpoint
from codec.checkpoints.warm_start import warm_start
from codec.codec import NeuralCodec
from codec.encoders.base import Encoder
from codec.encoders.feature_cache import TeacherCache
from codec.errors import InvalidValue
from codec.training.adversary import Adversary
from codec.training.codec_module import CodecModule
from codec.training.losses.base import Latents, Loss, LossInputs
from codec.training.losses.distillation import DistillationLoss, LatentDistance
from codec.training.losses.reconstruction import ReconstructionLoss
from codec.training.optimizers import Optimization


class DistillationModule(CodecModule):
    """Trains a student encoder under a teacher's quantizer and decoder, which stay bit for bit what they are.

    `codec` is the student's codec; its checkpoints load like any other's, without the teacher's file. `teacher` is the
    whole teacher, in eval mode, without gradients and in no checkpoint; it shares quantizer and decoder with `codec`.
    The losses are `CodecModule`'s and, from batch `distillation_start` on, those of `distillation`.

    Args:
        teacher: checkpoint of the teacher's run.
        encoder: the student.
        distillation: distances from the teacher; the paper's is `LatentDistance`, the default.
        distillation_start: batches before they count (20,000 in the paper, where training with them from batch 0
            diverged).
        distillation_ramp: batches over which they then rise linearly to their full weight.
        continue_discriminators: start the discriminators, built as the teacher's were, from the teacher's run.
        cache: keeps the teacher's latents on disk.
        adversary: discriminators, their losses and how they train; none for training without them.
        reconstruction_loss: at the codec's output rate; `MultiScaleMelLoss` by default.
        losses: further terms of the generator's loss.
        optimization: optimizer and schedule of the student; clipping and accumulation of both sides.
        seed: of everything random in a training step.
        init_from: checkpoint or safetensors file to start from, weights alone (`codec.checkpoints.warm_start`).
        init_parts: what to take of it.
        compiled: run encoder, decoder, discriminators and the teacher's encoder through `torch.compile` in training
            batches.

    Raises:
        UserError: start or ramp is below 0, the student's hop or width is not the teacher's, two losses share a name,
            the teacher's file cannot be read; see also `CodecModule`.
    """

    teacher: NeuralCodec

    def __init__(
        self,
        teacher: str,
        encoder: Encoder,
        *,
        distillation: Sequence[DistillationLoss] | None = None,
        distillation_start: int = 20_000,
        distillation_ramp: int = 0,
        continue_discriminators: bool = False,
        cache: TeacherCache | None = None,
        adversary: Adversary = Adversary(),
        reconstruction_loss: ReconstructionLoss | None = None,
        losses: Sequence[Loss] = (),
        optimization: Optimization = Optimization(),
        seed: int = 0,
        init_from: str | None = None,
        init_parts: Sequence[str] = ("codec.encoder",),
        compiled: bool = False,
    ) -> None:
        for name, number in (("distillation_start", distillation_start), ("distillation_ramp", distillation_ramp)):
            if number < 0:
                raise InvalidValue(name, number, "must be 0 or more")
        teacher_codec = load_codec(teacher).requires_grad_(False)
        check_encoder(encoder, teacher_codec)
        super().__init__(
            NeuralCodec(encoder, teacher_codec.quantizer, teacher_codec.decoder, sample_rate=teacher_codec.sample_rate),
            adversary,
            reconstruction_loss=reconstruction_loss,
            losses=losses,
            optimization=optimization,
            seed=seed,
            frozen_parts=("quantizer", "decoder"),
            init_from=init_from,
            init_parts=init_parts,
            compiled=compiled,
        )
        rank_zero_info(f"Teacher: {teacher}; its quantizer and decoder are the student's, frozen.")
        self.__dict__["teacher"] = teacher_codec  # not a submodule: no checkpoint, average or mode reaches it
        self.teacher_config = codec_config(read_checkpoint(teacher, check=False))  # load_codec has checked it
        distances = [LatentDistance()] if distillation is None else distillation
        for loss in distances:
            self._add_term(loss)
        self.distances = torch.nn.ModuleDict({loss.name: loss for loss in distances})
        self.distillation_start, self.distillation_ramp = distillation_start, distillation_ramp
        self.cache = cache
        if continue_discriminators:
            warm_start(self, teacher, parts=["discriminators"])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DistillationModule":
        """Move the teacher's encoder along with the module."""
        self.teacher.encoder._apply(fn)
        return super()._apply(fn, recurse)

    def compiled_parts(self) -> list[torch.nn.Module]:
        return [*super().compiled_parts(), self.teacher.encoder] if self.compiled else []

    def distillation_factor(self, batch: int) -> float:
        """Factor on the distillation losses at the batch with this number: 0, a linear rise, then 1."""
        age = batch - self.distillation_start
        return 0.0 if age < 0 else min(1.0, (age + 1) / (self.distillation_ramp + 1))

    @torch.no_grad()
    def teach(self, audio: Tensor) -> Latents:
        """The teacher's latents of audio `[B, 1, T]`, before and after quantization, both `[B, D, F]`."""
        if self.cache is None:
            z_e = self.teacher.encode_latents(audio, check_values=False)
        else:
            encoder, frames = self.teacher.encoder, -(-audio.shape[-1] // self.teacher.hop_length)
            z_e = self.cache(encoder, encoder.whole_frames(audio))[..., :frames]
        return Latents(z_e, self.teacher.quantizer(z_e).latents)

    def stated_codec(self) -> dict[str, Any] | None:
        """The student's codec as a block of YAML: the teacher's with another encoder."""
        if self.config is None or self.teacher_config is None:
            return super().stated_codec()
        parts = self.teacher_config["init_args"] | {"encoder": self.config["init_args"]["encoder"]}
        return codec_config({"codec_config": self.teacher_config | {"init_args": parts}})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the codec's configuration, so that it loads without the teacher."""
        super().on_save_checkpoint(checkpoint)
        stated = self.stated_codec()
        if stated is not None:
            checkpoint["codec_config"] = stated

    def _trained_parameters(self) -> list[list[torch.nn.Parameter]]:
        generator, *others = super()._trained_parameters()
        return [[*generator, *(p for p in self.distances.parameters() if p.requires_grad)], *others]

    def _further_terms(self, inputs: LossInputs, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = super()._further_terms(inputs, batch)
        if self.distillation_factor(self.global_step) == 0 or not self.distances:
            return values
        inputs = inputs._replace(teacher=self.teach(batch["audio"]))
        return values | {name: loss(inputs) for name, loss in self.distances.items()}

    def _outputs_are_seen(self) -> bool:
        return super()._outputs_are_seen() or any(loss.sees_discriminators for loss in self.distances.values())

    def _weighted_sum(self, values: Mapping[str, Tensor]) -> Tensor:
        factor = self.distillation_factor(self.global_step)
        distances = [factor * self.terms[name] * values[name] for name in self.distances if name in values]
        others = {name: value for name, value in values.items() if name not in self.distances}
        return torch.stack([super()._weighted_sum(others), *distances]).sum()


def check_encoder(encoder: Encoder, teacher: NeuralCodec) -> None:
    """InvalidValue unless the student's hop and width equal those of the teacher's encoder."""
    own, expected = (encoder.hop_length, encoder.dim), (teacher.hop_length, teacher.encoder.dim)
    if own != expected:
        raise InvalidValue(
            f"The student has hop {own[0]} and width {own[1]}, the teacher hop {expected[0]} and width {expected[1]}",
            remedy="set the student's strides and dim to the teacher's",
        )
