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
from codec.decoders import ConvNeXtBackbone, Decoder, TransformerBackbone, VocosDecoder
from codec.encoders import (
    AcousticEncoder,
    Encoder,
    FusedEncoder,
    HubertEncoder,
    MelEncoder,
    SpectralEncoder,
    StudentEncoder,
    TeacherCache,
    W2VBertEncoder,
)
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
from codec.training.codec_module import CodecModule, LossWeights
from codec.training.comparison_module import ComparisonModule, System
from codec.training.discriminators import (
    Discriminator,
    MultiPeriodDiscriminator,
    MultiResolutionSpectrogramDiscriminator,
)
from codec.training.distillation_module import DistillationModule
from codec.training.distributed.ddp import AlternatingDDPStrategy
from codec.training.distributed.fsdp import AlternatingFSDPStrategy
from codec.training.losses.distillation import (
    DistillationLoss,
    LatentDistance,
    LevelCrossEntropy,
    OrdinalLevelLoss,
    ProjectedDistance,
    QuantizedCosine,
)
from codec.training.losses.mel import AdversarialLoss, HingeLoss, LeastSquaresLoss, MultiScaleMelLoss
from codec.training.losses.semantic import SemanticReconstruction
from codec.training.schedules import Constant, Schedule, WarmupLinearDecay

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
