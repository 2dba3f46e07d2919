"""Neural speech codecs whose codes survive a noisy channel: quantizers, channels, losses and training."""

from codec.channels import BinarySymmetricChannel, Channel, GilbertElliottChannel
from codec.checkpoint import load_codec
from codec.codec import CodecOutput, NeuralCodec
from codec.codec_module import CodecModule, LossWeights
from codec.decoders import ConvNeXtBackbone, Decoder, TransformerBackbone, VocosDecoder
from codec.discriminators import Discriminator, MultiPeriodDiscriminator, MultiResolutionSpectrogramDiscriminator
from codec.encoders import AcousticEncoder, Encoder, SpectralEncoder
from codec.losses import AdversarialLoss, HingeLoss, LeastSquaresLoss, MultiScaleMelLoss
from codec.quantizers import FSQ, RVQ, Codebook, DoubleTanhBound, EMACodebook, LearnedCodebook, Quantizer, TanhBound
from codec.schedules import Constant, Schedule, WarmupLinearDecay
from codec.strategies import AlternatingDDPStrategy

__all__ = [
    "FSQ",
    "RVQ",
    "AcousticEncoder",
    "AdversarialLoss",
    "AlternatingDDPStrategy",
    "BinarySymmetricChannel",
    "Channel",
    "Codebook",
    "CodecModule",
    "CodecOutput",
    "Constant",
    "ConvNeXtBackbone",
    "Decoder",
    "Discriminator",
    "DoubleTanhBound",
    "EMACodebook",
    "Encoder",
    "GilbertElliottChannel",
    "HingeLoss",
    "LearnedCodebook",
    "LeastSquaresLoss",
    "LossWeights",
    "MultiPeriodDiscriminator",
    "MultiResolutionSpectrogramDiscriminator",
    "MultiScaleMelLoss",
    "NeuralCodec",
    "Quantizer",
    "Schedule",
    "SpectralEncoder",
    "TanhBound",
    "TransformerBackbone",
    "VocosDecoder",
    "WarmupLinearDecay",
    "load_codec",
]
