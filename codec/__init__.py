"""Neural speech codecs whose codes survive a noisy channel: quantizers, channels, losses and training."""

from codec.channels import (
    AWGNChannel,
    BinarySymmetricChannel,
    Channel,
    ConvolutionalCode,
    ErrorCorrection,
    FrameErasureChannel,
    GilbertElliottChannel,
    Hamming74,
    MixedChannel,
    PacketLossChannel,
    ProtectedChannel,
    Repetition,
    SelectedBitsChannel,
)
from codec.checkpoint import load_codec
from codec.codec import CodecOutput, NeuralCodec
from codec.codec_module import CodecModule, LossWeights
from codec.comparison import ComparisonModule, System
from codec.concealment import Concealment, InterpolatedLatent, PosteriorMean, RepeatLast, ZeroLatent
from codec.decoders import ConvNeXtBackbone, Decoder, TransformerBackbone, VocosDecoder
from codec.discriminators import Discriminator, MultiPeriodDiscriminator, MultiResolutionSpectrogramDiscriminator
from codec.encoders import AcousticEncoder, Encoder, SpectralEncoder
from codec.index_maps import BinarySwitchingMap, GrayMap, IndexMap, NaturalMap, PermutedMap
from codec.link import Link
from codec.losses import AdversarialLoss, HingeLoss, LeastSquaresLoss, MultiScaleMelLoss
from codec.quantizers import FSQ, RVQ, Codebook, DoubleTanhBound, EMACodebook, LearnedCodebook, Quantizer, TanhBound
from codec.schedules import Constant, Schedule, WarmupLinearDecay
from codec.strategies import AlternatingDDPStrategy

__all__ = [
    "FSQ",
    "RVQ",
    "AWGNChannel",
    "AcousticEncoder",
    "AdversarialLoss",
    "AlternatingDDPStrategy",
    "BinarySwitchingMap",
    "BinarySymmetricChannel",
    "Channel",
    "Codebook",
    "CodecModule",
    "CodecOutput",
    "ComparisonModule",
    "Concealment",
    "Constant",
    "ConvNeXtBackbone",
    "ConvolutionalCode",
    "Decoder",
    "Discriminator",
    "DoubleTanhBound",
    "EMACodebook",
    "Encoder",
    "ErrorCorrection",
    "FrameErasureChannel",
    "GilbertElliottChannel",
    "GrayMap",
    "Hamming74",
    "HingeLoss",
    "IndexMap",
    "InterpolatedLatent",
    "LearnedCodebook",
    "LeastSquaresLoss",
    "Link",
    "LossWeights",
    "MixedChannel",
    "MultiPeriodDiscriminator",
    "MultiResolutionSpectrogramDiscriminator",
    "MultiScaleMelLoss",
    "NaturalMap",
    "NeuralCodec",
    "PacketLossChannel",
    "PermutedMap",
    "PosteriorMean",
    "ProtectedChannel",
    "Quantizer",
    "RepeatLast",
    "Repetition",
    "Schedule",
    "SelectedBitsChannel",
    "SpectralEncoder",
    "System",
    "TanhBound",
    "TransformerBackbone",
    "VocosDecoder",
    "WarmupLinearDecay",
    "ZeroLatent",
    "load_codec",
]
