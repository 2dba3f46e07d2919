"""Training of a network that conceals lost frames, on a frozen codec behind a channel that loses frames."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from codec.channels.base import Channel, draw_generator
from codec.channels.link import Link
from codec.channels.receiving.concealment import RepeatLast
from codec.channels.receiving.latent_prediction import LatentPredictor
from codec.channels.receiving.learned_concealment import LearnedConcealment
from codec.checkpoints.reading import load_codec
from codec.checkpoints.warm_start import check_resumable
from codec.codec import CodecOutput
from codec.errors import InvalidValue, UnreadableFile
from codec.training.alternating import AlternatingOptimization, check_optimizers
from codec.training.clip_pieces import frames_of
from codec.training.lightning_internals import attached_trainer, log_step
from codec.training.losses.base import LossInputs
from codec.training.losses.reconstruction import ReconstructionLoss
from codec.training.optimizers import Optimization, make_optimizer
from codec.training.restoring import StatedCodec


class ConcealmentModule(StatedCodec, AlternatingOptimization):
    """Trains a `LatentPredictor` to give the latents of frames that a channel has lost; the codec stays as it is.

    The loss is Σ |ẑ − z|^power / (D B F p) over the D values of the lost frames of B clips of F frames each, where z is
    the latent that was sent, normalised by the power of equally likely codes, and p is the channel's `lost_share`: with
    losses of whole frames, the expected mean over lost frames, whose denominator no draw changes.
    `reconstruction_loss` adds to it the distance of the decoded audio from the input's. The channel is drawn anew at
    each batch; in validation and test the draw of a clip is a function of `seed` and its id.

    `val/latent` is the root of the mean squared error at lost frames, normalised in the same way, and `val/repeat_last`
    that of `RepeatLast`. Scores of `ChannelEvaluation` are those of the codec with the trained concealment. The
    checkpoints are read by `LearnedConcealment`, and by `load_codec`, which finds the frozen codec.

    Args:
        checkpoint: of the codec, or the name of a pretrained one.
        predictor: the network; its `dim` is the codec's width.
        channel: to lose frames, such as a `MixedChannel` of several.
        link: index map and error correction around the channel; its concealment must be unset.
        power: 1 or 2 for the absolute or the squared error, or any number from 1.
        reconstruction_loss: a further term; its weight stands in its own block.
        optimization: optimizer and schedule; clipping and accumulation.
        seed: of everything random in a training step, and of the channels of validation.

    Raises:
        UserError: the checkpoint cannot be read, `dim` is not the codec's width, the channel loses nothing, the link
            has a concealment, or `power` is below 1.
    """

    def __init__(
        self,
        checkpoint: str,
        predictor: LatentPredictor,
        *,
        channel: Channel,
        link: Link | None = None,
        power: float = 1.0,
        reconstruction_loss: ReconstructionLoss | None = None,
        optimization: Optimization = Optimization(),
        seed: int = 0,
    ) -> None:
        super().__init__(optimization or Optimization(), seed=seed)
        if not 1 <= power < float("inf"):
            raise InvalidValue("power", power, "must be at least 1")
        if not channel.lost_share > 0:
            raise InvalidValue("channel", channel.name, "loses nothing", "take one with a rate above 0")
        link = link or Link()
        if link.concealment is not None:
            raise InvalidValue("link.concealment", type(link.concealment).__name__, "must be unset: it is trained here")
        self.codec = load_codec(checkpoint).requires_grad_(False)
        predictor.attach(self.codec.quantizer)
        self.predictor, self.channel, self.power = predictor, channel, power
        self.reconstruction_loss = reconstruction_loss
        if reconstruction_loss is not None:
            reconstruction_loss.attach(self.codec)
        self.concealment = LearnedConcealment.of(predictor)
        self._connection = replace(link, concealment=self.concealment).connect(self.codec.quantizer)
        self.validation_error, self.repetition_error = (MeanMetric(nan_strategy="disable") for _ in range(2))

    def train(self, mode: bool = True) -> "ConcealmentModule":
        """Set the mode of all but the codec, which stays in eval mode."""
        super().train(mode)
        self.codec.eval()
        return self

    def on_fit_start(self) -> None:
        super().on_fit_start()
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of training")

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [
            make_optimizer(self.optimization.optimizer, self.predictor.parameters(), option="optimization.optimizer")
        ]

    def scored_link(self, link: Link | None) -> Link:
        """The link of `ChannelEvaluation` with the trained concealment, where it has none of its own."""
        link = link or Link()
        return link if link.concealment is not None else replace(link, concealment=self.concealment)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        self.begin_batch()
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        codes, sent = self._encode(batch["audio"])
        latents, reliability = self._receive(codes, generator)
        lost = reliability == 0  # [B, F]
        predicted = self.predictor(latents, reliability)
        error = ((predicted - sent) / self.predictor.scale).abs().pow(self.power).mean(1)  # [B, F]
        values = {"latent": (error * lost).mean() / self.channel.lost_share}
        loss = values["latent"]
        if self.reconstruction_loss is not None:
            concealed = torch.where(lost[:, None], predicted, latents)
            name = self.reconstruction_loss.name
            values[name] = self._reconstruct(batch, codes, sent, concealed)
            loss = loss + self.reconstruction_loss.weight * values[name]
        values["generator"] = loss
        (optimizer,) = self.lightning_optimizers()
        self.descend(loss, optimizer, self.schedule, batch=self.global_step)
        self._log_training({name: value.detach() for name, value in values.items()})
        self.end_batch()
        return {"codes": codes}

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """`codes`, and of a padded batch `frames`, each clip's. A channel carries a clip's frames alone."""
        lengths = batch.get("lengths")
        padded, latents = self._encode(batch["audio"], lengths)
        found = frames_of(self.codec, lengths, self.codec.sample_rate)
        ends = found.get("frames", [None] * len(batch["id"]))
        for row, (clip, end) in enumerate(zip(batch["id"], ends, strict=True)):
            codes, sent = (coded[row : row + 1, :, :end] for coded in (padded, latents))
            generator = draw_generator(self.seed, clip, self.channel.family, 0)
            reception = self._connection.carry(codes, self.channel, generator)
            lost = self.concealment.received(self._connection, reception)[1] == 0
            for metric, concealment in (
                (self.validation_error, self.concealment),
                (self.repetition_error, RepeatLast()),
            ):
                error = (concealment(self._connection, reception) - sent) / self.predictor.scale
                squares = error.square().mean(1)[lost]
                metric.update(squares, torch.ones_like(squares))
        return {"codes": padded} | found

    def on_validation_epoch_end(self) -> None:
        self._log_errors("val")

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self._log_errors("test")

    def predict_step(self, *_: Any) -> None:
        raise InvalidValue(
            "A ConcealmentModule", None, "has nothing to predict", "predict with the codec: it decodes what is received"
        )

    def logged_names(self) -> list[str]:
        """Names of all values that `fit` logs of the module, for callbacks that monitor one."""
        names = ["latent", "generator"]
        if self.reconstruction_loss is not None:
            names.append(self.reconstruction_loss.name)
        return [
            "val/latent",
            "val/repeat_last",
            *(f"train/{name}" for name in names),
            "gradient_norm/generator",
            "learning_rate/generator",
            "train/skipped_steps",
        ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the predictor's settings, from which `LearnedConcealment` builds it."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["predictor"] = self.predictor.settings

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_resumable(checkpoint, self.codec, own=self.stated_codec())
        theirs = checkpoint.get("predictor")
        if theirs != self.predictor.settings:
            allowed = f"has a predictor with {theirs}, this module one with {self.predictor.settings}"
            raise UnreadableFile("The checkpoint", None, allowed, "configure the predictor that it has")
        trainer = attached_trainer(self)
        if trainer is not None and trainer.training:
            check_optimizers(checkpoint, [list(self.predictor.parameters())])
        super().on_load_checkpoint(checkpoint)

    # -- parts of a step -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def _encode(self, audio: Tensor, lengths: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Codes `[B, K, F]` and their latents `[B, D, F]`; of clips of `lengths` samples with anything beyond them."""
        codes = self.codec.quantizer(self.codec.encode_latents(audio, lengths, check_values=False)).codes
        return codes, self.codec.quantizer.decode(codes).float()

    @torch.no_grad()
    def _receive(self, codes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents `[B, D, F]` and reliabilities `[B, F]` behind the channel."""
        return self.concealment.received(self._connection, self._connection.carry(codes, self.channel, generator))

    def _reconstruct(self, batch: Mapping[str, Tensor], codes: Tensor, sent: Tensor, concealed: Tensor) -> Tensor:
        """The reconstruction loss of concealed latents `[B, D, F]`."""
        assert self.reconstruction_loss is not None
        audio = self.codec.decoder(concealed)[..., : self.codec.output_length(batch["audio"].shape[-1])]
        output = CodecOutput(audio, codes, sent, concealed, audio.new_zeros(()))
        return self.reconstruction_loss(LossInputs(self.codec, output, batch.get("target", batch["audio"])))

    def _log_training(self, losses: Mapping[str, Tensor]) -> None:
        (optimizer,) = self.lightning_optimizers()
        values = {f"train/{name}": value for name, value in losses.items()}
        values["gradient_norm/generator"] = self.gradient_norm(optimizer)
        values["learning_rate/generator"] = torch.tensor(optimizer.param_groups[0]["lr"])
        values["train/skipped_steps"] = torch.as_tensor(self._skipped, dtype=torch.float32)
        log_step(self, values)
        log_step(self, {"latent": losses["latent"]}, logger=False)  # for the progress bar

    def _log_errors(self, stage: str) -> None:
        """Log the errors over the lost frames of all ranks; a rank without a clip takes part with weight 0."""
        for name, metric in (("latent", self.validation_error), ("repeat_last", self.repetition_error)):
            metric.update(0.0, 0.0)
            self.log(f"{stage}/{name}", metric.compute().sqrt(), prog_bar=stage == "val", rank_zero_only=False)
            with torch.inference_mode(False):  # its state outlives `trainer.validate`
                metric.reset()
