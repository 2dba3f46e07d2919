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
from codec.channels.concealment import Concealment, InterpolatedLatent, PosteriorMean, RepeatLast, ZeroLatent
from codec.channels.index_maps import BinarySwitchingMap, GrayMap, IndexMap, NaturalMap, PermutedMap
from codec.channels.link import Link
from codec.checkpoints.reading import load_codec
from codec.codec import CodecOutput, NeuralCodec
from codec.decoders.vocos import ConvNeXtBackbone, Decoder, TransformerBackbone, VocosDecoder
from codec.encoders.acoustic import AcousticEncoder, Encoder, SpectralEncoder
from codec.encoders.feature_cache import TeacherCache
from codec.encoders.l3ac import MelEncoder, StudentEncoder
from codec.encoders.semantic import FusedEncoder, HubertEncoder, W2VBertEncoder
from codec.errors import InvalidValue, MissingDependency, UnreadableFile, UserError
from codec.hub.transformers_codec import TransformersCodec
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
from codec.training.adversary import Adversary
from codec.training.alternating import Optimization
from codec.training.codec_module import CodecModule
from codec.training.comparison_module import ComparisonModule, System
from codec.training.discriminators import (
    Discriminator,
    MultiPeriodDiscriminator,
    MultiResolutionSpectrogramDiscriminator,
)
from codec.training.distillation_module import DistillationModule
from codec.training.distributed.ddp import AlternatingDDPStrategy
from codec.training.distributed.fsdp import AlternatingFSDPStrategy
from codec.training.losses import (
    AdversarialLoss,
    DistillationLoss,
    FeatureMatchingLoss,
    LatentDistance,
    LeastSquaresLoss,
    Loss,
    MultiScaleMelLoss,
    ReconstructionLoss,
    SemanticReconstruction,
)
from codec.training.schedules import Constant, Schedule, WarmupLinearDecay

__all__ = [
    "FSQ",
    "RVQ",
    "AWGNChannel",
    "AcousticEncoder",
    "AdversarialLoss",
    "Adversary",
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
    "FeatureMatchingLoss",
    "FrameErasureChannel",
    "FusedEncoder",
    "GilbertElliottChannel",
    "GrayMap",
    "Hamming74",
    "HubertEncoder",
    "IndexMap",
    "InterpolatedLatent",
    "InvalidValue",
    "LatentDistance",
    "LearnedCodebook",
    "LeastSquaresLoss",
    "Link",
    "Loss",
    "MelEncoder",
    "MissingDependency",
    "MixedChannel",
    "MultiPeriodDiscriminator",
    "MultiResolutionSpectrogramDiscriminator",
    "MultiScaleMelLoss",
    "NaturalMap",
    "NeuralCodec",
    "Optimization",
    "PacketLossChannel",
    "PermutedMap",
    "PosteriorMean",
    "ProtectedChannel",
    "Quantizer",
    "ReconstructionLoss",
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
    "UnreadableFile",
    "UserError",
    "VocosDecoder",
    "W2VBertEncoder",
    "WarmupLinearDecay",
    "ZeroLatent",
    "load_codec",
]
