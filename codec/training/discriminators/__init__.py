"""Discriminators: BigCodec's, as in X-Codec 2's recipe; HiFi-GAN's multi-period and one on complex spectrograms."""

from codec.training.discriminators.base import Discriminator, DiscriminatorOutput, run_layers
from codec.training.discriminators.bigcodec import BigCodecPeriodDiscriminator, BigCodecSpectrogramDiscriminator
from codec.training.discriminators.complex_spectrogram import (
    MultiResolutionSpectrogramDiscriminator,
    SpectrogramDiscriminator,
)
from codec.training.discriminators.multi_period import MultiPeriodDiscriminator, PeriodDiscriminator

__all__ = [
    "BigCodecPeriodDiscriminator",
    "BigCodecSpectrogramDiscriminator",
    "Discriminator",
    "DiscriminatorOutput",
    "MultiPeriodDiscriminator",
    "MultiResolutionSpectrogramDiscriminator",
    "PeriodDiscriminator",
    "SpectrogramDiscriminator",
    "run_layers",
]
