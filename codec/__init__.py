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
from codec.distillation import (
    DistillationLoss,
    LatentDistance,
    LevelCrossEntropy,
    OrdinalLevelLoss,
    ProjectedDistance,
    QuantizedCosine,
)
from codec.distillation_module import DistillationModule
from codec.encoders import AcousticEncoder, Encoder, SpectralEncoder
from codec.fsdp import AlternatingFSDPStrategy
from codec.index_maps import BinarySwitchingMap, GrayMap, IndexMap, NaturalMap, PermutedMap
from codec.link import Link
from codec.losses import AdversarialLoss, HingeLoss, LeastSquaresLoss, MultiScaleMelLoss
from codec.quantizers import (
    FSQ,
    RVQ,
    Bound,
    Codebook,
    Dithered,
    DoubleTanhBound,
    EMACodebook,
    LearnedCodebook,
    Quantizer,
    ResidualFSQ,
    Rounding,
    StraightThrough,
    TanhBound,
)
from codec.schedules import Constant, Schedule, WarmupLinearDecay
from codec.semantic_encoders import FusedEncoder, HubertEncoder, W2VBertEncoder
from codec.semantic_loss import SemanticReconstruction
from codec.strategies import AlternatingDDPStrategy
from codec.student_encoders import MelEncoder, StudentEncoder
from codec.teacher_cache import TeacherCache
from codec.third_party import TransformersCodec

__all__ = [
    "FSQ",
    "RVQ",
    "AWGNChannel",
    "AcousticEncoder",
    "AdversarialLoss",
    "AlternatingDDPStrategy",
    "AlternatingFSDPStrategy",
    "BinarySwitchingMap",
    "BinarySymmetricChannel",
    "Bound",
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
    "DistillationLoss",
    "DistillationModule",
    "Dithered",
    "DoubleTanhBound",
    "EMACodebook",
    "Encoder",
    "ErrorCorrection",
    "FrameErasureChannel",
    "FusedEncoder",
    "GilbertElliottChannel",
    "GrayMap",
    "Hamming74",
    "HingeLoss",
    "HubertEncoder",
    "IndexMap",
    "InterpolatedLatent",
    "LatentDistance",
    "LearnedCodebook",
    "LeastSquaresLoss",
    "LevelCrossEntropy",
    "Link",
    "LossWeights",
    "MelEncoder",
    "MixedChannel",
    "MultiPeriodDiscriminator",
    "MultiResolutionSpectrogramDiscriminator",
    "MultiScaleMelLoss",
    "NaturalMap",
    "NeuralCodec",
    "OrdinalLevelLoss",
    "PacketLossChannel",
    "PermutedMap",
    "PosteriorMean",
    "ProjectedDistance",
    "ProtectedChannel",
    "QuantizedCosine",
    "Quantizer",
    "RepeatLast",
    "Repetition",
    "ResidualFSQ",
    "Rounding",
    "Schedule",
    "SelectedBitsChannel",
    "SemanticReconstruction",
    "SpectralEncoder",
    "StraightThrough",
    "StudentEncoder",
    "System",
    "TanhBound",
    "TeacherCache",
    "TransformerBackbone",
    "TransformersCodec",
    "VocosDecoder",
    "W2VBertEncoder",
    "WarmupLinearDecay",
    "ZeroLatent",
    "load_codec",
]
