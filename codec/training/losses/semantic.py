"""Semantic reconstruction: quantized latents predict a frozen speech model's features (X-Codec 2, arXiv 2502.04128)."""

import torch.nn.functional as F
from torch import Tensor, nn

from codec.codec import NeuralCodec
from codec.encoders.semantic import SemanticAdapter, W2VBertEncoder
from codec.errors import InvalidValue
from codec.training.losses.base import Loss, LossInputs


class SemanticReconstruction(Loss):
    """Mean squared error between a projection of z_q and the features of the codec's `W2VBertEncoder`.

    Its projection and decoder train with the codec; checkpoints keep them under `semantic.`.

    Args:
        dim: latent width D.
        width: number C of feature channels.
        weight: factor in the generator's loss (5 in X-Codec 2).

    Raises:
        InvalidValue: in `attach`, the codec has no semantic encoder, or the widths differ.
    """

    name = "semantic"
    sees_discriminators = False
    encoder: W2VBertEncoder

    def __init__(self, dim: int = 2048, width: int = 1024, *, weight: float = 5.0) -> None:
        super().__init__(weight)
        self.project = nn.Linear(dim, width)
        self.decoder = SemanticAdapter(width)

    def attach(self, codec: NeuralCodec) -> None:
        encoder = next((m for m in codec.encoder.modules() if isinstance(m, W2VBertEncoder)), None)
        if encoder is None:
            raise InvalidValue(
                "SemanticReconstruction needs a codec whose encoder has a W2VBertEncoder",
                remedy="add one, or leave the loss out",
            )
        found, expected = (codec.quantizer.dim, encoder.dim), (self.project.in_features, self.project.out_features)
        if found != expected:
            raise InvalidValue(
                f"SemanticReconstruction is for latents of width {expected[0]} and features of width {expected[1]}, "
                f"but the codec has {found[0]} and {found[1]}",
                remedy="set dim and width to those",
            )
        self.__dict__["encoder"] = encoder  # the codec's, not a submodule of this one

    def forward(self, inputs: LossInputs) -> Tensor:
        assert self.encoder.features is not None
        z_q = inputs.output.z_q  # [B, D, F]
        features = self.encoder.features[..., : z_q.shape[-1]]  # [B, C, F]
        decoded = self.decoder(self.project(z_q.transpose(1, 2)).transpose(1, 2))
        return F.mse_loss(decoded.float(), features)
