"""Training of a codec with mel, adversarial and feature-matching losses; YAML injects the parts."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MeanMetric

from codec.channels import Channel
from codec.channels.link import Connection, Link
from codec.checkpoints.reading import codec_config
from codec.checkpoints.warm_start import PARTS, check_resumable, get_part, warm_start
from codec.codec import CodecOutput, NeuralCodec
from codec.training.alternating import AlternatingOptimization, check_optimizers, frozen
from codec.training.discriminators import Discriminator, DiscriminatorOutput
from codec.training.losses.mel import AdversarialLoss, LeastSquaresLoss, MultiScaleMelLoss, feature_matching_loss
from codec.training.losses.semantic import SemanticReconstruction
from codec.training.schedules import Constant, Schedule


@dataclass(frozen=True)
class LossWeights:
    """Factors of the generator's losses (XCodec2's recipe)."""

    mel: float = 15.0
    adversarial: float = 1.0
    feature_matching: float = 1.0
    quantizer: float = 1.0
    semantic: float = 5.0


class Judged(NamedTuple):
    """Judgements of real and generated audio, one per sub-discriminator."""

    real: list[DiscriminatorOutput]
    fake: list[DiscriminatorOutput]


def adamw(parameters: Any) -> torch.optim.Optimizer:
    """XCodec2's optimizer."""
    return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.8, 0.9))


