"""Learned concealment: lost frames get the latents that a trained network predicts from those received."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.channels.pretrained_files import file_or_pretrained, pretrained_names
from codec.channels.receiving.concealment import Concealment, PosteriorMean
from codec.channels.receiving.latent_prediction import LatentPredictor
from codec.channels.receiving.reception import Receiver, Reception
from codec.errors import InvalidValue, UnreadableFile, first_line

SUFFIX = ".concealment.pt"
PREFIX = "predictor."  # of the network's weights in a run's checkpoint


class LearnedConcealment(Concealment):
    """Lost frames get the latents that a `LatentPredictor` gives; what is received with certainty stays bit for bit.

    A frame is lost if all its bits are (probability 0.5), or if all its decisions are certain and none of its codewords
    stands for a code. Any other frame of which a bit is not certain has the latents of `partly`; a lost code beside
    received ones contributes its mean. The network learns how reliable each frame is: the mean of |2p − 1| over its
    bits, p being their probabilities.

    Args:
        file: a checkpoint of `codec.ConcealmentModule`, or the name of a pretrained predictor, such as "small_fsq".
        partly: conceals frames of which some bits are lost or uncertain; by default `PosteriorMean`, without looking
            ahead.

    Raises:
        UnreadableFile: there is no such file, or it holds no predictor.
        InvalidValue: in a link, for another codec than the predictor was trained for.
    """

    def __init__(self, file: str | Path, *, partly: Concealment | None = None) -> None:
        self._use(read_predictor(file), str(file), partly)

    @classmethod
    def of(cls, predictor: LatentPredictor, *, partly: Concealment | None = None) -> "LearnedConcealment":
        """The concealment around a network at hand, which is used as it is, wherever it lies."""
        made = cls.__new__(cls)
        made._use(predictor, type(predictor).__name__, partly)
        return made

    def _use(self, predictor: LatentPredictor, file: str, partly: Concealment | None) -> None:
        self.predictor, self.file = predictor, file
        self.partly = partly or PosteriorMean(lookahead=0)
        self.delay_frames = max(predictor.lookahead, self.partly.delay_frames)

    def check(self, receiver: Receiver) -> None:
        if not self.predictor.fits(receiver.quantizer):
            raise InvalidValue(
                f"the predictor {self.file}",
                allowed="is of a codec with another quantizer",
                remedy="train one for this codec with configs/small/concealment.yaml",
            )
        self.partly.check(receiver)

    def delay(self, receiver: Receiver) -> int:
        return max(self.predictor.lookahead, self.partly.delay(receiver))

    @torch.no_grad()
    def __call__(self, receiver: Receiver, reception: Reception) -> Tensor:
        latents, reliability = self.received(receiver, reception)
        lost = reliability == 0
        if self.predictor.mean.device != latents.device:
            self.predictor.to(latents.device)
        return torch.where(lost[:, None], self.predictor(latents, reliability), latents)

    def received(self, receiver: Receiver, reception: Reception) -> tuple[Tensor, Tensor]:
        """Latents `[B, D, F]`, of no meaning where a frame is lost, and reliabilities `[B, F]`, 0 where it is."""
        latents = receiver.decode(reception.codes, reception.erased)
        bits, nothing = reception.bits, reception.erased.all(1)
        if not bits.is_floating_point():
            return latents, 1 - nothing.float()
        reliability = (2 * bits - 1).abs().mean(-1)
        certain = ((bits == 0) | (bits == 1)).all(-1)
        reliability = reliability.masked_fill(nothing & certain, 0)
        partly = ~certain & (reliability > 0)
        if bool(partly.any()):
            latents = torch.where(partly[:, None], self.partly(receiver, reception), latents)
        return latents, reliability


def read_predictor(file: str | Path) -> LatentPredictor:
    """The network of a checkpoint, in eval mode on the CPU; no code in the file is run.

    Raises:
        UnreadableFile: see `LearnedConcealment`.
    """
    path = file_or_pretrained(file, SUFFIX)
    if not path.is_file():
        names = pretrained_names(SUFFIX)
        remedy = f"train one with configs/small/concealment.yaml, or name a pretrained one of: {names or 'none'}"
        raise UnreadableFile("There is no predictor", str(file), remedy=remedy)
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise ValueError("a checksum does not match")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        return _build(checkpoint)
    except Exception as error:  # the reader raises many kinds for damaged files
        allowed = f"is damaged or no checkpoint of a ConcealmentModule ({first_line(error)})"
        raise UnreadableFile(str(path), allowed=allowed, remedy="give another file") from error


def save_predictor(predictor: LatentPredictor, path: str | Path, *, half: bool = False) -> None:
    """Write a file of the network alone, which `LearnedConcealment` reads; with `half`, its weights in float16."""
    weights = {PREFIX + name: value.detach().cpu() for name, value in predictor.state_dict().items()}
    if half:
        weights |= {PREFIX + name: value.detach().cpu().half() for name, value in predictor.named_parameters()}
    torch.save({"state_dict": weights, "predictor": predictor.settings}, path)


def _build(checkpoint: Mapping[str, Any]) -> LatentPredictor:
    settings = checkpoint["predictor"]
    if not all(type(value) is int for value in settings.values()):
        raise ValueError("its settings are no numbers")
    state = {name: value for name, value in checkpoint["state_dict"].items() if name.startswith(PREFIX)}
    numbers = sum(value.numel() for value in state.values())
    if settings["layers"] * settings["width"] ** 2 > numbers:  # before memory is taken
        raise ValueError("its settings are of a larger network")
    predictor = LatentPredictor(**settings)
    predictor.load_state_dict({name.removeprefix(PREFIX): value.float() for name, value in state.items()})
    if not all(value.isfinite().all() for value in predictor.state_dict().values()):
        raise ValueError("it holds numbers that are not finite")
    return predictor.requires_grad_(False).eval()
