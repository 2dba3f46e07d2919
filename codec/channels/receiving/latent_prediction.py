"""A small recurrent network that predicts the latents of lost frames from those received before, and a few after."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from codec.errors import InvalidValue
from codec.quantizers.base import Quantizer

LONG_AGO = 1e6  # frames since the last reception, before the first
PROBES = 8  # codes whose latents tell one quantizer from another


class PredictorState(NamedTuple):
    """What a `LatentPredictor` keeps between pieces of a stream.

    Attributes:
        held: latents of the last frame received, normalised, `[B, D]`.
        age: frames since then, `[B, 1]`.
        hidden: of the recurrent layers, `[layers, B, width]`.
    """

    held: Tensor
    age: Tensor
    hidden: Tensor


class LatentPredictor(nn.Module):
    """Predicts the latent of every frame t from the frames received up to t + `lookahead`.

    In each frame, the network gets the latent of the last frame received, the frame's own reliability and 1 / (1 + a)
    with a the number of frames since then. A linear layer and `layers` gated recurrent units (Cho et al. 2014) of
    `width` follow; a linear map of the input is added, which begins as the repetition of the last frame. Latents are
    normalised by mean and power of those of equally likely codes. All of it computes in float32, also under autocast.

    The network is causal: what it gives for frame t depends on no frame after t + `lookahead`, on no other clip and not
    on how the frames are cut into pieces (but for rounding).

    Args:
        dim: width D of the latents.
        width: of the recurrent layers.
        layers: number of them.
        lookahead: frames after a frame that count for it, the delay of a live receiver.

    Raises:
        InvalidValue: a number is below 1, or `lookahead` below 0.
    """

    mean: Tensor
    scale: Tensor
    probe: Tensor

    def __init__(self, dim: int, *, width: int = 192, layers: int = 2, lookahead: int = 0) -> None:
        super().__init__()
        for name, number, least in (("dim", dim, 1), ("width", width, 1), ("layers", layers, 1)):
            if number < least:
                raise InvalidValue(name, number, f"must be at least {least}")
        if not 0 <= lookahead <= 1000:
            raise InvalidValue("lookahead", lookahead, "must be from 0 to 1000 frames", "take 2")
        self.settings = {"dim": dim, "width": width, "layers": layers, "lookahead": lookahead}
        self.dim, self.lookahead = dim, lookahead
        self.skip = nn.Linear(dim + 2, dim)
        self.entry = nn.Sequential(nn.Linear(dim + 2, width), nn.GELU())
        self.recurrent = nn.GRU(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, dim)
        with torch.no_grad():
            for weight in (self.skip.weight, self.skip.bias, self.head.weight, self.head.bias):
                weight.zero_()
            self.skip.weight[:, :dim].fill_diagonal_(1)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("probe", torch.zeros(dim, PROBES))

    @torch.no_grad()
    def attach(self, quantizer: Quantizer) -> None:
        """Take normalisation and `probe` from a codec's quantizer, whose width must be `dim`.

        Raises:
            InvalidValue: the widths differ.
        """
        if quantizer.dim != self.dim:
            raise InvalidValue(
                "dim of the predictor", self.dim, f"must be the codec's width {quantizer.dim}", "set them equal"
            )
        generator = torch.Generator().manual_seed(0)
        draws = [torch.randint(size, (1, 4096), generator=generator) for size in quantizer.codebook_sizes]
        latents = quantizer.decode(torch.stack(draws, 1).to(quantizer.device))[0].float()  # [D, 4096]
        mean = latents.mean(1)
        power = (latents - mean[:, None]).square().mean().clamp_min(1e-12)
        self.mean.copy_(mean)
        self.scale.copy_(power.sqrt())
        self.probe.copy_(probe_latents(quantizer))

    def fits(self, quantizer: Quantizer) -> bool:
        """Whether this is the quantizer of `attach`: the same width and, but for rounding, latents of some codes."""
        if quantizer.dim != self.dim:
            return False
        found, expected = probe_latents(quantizer).cpu(), self.probe.cpu()
        return bool((found - expected).abs().max() <= 1e-3 * self.scale.cpu())

    def forward(self, latents: Tensor, reliability: Tensor) -> Tensor:
        """Predict every frame of whole clips, also those received.

        Args:
            latents: as received, `[B, D, F]`; those of lost frames do not matter.
            reliability: of each frame, `[B, F]`: 0 where it was lost, 1 where it is certain.

        Returns:
            float32 `[B, D, F]`.
        """
        ahead = self.lookahead
        padded = nn.functional.pad(latents, (0, ahead)), nn.functional.pad(reliability, (0, ahead))
        return self.step(*padded, None)[0][..., ahead:]

    def step(self, latents: Tensor, reliability: Tensor, state: PredictorState | None) -> tuple[Tensor, PredictorState]:
        """Go on with a stream by a piece of one frame or more.

        Args:
            latents: `[B, D, F]`, as in `forward`; at the stream's end, `lookahead` lost frames bring out the rest.
            reliability: `[B, F]`.
            state: as the piece before left it; None at the start.

        Returns:
            Predictions `[B, D, F]` that stand `lookahead` frames behind the input, the first of a stream before its
            beginning; and the state.
        """
        with torch.autocast(latents.device.type, enabled=False):
            if state is None:
                state = self._beginning(latents)
            z = ((latents.float().mT - self.mean) / self.scale).contiguous()  # [B, F, D]
            frame = torch.arange(1, z.shape[1] + 1, device=z.device).expand(z.shape[:2])
            last = torch.where(reliability > 0, frame, 0).cummax(1).values  # 0: received before this piece
            known = torch.cat((state.held[:, None], z), 1)
            held = known.gather(1, last[..., None].expand_as(z))
            age = (frame - last) + torch.where(last == 0, state.age, 0.0)
            x = torch.cat((held, reliability.float()[..., None], 1 / (1 + age)[..., None]), -1)  # [B, F, D + 2]
            found, hidden = self.recurrent(self.entry(x), state.hidden)
            predicted = (self.skip(x) + self.head(found)) * self.scale + self.mean
            return predicted.mT, PredictorState(held[:, -1], age[:, -1:], hidden)

    def _beginning(self, latents: Tensor) -> PredictorState:
        clips = len(latents)
        held = latents.new_zeros(clips, self.dim, dtype=torch.float32)
        hidden = held.new_zeros(self.recurrent.num_layers, clips, self.recurrent.hidden_size)
        return PredictorState(held, held.new_full((clips, 1), LONG_AGO), hidden)


def probe_latents(quantizer: Quantizer) -> Tensor:
    """Latents float32 `[D, 8]` of eight fixed codes, spread over each codebook."""
    codes = [(torch.arange(PROBES) * 2_654_435_761 >> 4) % size for size in quantizer.codebook_sizes]
    with torch.no_grad():
        return quantizer.decode(torch.stack(codes)[None].to(quantizer.device))[0].float()
