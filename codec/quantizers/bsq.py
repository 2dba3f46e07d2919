"""Binary spherical quantization (Zhao et al., arXiv 2406.07548), which FocalCodec (arXiv 2502.04465) has for speech."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from codec.errors import InvalidValue
from codec.layers.ranks import world_size
from codec.quantizers.base import QuantizerOutput
from codec.quantizers.scalar import ScalarQuantizer


class BSQ(ScalarQuantizer):
    """One code per frame, the signs of L dimensions of a point on the unit sphere: code = Σᵢ bitᵢ · 2ⁱ.

    The latent is projected to v in L dimensions and normalised, u = v / |v|; the decoder gets û = sign(u) / √L, also
    on the sphere, projected back, with the gradient passed straight through to u. A value of exactly zero counts as
    negative. No codebook is stored. |u − û|² = 2 − 2 |u|₁ / √L ≤ 2 − 2 / √L: the error is bounded without a
    commitment loss, which is therefore off by default.

    In training mode the loss is that of the paper's section on entropy, in nats,

        w (E_u[H(q(·|u))] − γ H(E_u[q(·|u)])) / τ + β E_u|u − û|²,    q(c|u) = Πᵢ σ(2 τ cᵢ uᵢ),    cᵢ = ±1 / √L,

    where q is the softmax of τ c·u over all 2^L codes c, which factorises. The first term, exact as a sum over bits,
    makes decisions certain; the second makes every bit of the batch even. As in the paper the entropy of the mean is
    that of independent bits with the mean's marginals, an upper bound that equals it only where bits are independent:
    it does not see that two bits are always equal. Division by τ keeps the gradients' size, as in the authors' code,
    whose τ is half the one here, because it takes the softmax of 2 τ c·u. FocalCodec's quantizer in SpeechBrain
    has both terms, too, by default with a weight of 0.1 and γ = 1.

    Under several ranks the mean E_u q is that of all ranks' frames, which must be equally many on each, so that the
    gradient averaged over ranks is that of the joint batch; an accumulated step takes the mean of each of its batches.
    A batch that is not finite on one rank makes every rank's loss NaN, so that all skip it. In evaluation mode, where
    ranks may have different numbers of batches, the loss is zero.

    >>> quantizer = BSQ(2, bits=2)
    >>> latents, codes, _ = quantizer(torch.tensor([[[3.0, -4.0], [0.0, 0.1]]]))
    >>> codes.tolist()
    [[[1, 2]]]
    >>> latents.tolist() == quantizer.decode(codes).tolist()
    True

    Args:
        dim: latent width D; projected linearly to and from `bits` dimensions where they differ.
        bits: L, bits per frame, at most 48.
        entropy_weight: w of the two entropies.
        diversity: γ of the batch's entropy against that of a frame.
        inverse_temperature: τ of the soft assignment; the larger, the closer to the sign.
        commitment: β of the squared distance between u and û.

    Raises:
        InvalidValue: `dim` below 1, `bits` outside 1 … 48, a weight outside 0 … 10⁴, or τ outside 10⁻⁴ … 10⁴.
    """

    compiles = True

    def __init__(
        self,
        dim: int,
        bits: int = 16,
        *,
        entropy_weight: float = 0.1,
        diversity: float = 1.0,
        inverse_temperature: float = 10.0,
        commitment: float = 0.0,
    ) -> None:
        if not 1 <= bits <= 48:
            raise InvalidValue("bits", bits, "must be from 1 to 48", "take 16")
        weights = {"entropy_weight": entropy_weight, "diversity": diversity, "commitment": commitment}
        for name, weight in weights.items():
            if not 0.0 <= weight <= 1e4:
                raise InvalidValue(name, weight, "must lie in [0, 10000]")
        if not 1e-4 <= inverse_temperature <= 1e4:
            raise InvalidValue("inverse_temperature", inverse_temperature, "must lie in [0.0001, 10000]", "take 10")
        if dim < 1:
            raise InvalidValue("dim", dim, "must be at least 1")
        super().__init__(dim, (2,) * bits)
        self.bits, self.entropy_weight, self.diversity = bits, entropy_weight, diversity
        self.inverse_temperature, self.commitment = inverse_temperature, commitment

    def forward(self, latents: Tensor) -> QuantizerOutput:
        with torch.autocast(latents.device.type, enabled=False):
            u = F.normalize(self.project_in(latents.float().transpose(1, 2)), dim=-1)  # [B, F, L]
            positive = u.detach() > 0  # False for zero and NaN: codes stay codes in a broken batch
            codes = self.levels_to_codes(positive.long().transpose(1, 2))  # [B, 1, F]
            signs = torch.where(positive, 1.0, -1.0).to(u) / math.sqrt(self.bits)
            z_q = self.project_out(u + (signs - u).detach()).transpose(1, 2)  # [B, D, F]
            loss = self.regularizer(u, signs) if self.training else z_q.new_zeros(())
        return QuantizerOutput(z_q, codes, loss)

    def regularizer(self, u: Tensor, signs: Tensor) -> Tensor:
        """The scalar loss of points u and their quantized points, each `[B, F, L]`; every rank must call this."""
        loss = u.new_zeros(())
        if self.entropy_weight > 0:
            frame, batch = self.entropies(u)
            loss = loss + self.entropy_weight * (frame - self.diversity * batch) / self.inverse_temperature
        if self.commitment > 0:
            loss = loss + self.commitment * (u - signs).square().sum(-1).mean()
        return loss

    def entropies(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """E_u[H(q(·|u))] and the factorised H(E_u[q(·|u)]) of points `[B, F, L]`, scalars in nats, 0 … L ln 2 each."""
        logits = u * (2 * self.inverse_temperature / math.sqrt(self.bits))
        positive = logits.sigmoid()  # P(bit = 1 | u), [B, F, L]
        frame = (F.softplus(logits) - positive * logits).sum(-1).mean()
        mean = positive.mean((0, 1))  # [L]
        if world_size() > 1:
            mean = mean + (_mean_over_ranks(mean.detach()) - mean.detach())  # all ranks' value, this rank's gradient
        mean = mean.clamp(torch.finfo(mean.dtype).eps, 1 - torch.finfo(mean.dtype).eps)  # where H has a slope
        batch = (torch.special.entr(mean) + torch.special.entr(1 - mean)).sum()
        return frame, batch

    def _contributions(self, codes: Tensor) -> Tensor:
        return ((2 * self.codes_to_levels(codes) - 1) / math.sqrt(self.bits)).unsqueeze(1)


@torch.compiler.disable
def _mean_over_ranks(values: Tensor) -> Tensor:
    """The mean of all ranks' values, on every rank."""
    total = values.clone()
    dist.all_reduce(total)
    return total / world_size()
