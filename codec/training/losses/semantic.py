"""Semantic reconstruction: quantized latents tell what a frozen speech model heard (X-Codec 2, arXiv 2502.04128)."""

import torch.nn.functional as F
from torch import Tensor, nn

from codec.codec import NeuralCodec
from codec.encoders.semantic import SemanticAdapter, W2VBertEncoder


class SemanticReconstruction(nn.Module):
    """Mean squared error between a projection of z_q and the features of the codec's `W2VBertEncoder`.

    Args:
        dim: latent width D.
        width: of the features C.
    """

    encoder: W2VBertEncoder

    def __init__(self, dim: int = 2048, width: int = 1024) -> None:
        super().__init__()
        self.project = nn.Linear(dim, width)
        self.decoder = SemanticAdapter(width)

    def watch(self, codec: NeuralCodec) -> None:
        """Take the features of this codec's encoder.

        Raises:
            ValueError: it has no semantic encoder, or the widths differ.
        """
        encoder = next((m for m in codec.encoder.modules() if isinstance(m, W2VBertEncoder)), None)
        if encoder is None:
            raise ValueError("semantic needs a codec whose encoder has a W2VBertEncoder: add one, or leave it out.")
        found, wanted = (codec.quantizer.dim, encoder.dim), (self.project.in_features, self.project.out_features)
        if found != wanted:
            raise ValueError(
                f"semantic is for latents of width {wanted[0]} and features of {wanted[1]}, but the codec has "
                f"{found[0]} and {found[1]}: set dim and width to those."
            )
        self.__dict__["encoder"] = encoder  # the codec's, not a submodule of this one

    def forward(self, z_q: Tensor) -> Tensor:
        """Scalar loss of `[B, D, F]`, against the features that the codec's encoder has just made."""
        assert self.encoder.features is not None
        features = self.encoder.features[..., : z_q.shape[-1]]  # [B, C, F]
        decoded = self.decoder(self.project(z_q.transpose(1, 2)).transpose(1, 2))
        return F.mse_loss(decoded.float(), features)
