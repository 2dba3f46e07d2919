"""Training of a codec with reconstruction, adversarial and feature-matching losses; YAML injects the parts."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torchmetrics import MeanMetric

from codec.channels import Channel
from codec.channels.link import Link
from codec.checkpoints.warm_start import PARTS, check_resumable, get_part, warm_start
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.training.adversary import Adversary, discriminate, discriminate_both
from codec.training.alternating import AlternatingOptimization, check_optimizers, frozen, owned
from codec.training.clip_pieces import PiecewisePrediction, batch_fields, clips_beside_targets, frames_of, predict_whole
from codec.training.compilation import CompiledTraining
from codec.training.discriminators import DiscriminatorOutput
from codec.training.lightning_internals import attached_trainer, log_step
from codec.training.losses.adversarial import FeatureMatchingLoss, LeastSquaresLoss
from codec.training.losses.base import Loss, LossInputs
from codec.training.losses.distillation import DistillationLoss
from codec.training.losses.reconstruction import MultiScaleMelLoss, ReconstructionLoss
from codec.training.optimizers import Optimization, make_optimizer
from codec.training.restoring import StatedCodec
from codec.training.schedules import Constant
from codec.training.terms import GeneratorTerms
from codec.training.training_channel import training_channel


class CodecModule(CompiledTraining, GeneratorTerms, StatedCodec, AlternatingOptimization):
    """Trains a `NeuralCodec`: the discriminators step first, then the codec against the stepped discriminators.

    The generator's loss is the weighted sum of the reconstruction loss, the adversary's two losses, the quantizer's
    own loss (whose weight is the quantizer's, such as `RVQ.commitment`) and `losses`.

    Args:
        codec: the codec to train.
        adversary: discriminators, their losses and how they train; none for training without them.
        reconstruction_loss: at the codec's output rate; `MultiScaleMelLoss` by default.
        losses: further terms of the generator's loss, such as `SemanticReconstruction` or one of your own.
        optimization: optimizer and schedule of the codec; clipping and accumulation of both sides.
        seed: of everything random in a training step.
        channel: to train through: the decoder gets the latents of codes that a channel has damaged, drawn anew at each
            batch; validation is undamaged. Quantizer dropout has no effect behind a channel.
        link: index map, concealment and error correction around that channel; with `PosteriorMean` the decoder gets the
            expected latents of soft decisions. A map that is fitted to learned codebooks is fitted at the first batch,
            and kept.
        frozen_parts: parts of the codec, such as `encoder`, that stay as they are: in eval mode, without gradients
            and without an optimizer.
        init_from: checkpoint or safetensors file to start from, weights alone (`codec.checkpoints.warm_start`).
        init_parts: what to take of it, such as `codec.encoder`.
        compiled: run encoder, decoder and discriminators through `torch.compile` in training batches.

    Raises:
        UserError: a loss does not fit the codec, two losses share a name, all parts are frozen, or see `warm_start`.
    """

    def __init__(
        self,
        codec: NeuralCodec,
        adversary: Adversary = Adversary(),
        *,
        reconstruction_loss: ReconstructionLoss | None = None,
        losses: Sequence[Loss] = (),
        optimization: Optimization = Optimization(),
        seed: int = 0,
        channel: Channel | None = None,
        link: Link | None = None,
        frozen_parts: Sequence[str] = (),
        init_from: str | None = None,
        init_parts: Sequence[str] = PARTS,
        compiled: bool = False,
    ) -> None:
        super().__init__(optimization or Optimization(), seed=seed)
        adversary = adversary or Adversary()  # null in YAML, as of the others
        self.codec, self.adversary = codec, adversary
        self.discriminators = nn.ModuleList(adversary.discriminators)
        self.reconstruction_loss = reconstruction_loss or MultiScaleMelLoss(codec.output_sample_rate)
        self.adversarial_loss = adversary.loss or LeastSquaresLoss()
        self.feature_matching_loss = adversary.feature_matching or FeatureMatchingLoss()
        self.discriminator_schedule = adversary.schedule or Constant()
        self.terms = {}
        for term in (self.reconstruction_loss, self.adversarial_loss, self.feature_matching_loss):
            self._add_term(term)
        self.terms["quantizer"] = 1.0
        losses = losses or ()  # null in YAML
        for further in losses:
            if isinstance(further, DistillationLoss):
                raise InvalidValue(
                    f"{type(further).__name__} in losses needs a teacher",
                    remedy="list it under distillation of codec.DistillationModule",
                )
            self._add_term(further)
            self.add_module(further.name, further)  # its weights are saved under its name
        self.further_losses = [loss.name for loss in losses]
        self.compiled = compiled
        self.validation_distance = MeanMetric(nan_strategy="disable")
        self.channel, self.link = channel, link
        self._pieces = PiecewisePrediction()
        self.frozen_parts = [get_part(codec, name).requires_grad_(False).eval() for name in frozen_parts]
        self._transmit = training_channel(codec, channel, link)
        if not any(p.requires_grad for p in codec.parameters()):
            raise InvalidValue(
                "frozen_parts", list(frozen_parts), "leave nothing of the codec to train", "unfreeze one of them"
            )
        if init_from is not None:
            warm_start(self, init_from, parts=init_parts)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if not all(p.requires_grad for p in self.codec.parameters()):
            warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of training")

    def compiled_parts(self) -> list[nn.Module]:
        """What `compiled` compiles."""
        if not self.compiled:
            return []
        parts: list[nn.Module] = [self.codec.encoder, self.codec.decoder, self.reconstruction_loss]
        parts += [self.codec.quantizer] if self.codec.quantizer.compiles else []
        return [*parts, *self.discriminators] if self.adversary.simultaneous else parts

    def compiled_methods(self) -> list[str]:
        """Passes through all discriminators with their losses; a simultaneous update's share no graph."""
        in_turn = self.compiled and not self.adversary.simultaneous
        return ["_discriminator_loss", "_judged_terms"] if in_turn else []

    def train(self, mode: bool = True) -> "CodecModule":
        """Set the mode of all but frozen parts, which stay in eval mode."""
        super().train(mode)
        for part in self.frozen_parts:
            part.eval()
        return self

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        makers = {"optimization": self.optimization.optimizer, "adversary": self.adversary.optimizer}
        trained = zip(makers.items(), self._trained_parameters(), strict=False)
        return [make_optimizer(make, parameters, option=f"{part}.optimizer") for (part, make), parameters in trained]

    def _trained_parameters(self) -> list[list[nn.Parameter]]:
        """The parameters of each optimizer."""
        modules = [self.codec, *(self.get_submodule(name) for name in self.further_losses)]
        modules += [self.channel] if isinstance(self.channel, nn.Module) else []
        trained = [[p for module in modules for p in module.parameters() if p.requires_grad]]
        opposing = [p for p in self.discriminators.parameters() if p.requires_grad]
        return [*trained, opposing] if len(self.discriminators) else trained

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        self.begin_batch()
        target = batch.get("target", batch["audio"])  # [B, 1, T']
        output = self.codec(batch["audio"], self._transmit)
        real, fake = self.adversary.random_stretch(target, output.audio)
        adversarial = len(self.discriminators) > 0 and self.global_step >= self.adversary.start
        inputs = LossInputs(self.codec, output, target)
        if adversarial and self.adversary.simultaneous:
            values = self._step_together(inputs, (real, fake), batch)
        else:
            values = self._step_in_turn(inputs, (real, fake) if adversarial else None, batch)
        self._log_training(values)
        self.end_batch()
        return {"codes": output.codes, "audio": output.audio.detach()}

    def _step_in_turn(
        self, inputs: LossInputs, stretch: tuple[Tensor, Tensor] | None, batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The discriminators' step, once they have joined, then the codec's against them; returns the terms."""
        values: dict[str, Tensor] = {}
        judged: dict[str, Tensor] = {}
        optimizer, *others = self.lightning_optimizers()
        if stretch is not None:
            values["discriminator"] = self.as_compiled("_discriminator_loss", stretch[0], stretch[1].detach())
            age = self.global_step - self.adversary.start
            self.descend(values["discriminator"], others[0], self.discriminator_schedule, batch=age)
        with frozen(self.discriminators):
            if stretch is not None:
                with self._weights_folded_once():
                    real, fake, judged = self.as_compiled("_judged_terms", inputs, *stretch)
                inputs = inputs._replace(real=real, fake=fake)
            values |= self._generator_terms(inputs, batch, judged)
            self.descend(values["generator"], optimizer, self.schedule, batch=self.global_step)
        return values

    def _step_together(
        self, inputs: LossInputs, stretch: tuple[Tensor, Tensor], batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Both sides' gradients from one pass of the discriminators over each signal, then both steps."""
        optimizer, opposing = self.lightning_optimizers()
        with self._weights_folded_once():
            real, fake = (discriminate(self.discriminators, audio) for audio in stretch)
        inputs = inputs._replace(real=real, fake=fake)
        scores = ([output.score for output in outputs] for outputs in (real, fake))
        values = {"discriminator": self.adversarial_loss.discriminator(*scores)}
        values |= self._generator_terms(inputs, batch, self._against(inputs))
        self.add_gradients(values["discriminator"], opposing, inputs=list(owned(opposing)), retain_graph=True)
        self.add_gradients(values["generator"], optimizer, inputs=list(owned(optimizer)))
        age = self.global_step - self.adversary.start
        self.step(opposing, self.discriminator_schedule, batch=age)
        self.step(optimizer, self.schedule, batch=self.global_step)
        return values

    def _discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminators' loss on real and on generated audio, each `[B, 1, T]`."""
        return self.adversarial_loss.discriminator(*discriminate_both(self.discriminators, real, fake))

    def _judged_terms(
        self, inputs: LossInputs, real: Tensor, fake: Tensor
    ) -> tuple[list[DiscriminatorOutput], list[DiscriminatorOutput], dict[str, Tensor]]:
        """Outputs of frozen discriminators for real and generated audio, `[B, 1, T]`, and the generator's terms.

        Compiled code gives outputs only to further losses that ask for them: it computes a gradient for each output.
        """
        with torch.no_grad():
            real_outputs = discriminate(self.discriminators, real)
        fake_outputs = discriminate(self.discriminators, fake)
        terms = self._against(inputs._replace(real=real_outputs, fake=fake_outputs))
        if self.compiled and not self._outputs_are_seen():
            return [], [], terms
        return real_outputs, fake_outputs, terms

    def _weights_folded_once(self) -> AbstractContextManager[None]:
        """Inside, the discriminators' normalised weights are computed once; compiled code computes its own."""
        return nullcontext() if self.compiled else parametrize.cached()

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """`codes` and `audio` of whole clips, and of a padded batch each clip's `frames`; distances are a clip's."""
        lengths = batch.get("lengths")
        output = self.codec(batch["audio"], lengths=lengths)
        for audio, target in clips_beside_targets(batch, output.audio):
            self.validation_distance.update(self.reconstruction_loss.distance(audio, target))
        return {"codes": output.codes, "audio": output.audio} | frames_of(self.codec, lengths, self.codec.sample_rate)

    def on_validation_epoch_end(self) -> None:
        self._log_distance("val")

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self._log_distance("test")

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """`audio`, `codes`, `id` and `length`, or `lengths` of several; of a long clip's piece the next of each."""
        if "piece" in batch:
            return batch_fields(batch) | self._pieces.predict(batch, {"": self.codec}, self.codec.sample_rate)[""]
        return batch_fields(batch) | predict_whole(self.codec, batch, self.codec.sample_rate)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self._transmit is not None:
            checkpoint["training_codewords"] = self._transmit.codewords()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_resumable(checkpoint, self.codec, own=self.stated_codec())
        trainer = attached_trainer(self)
        if trainer is not None and trainer.training:
            check_optimizers(checkpoint, self._trained_parameters())
        super().on_load_checkpoint(checkpoint)
        if self._transmit is not None:
            self._transmit.keep(checkpoint.get("training_codewords"))

    # -- losses --------------------------------------------------------------------------------------------------

    def _generator_terms(
        self, inputs: LossInputs, batch: Mapping[str, Tensor], judged: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Unweighted terms of the generator's loss, and the loss; `judged` are those of the discriminators, if any."""
        values = {self.reconstruction_loss.name: self.reconstruction_loss(inputs), **judged}
        values |= {"quantizer": inputs.output.loss} | self._further_terms(inputs, batch)
        return values | {"generator": self._weighted_sum(values)}

    # -- logging -------------------------------------------------------------------------------------------------

    def _log_training(self, losses: Mapping[str, Tensor]) -> None:
        values = {f"train/{name}": value.detach() for name, value in losses.items()}
        for name, optimizer in zip(("generator", "discriminator"), self.lightning_optimizers(), strict=False):
            values[f"gradient_norm/{name}"] = self.gradient_norm(optimizer)
            values[f"learning_rate/{name}"] = torch.tensor(optimizer.param_groups[0]["lr"])
        values["train/skipped_steps"] = torch.as_tensor(self._skipped, dtype=torch.float32)
        log_step(self, values)
        name = self.reconstruction_loss.name
        log_step(self, {name: losses[name].detach()}, logger=False)  # for the progress bar, read when it is shown

    def _log_distance(self, stage: str) -> None:
        """Log the mean over the clips of all ranks; a rank without a clip takes part with weight 0."""
        self.validation_distance.update(0.0, 0.0)
        name = f"{stage}/{self.reconstruction_loss.name}"
        self.log(name, self.validation_distance.compute(), prog_bar=stage == "val", rank_zero_only=False)
        with torch.inference_mode(False):  # its state outlives `trainer.validate`
            self.validation_distance.reset()
