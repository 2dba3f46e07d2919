"""Residual vector quantization after SoundStream, EnCodec (arXiv 2210.13438) and DAC (arXiv 2306.06546)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.errors import InvalidValue
from codec.quantizers.base import Quantizer, QuantizerOutput, stages_in_use
from codec.quantizers.codebooks import Codebook
from codec.quantizers.codes import check_stages


class RVQ(Quantizer):
    """K codebooks, each coding the residual of those before it.

    A stage projects the residual to the codebook's width (factorised codes, DAC section 3.2; no projection where the
    widths agree), looks up the nearest entry, projects back and subtracts. The gradient passes each lookup straight
    through; without projections the gradient from output to input is exactly one. The commitment loss of every stage
    reaches the encoder, because its residual is taken with the earlier stages' outputs held constant.

    A stage does not depend on those after it: the first k of K codes are those of an RVQ of k stages, and
    `decode(codes[:, :k])` decodes them, at the bit rate of the first k codebooks.

    Args:
        dim: latent width D.
        codebooks: one per stage, of one or several kinds.
        commitment: weight of the commitment loss against the codebooks' own (DAC: 0.25).
        dropout: probability per training clip of decoding only a random number of stages from 1 to K − 1, so that one
            model serves several bit rates. Stages that are not decoded learn nevertheless.

    Raises:
        InvalidValue: no codebook, or a `dropout` outside [0, 1].
    """

    def __init__(
        self, dim: int, codebooks: Sequence[Codebook], *, commitment: float = 0.25, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not codebooks:
            raise InvalidValue("codebooks", [], "must be at least one", "give two codec.LearnedCodebook of size 256")
        if not 0.0 <= dropout <= 1.0:
            raise InvalidValue("dropout", dropout, "must lie in [0, 1]")
        self.dim, self.codebook_sizes = dim, tuple(book.size for book in codebooks)
        self.commitment, self.dropout = commitment, dropout
        self.codebooks = nn.ModuleList(codebooks)
        self.project_in = nn.ModuleList(_projection(dim, book.dim) for book in codebooks)
        self.project_out = nn.ModuleList(_projection(book.dim, dim) for book in codebooks)

    def forward(self, latents: Tensor) -> QuantizerOutput:
        with torch.autocast(latents.device.type, enabled=False):
            x = latents.float().transpose(1, 2)  # [B, F, D]
            straight, constant = x, x  # the residual with straight-through gradients of earlier stages, and without any
            outputs, codes, losses = [], [], []
            for project_in, book, project_out in zip(self.project_in, self.codebooks, self.project_out, strict=True):
                z = project_in(constant)
                indices, entries, loss = book.match(z.flatten(0, 1))  # type: ignore[operator]
                entries = entries.view_as(z)
                losses.append(loss + self.commitment * F.mse_loss(z, entries))
                projected = project_in(straight)
                y = project_out(projected + (entries - projected).detach())
                straight, constant = straight - y, constant - y.detach()
                outputs.append(y)
                codes.append(indices.view(z.shape[:2]))
            stacked = torch.stack(codes, 1)  # [B, K, F]
            z_q = self._sum(outputs, stacked).transpose(1, 2)  # [B, D, F]
        return QuantizerOutput(z_q, stacked, torch.stack(losses).mean())

    def decode(self, codes: Tensor, erased: Tensor | None = None) -> Tensor:
        check_stages(codes, self.codebook_sizes)
        with torch.autocast(codes.device.type, enabled=False):
            total = torch.zeros((), device=codes.device)
            for stage in range(codes.shape[1]):
                entries = F.embedding(codes[:, stage], self.codebooks[stage].table)  # type: ignore
                if erased is not None:
                    entries = entries.masked_fill(erased[:, stage, :, None], 0.0)
                total = total + self.project_out[stage](entries)
            return total.transpose(1, 2)  # [B, D, F]

    def _sum(self, outputs: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Add the stages' outputs, each `[B, F, D]`, without those that dropout leaves out: `[B, F, D]`."""
        stacked = torch.stack(list(outputs), 1)  # [B, K, F, D]
        if self.training and self.dropout > 0 and len(outputs) > 1:
            stacked = stacked * stages_in_use(codes, self.dropout)[:, :, None, None]
        return stacked.sum(1)


def _projection(width_in: int, width_out: int) -> nn.Module:
    """Linear map between widths, the identity where they agree."""
    return nn.Identity() if width_in == width_out else nn.Linear(width_in, width_out)
