"""A channel whose flip probabilities are learned with the codec: which bits of a frame deserve the energy."""

from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from codec.channels.base import Channel
from codec.channels.receiving.priors import DAMAGES
from codec.errors import InvalidValue, UnreadableFile, first_line

LEAST = 1e-9  # probability of a flip, below which the draws of float64 say nothing


class LearnedFlips(nn.Module, Channel):
    """Flips bit i of every frame with a probability pᵢ of its own, which training shifts to the bits that matter least.

    BPSK over white noise with a mean energy of Ec per channel bit, of which bit i gets the share wᵢ:
    pᵢ = Q(√(2 wᵢ Ec/N0)), with w = n softmax(θ), so that a frame has the same energy whatever is learned. θ starts at
    zero, every pᵢ at Q(√(2 Ec/N0)). In training of a `CodecModule` θ is learned together with the codec, by its
    optimizer: the forward pass flips bits, e = 1[u < pᵢ] with u uniform, and sends b' = b + e (1 − 2 b); the backward
    pass takes ∂e/∂pᵢ := 1 (straight-through), right in the mean for a loss that is linear in each error. With a
    `temperature` τ it is that of the binary concrete distribution (Maddison et al., arXiv 1611.00712; straight-through
    Gumbel-softmax, Jang et al., arXiv 1611.01144),

        ∂e/∂pᵢ := σ'((logit pᵢ + l) / τ) / (τ pᵢ (1 − pᵢ)),  l = log((1 − u) / u),

    which also sees errors that nearly happened, with less variance for a loss that is not linear; its mean tends to
    πτ / sin πτ for small pᵢ, so it is biased. The codec's link needs `PosteriorMean`, through which b' has a gradient.

    Realisations are nested over Ec/N0 and pᵢ: from one generator state a bit flips if its uniform draw is below pᵢ.

    >>> channel = LearnedFlips(0.0, 4)
    >>> [round(p, 4) for p in channel.flip_probabilities().tolist()]
    [0.0786, 0.0786, 0.0786, 0.0786]

    Args:
        ec_n0_db: Ec/N0, mean energy of a channel bit over the noise density, in dB.
        bits: n, bits of a frame.
        temperature: τ of the concrete distribution's gradient, below 1; None for straight-through.
        file: checkpoint of a run with this channel, whose learned shares are taken; None for equal ones.

    Raises:
        InvalidValue: a number is out of range, or the file's shares are of another number of bits; when called,
            frames of another number of bits.
        UnreadableFile: the file is missing, damaged, or has no learned shares.
    """

    family = "learned-flips"

    def __init__(
        self, ec_n0_db: float, bits: int = 16, *, temperature: float | None = None, file: str | None = None
    ) -> None:
        super().__init__()
        if not -50.0 <= ec_n0_db <= 50.0:
            raise InvalidValue("ec_n0_db", ec_n0_db, "must be -50 to 50 decibels", "take 0")
        if bits < 1:
            raise InvalidValue("bits", bits, "must be at least 1")
        if temperature is not None and not 0.0 < temperature < 1.0:
            raise InvalidValue("temperature", temperature, "must lie between 0 and 1, or be null", "take 0.5")
        self.ec_n0_db, self.temperature = float(ec_n0_db), temperature
        self.theta = nn.Parameter(torch.zeros(bits))
        if file is not None:
            self.theta.data.copy_(_stored_shares(file, bits))
        self._kind = self.family if file is None else f"{self.family}-of-file"
        self.name = f"{self._kind}-{ec_n0_db:g}dB"

    @property
    def curve(self) -> str:
        return self._kind

    @property
    def error_rate(self) -> float:  # type: ignore[override]
        """Mean of the flip probabilities as they are now."""
        return float(self.flip_probabilities().detach().mean())

    def energies(self) -> Tensor:
        """Share w of the mean energy that each bit of a frame gets, float32 `[n]`, of mean 1."""
        return len(self.theta) * torch.softmax(self.theta, 0)

    def flip_probabilities(self) -> Tensor:
        """p, float64 `[n]`, in [1e-9, ½), with a gradient to θ."""
        energy = self.energies().double() * 10.0 ** (self.ec_n0_db / 10.0)
        return (0.5 * torch.erfc(energy.sqrt())).clamp_min(LEAST)

    def forward(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """Transmit `[..., F, n]`: uint8 decisions, or in training float32 zeros and ones with a gradient to θ."""
        if bits.ndim < 2 or bits.shape[-1] != len(self.theta):
            allowed = f"must be [..., F, {len(self.theta)}], one frame a row"
            raise InvalidValue("bits of shape", list(bits.shape), allowed, "set `bits` to those of a frame")
        draws = torch.rand(bits.shape, generator=generator, dtype=torch.float64)
        p = self.flip_probabilities().to(draws.device)
        flips = draws < p
        if not (torch.is_grad_enabled() and self.theta.requires_grad and self.training):
            return bits ^ flips.to(bits.device, bits.dtype)
        relaxed = p.expand_as(draws)
        if self.temperature is not None:
            relaxed = torch.sigmoid((torch.logit(p) - torch.logit(draws.clamp(LEAST, 1 - LEAST))) / self.temperature)
        errors = (flips.double() + (relaxed - relaxed.detach())).float().to(bits.device)
        sent = bits.float()
        return sent + errors * (1.0 - 2.0 * sent)


def _stored_shares(file: str, bits: int) -> Tensor:
    """θ in a run's checkpoint, float32 `[bits]`."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]["channel.theta"]
    except (*DAMAGES, UnpicklingError) as error:
        allowed = f"is no checkpoint of a run with codec.LearnedFlips as its channel ({first_line(error)})"
        raise UnreadableFile(
            str(file), allowed=allowed, remedy="train one with configs/small/learned_flips.yaml"
        ) from error
    if not isinstance(found, Tensor) or found.ndim != 1 or not found.is_floating_point() or not found.isfinite().all():
        raise UnreadableFile(
            str(file), allowed="has shares that are no finite numbers", remedy="give another checkpoint"
        )
    if found.shape != (bits,):
        raise InvalidValue("bits", bits, f"must be the {len(found)} bits of a frame in {file}")
    return found.float()