class CodecModule(AlternatingOptimization):
    """Trains a `NeuralCodec`: the discriminators step first, then the codec against the stepped discriminators.

    Args:
        codec: the codec to train.
        discriminators: judges of the output; none for training on the mel loss alone.
        reconstruction_loss: at the codec's output rate.
        adversarial_loss: least squares or hinge.
        weights: factors of the losses.
        optimizer: makes the codec's optimizer from its parameters.
        discriminator_optimizer: makes the discriminators' optimizer.
        schedule: factor on the codec's learning rate by batch.
        discriminator_schedule: factor on the discriminators' rate, counted from `discriminator_start`.
        discriminator_start: batches on mel loss alone before the discriminators join.
        discriminator_crop: samples at the output rate that the discriminators see, a random stretch; 0 for all.
        gradient_clip: largest gradient norm per optimizer, 0 for none.
        accumulate: batches per optimizer step.
        seed: of everything random in a training step.
        channel: to train through: the decoder gets the latents of codes that a channel has damaged, drawn anew at each
            batch; validation is undamaged. Quantizer dropout has no effect behind a channel.
        link: index map, concealment and error correction around that channel; a map that is fitted to learned codebooks
            is fitted when training starts, and anew when it is resumed.
        frozen_parts: parts of the codec, such as `encoder`, that stay as they are: in eval mode, without gradients
            and without an optimizer.
        init_from: checkpoint or safetensors file to start from, weights alone (`codec.checkpoints.warm_start`).
        init_parts: what to take of it, such as `codec.encoder`.
        semantic: reconstruction of a frozen speech model's features from the quantized latents, for a codec with a
            semantic encoder; its weights train with the codec's.
        compiled: run encoder, decoder and discriminators through `torch.compile` in `fit`.

    Raises:
        ValueError: the loss's sample rate is not the codec's output rate, all parts are frozen, or see `warm_start`.
    """

    def __init__(
        self,
        codec: NeuralCodec,
        discriminators: Sequence[Discriminator] = (),
        *,
        reconstruction_loss: MultiScaleMelLoss | None = None,
        adversarial_loss: AdversarialLoss | None = None,
        weights: LossWeights = LossWeights(),
        optimizer: OptimizerCallable = adamw,
        discriminator_optimizer: OptimizerCallable = adamw,
        schedule: Schedule | None = None,
        discriminator_schedule: Schedule | None = None,
        discriminator_start: int = 0,
        discriminator_crop: int = 0,
        gradient_clip: float = 1.0,
        accumulate: int = 1,
        seed: int = 0,
        channel: Channel | None = None,
        link: Link | None = None,
        frozen_parts: Sequence[str] = (),
        init_from: str | None = None,
        init_parts: Sequence[str] = PARTS,
        semantic: SemanticReconstruction | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__(gradient_clip=gradient_clip, accumulate=accumulate, seed=seed)
        self.codec = codec
        self.discriminators = nn.ModuleList(discriminators)
        self.reconstruction_loss = reconstruction_loss or MultiScaleMelLoss(codec.output_sample_rate)
        if self.reconstruction_loss.sample_rate != codec.output_sample_rate:
            raise ValueError(
                f"reconstruction_loss expects {self.reconstruction_loss.sample_rate} Hz, the codec puts out "
                f"{codec.output_sample_rate} Hz: set the loss's sample_rate to that."
            )
        if discriminator_start < 0 or discriminator_crop < 0:
            raise ValueError(
                f"discriminator_start {discriminator_start} and discriminator_crop {discriminator_crop} "
                "must be 0 or more."
            )
        self.adversarial_loss = adversarial_loss or LeastSquaresLoss()
        self.weights = weights
        self.make_optimizer, self.make_discriminator_optimizer = optimizer, discriminator_optimizer
        self.schedule = schedule or Constant()
        self.discriminator_schedule = discriminator_schedule or Constant()
        self.discriminator_start, self.discriminator_crop = discriminator_start, discriminator_crop
        self.semantic, self.compiled = semantic, compiled
        if semantic is not None:
            semantic.watch(codec)
        self.validation_mel = MeanMetric(nan_strategy="disable")
        self.channel, self.link = channel, link
        self._connection: Connection | None = None
        self.frozen_parts = [get_part(codec, name).requires_grad_(False).eval() for name in frozen_parts]
        if not any(p.requires_grad for p in codec.parameters()):
            raise ValueError(f"frozen_parts {list(frozen_parts)} leave nothing of the codec to train: thaw one.")
        if init_from is not None:
            warm_start(self, init_from, parts=init_parts)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.compiled:
            for part in (self.codec.encoder, self.codec.decoder, *self.discriminators):
                part.compile()
        if not all(p.requires_grad for p in self.codec.parameters()):
            warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of training")

    def train(self, mode: bool = True) -> "CodecModule":
        """Set the mode of all but frozen parts, which stay in eval mode."""
        super().train(mode)
        for part in self.frozen_parts:
            part.eval()
        return self

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        makers = (self.make_optimizer, self.make_discriminator_optimizer)
        return [make(parameters) for make, parameters in zip(makers, self._trained(), strict=False)]

    def _trained(self) -> list[list[nn.Parameter]]:
        """The parameters of each optimizer."""
        semantic = [] if self.semantic is None else self.semantic.parameters()
        trained = [[p for p in (*self.codec.parameters(), *semantic) if p.requires_grad]]
        return [*trained, list(self.discriminators.parameters())] if len(self.discriminators) else trained

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        self.begin_batch()
        optimizer, *discriminator_optimizer = self.lightning_optimizers()
        target = batch.get("target", batch["audio"])  # [B, 1, T']
        output = self.codec(batch["audio"], None if self.channel is None else self._transmit)
        real, fake = self._judged_stretch(target, output.audio)
        losses: dict[str, Tensor] = {}
        adversarial = bool(discriminator_optimizer) and self.global_step >= self.discriminator_start
        if adversarial:
            losses["discriminator"] = self._discriminator_loss(real, fake.detach())
            age = self.global_step - self.discriminator_start
            self.descend(losses["discriminator"], discriminator_optimizer[0], self.discriminator_schedule, batch=age)
        with frozen(self.discriminators):
            losses |= self._generator_losses(output, target, (real, fake) if adversarial else None)
            losses |= self._further_losses(output, batch)
            losses["generator"] = self._weighted_sum(losses)
            self.descend(losses["generator"], optimizer, self.schedule, batch=self.global_step)
        self._log_training(losses)
        self.end_batch()
        return {"codes": output.codes, "audio": output.audio.detach()}

    @torch.no_grad()
    def _transmit(self, codes: Tensor) -> Tensor:
        """Latents `[B, D, F]` of codes behind the training channel, drawn from this batch's randomness."""
        if self._connection is None:
            self._connection = (self.link or Link()).connect(self.codec.quantizer)
        assert self.channel is not None
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        bits = self._connection.protect(self.channel)(self._connection.send(codes), generator)
        return self._connection.latents(self._connection.receive(bits))

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:
        output = self.codec(batch["audio"])
        self.validation_mel.update(self.reconstruction_loss(output.audio, batch.get("target", batch["audio"])))
        return {"codes": output.codes, "audio": output.audio}

    def on_validation_epoch_end(self) -> None:
        self._log_mel("val/mel")

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self._log_mel("test/mel")

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        output = self.codec(batch["audio"])
        length = batch["audio"].shape[-1]
        return {"audio": output.audio, "codes": output.codes, "id": batch["id"], "length": length}

    def stated_codec(self) -> dict[str, Any] | None:
        """The codec's block of the configuration, where the command line has given one."""
        return codec_config({"model_config": self.config})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_resumable(checkpoint, self.codec, own=self.stated_codec())
        if self._trainer is not None and self._trainer.training:
            check_optimizers(checkpoint, self._trained())
        super().on_load_checkpoint(checkpoint)

    # -- losses --------------------------------------------------------------------------------------------------

    def _judged_stretch(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The same random stretch of both `[B, 1, T]` signals, as long as the discriminators are to see."""
        spare = real.shape[-1] - self.discriminator_crop
        if self.discriminator_crop == 0 or spare <= 0:
            return real, fake
        start = int(torch.randint(spare + 1, ()))
        stretch = slice(start, start + self.discriminator_crop)
        return real[..., stretch], fake[..., stretch]

    def _discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        judged = self._judge_together(real, fake)
        return self.adversarial_loss.discriminator([j.score for j in judged.real], [j.score for j in judged.fake])

    def _judge_together(self, real: Tensor, fake: Tensor) -> Judged:
        """One pass over real and generated audio stacked along the batch."""
        together = torch.cat((real, fake))
        judgements = [j for discriminator in self.discriminators for j in discriminator(together)]
        size = real.shape[0]
        return Judged(
            [DiscriminatorOutput(j.score[:size], [f[:size] for f in j.features]) for j in judgements],
            [DiscriminatorOutput(j.score[size:], [f[size:] for f in j.features]) for j in judgements],
        )

    def _generator_losses(
        self, output: CodecOutput, target: Tensor, judged: tuple[Tensor, Tensor] | None
    ) -> dict[str, Tensor]:
        losses = {"mel": self.reconstruction_loss(output.audio, target), "quantizer": output.loss}
        if judged is None:
            return losses
        with torch.no_grad():
            real = [j for discriminator in self.discriminators for j in discriminator(judged[0])]
        fake = [j for discriminator in self.discriminators for j in discriminator(judged[1])]
        losses["adversarial"] = self.adversarial_loss.generator([j.score for j in fake])
        losses["feature_matching"] = feature_matching_loss([j.features for j in real], [j.features for j in fake])
        return losses

    def _further_losses(self, output: CodecOutput, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses beside the usual ones; `_weighted_sum` weighs them."""
        return {} if self.semantic is None else {"semantic": self.semantic(output.z_q)}

    def _weighted_sum(self, losses: Mapping[str, Tensor]) -> Tensor:
        terms = ("mel", "adversarial", "feature_matching", "quantizer", "semantic")
        return torch.stack([getattr(self.weights, t) * losses[t] for t in terms if t in losses]).sum()

    # -- logging -------------------------------------------------------------------------------------------------

    def _log_training(self, losses: Mapping[str, Tensor]) -> None:
        values = {f"train/{name}": value.detach() for name, value in losses.items()}
        for name, optimizer in zip(("generator", "discriminator"), self.lightning_optimizers(), strict=False):
            values[f"gradient_norm/{name}"] = self.gradient_norm(optimizer)
            values[f"learning_rate/{name}"] = torch.tensor(optimizer.param_groups[0]["lr"])
        values["train/skipped_steps"] = torch.tensor(float(self.skipped_steps))
        self.log_dict(values)
        self.log("mel", losses["mel"].detach(), prog_bar=True, logger=False)

    def _log_mel(self, name: str) -> None:
        """Log the mean over all ranks' clips; every rank takes part, also one without a clip."""
        self.validation_mel.update(0.0, 0.0)
        self.log(name, self.validation_mel.compute(), prog_bar=name == "val/mel", rank_zero_only=False)
        self.validation_mel.reset()
