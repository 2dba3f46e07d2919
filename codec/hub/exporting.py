"""Writes a codec of NeuCodec's architecture as a folder that `transformers.AutoModel.from_pretrained` opens."""

import copy
from pathlib import Path
from typing import Any, TypeVar

from torch import nn
from torch.nn.utils import parametrize

from codec.checkpoints.reading import load_codec
from codec.checkpoints.safetensors import current_umask
from codec.codec import NeuralCodec
from codec.decoders.backbones import TransformerBackbone
from codec.decoders.vocos import VocosDecoder
from codec.encoders.acoustic import AcousticEncoder
from codec.encoders.semantic import FusedEncoder, W2VBertEncoder
from codec.encoders.w2v_bert import import_transformers
from codec.errors import InvalidValue
from codec.hub.names import Sizes, to_transformers
from codec.quantizers.fsq import FSQ, DoubleTanhBound

Part = TypeVar("Part", bound=nn.Module)


def export_codec(checkpoint: str | Path, out: str | Path) -> str:
    """Write `config.json`, `model.safetensors` and `preprocessor_config.json`, weight norm folded.

    Args:
        checkpoint: `.ckpt` or `.safetensors` of a codec with NeuCodec's parts.
        out: folder, made if missing.

    Returns:
        The model's class in transformers.

    Raises:
        UnreadableFile: the checkpoint cannot be read.
        InvalidValue: its codec has something that the two models do not, or `out` is not an empty folder.
    """
    if Path(out).is_file() or (Path(out).is_dir() and any(Path(out).iterdir())):
        raise InvalidValue("out", out, "is not an empty folder", "give a new one")
    codec = load_codec(checkpoint)
    config, sizes = transformers_config(codec, str(checkpoint))
    weights = to_transformers({f"codec.{k}": v for k, v in folded(codec).state_dict().items()}, sizes)
    transformers = import_transformers("codec.hub")
    model = transformers.AutoModel.from_config(config)
    model.load_state_dict(weights)
    model.save_pretrained(out)
    for file in Path(out).glob("*.safetensors"):
        file.chmod(0o666 & ~current_umask())  # the library writes files that only their owner can read
    transformers.FEATURE_EXTRACTOR_MAPPING[type(config)]().save_pretrained(out)
    return type(model).__name__


def folded(module: Part) -> Part:
    """A copy of a codec or one of its parts whose weight norms are replaced by the weights that they give."""
    module = copy.deepcopy(module)
    for part in list(module.modules()):
        if parametrize.is_parametrized(part, "weight"):
            # The copy has the original's class, of which the removal takes the weight away: give it its own.
            kind = type(part)
            part.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)
    return module


def transformers_config(codec: NeuralCodec, source: str) -> tuple[Any, Sizes]:
    """The transformers configuration that describes a codec, NeuCodec's or X-Codec 2's, and its numbers of layers.

    Raises:
        InvalidValue: a part is of another class, or has options that the two models do not have.
    """
    encoder = check_type(codec.encoder, FusedEncoder, source)
    acoustic = check_type(encoder.acoustic, AcousticEncoder, source)
    semantic = check_type(encoder.semantic, W2VBertEncoder, source)
    quantizer = check_type(codec.quantizer, FSQ, source)
    decoder = check_type(codec.decoder, VocosDecoder, source)
    backbone = check_type(decoder.backbone, TransformerBackbone, source)
    width, dim, edge = backbone.width, quantizer.dim, semantic.frozen.edge_padding
    checks = {
        "the decoder's positions (RoPE over time)": (backbone.positions, False),
        "the decoder's causality": (backbone.causal, False),
        "the quantizer's bound": (type(quantizer.bound), DoubleTanhBound),
        "the acoustic encoder's dilations": (acoustic.dilations, (1, 3, 9)),
        "its anti-aliasing": (acoustic.anti_aliased, True),
        "its width": (acoustic.dim, width),
        "the quantizer's width": (dim, width + semantic.dim),
        "the decoder's window in hops": (decoder.n_fft, 4 * decoder.hop_length),
        "its largest magnitude": (decoder.max_magnitude, 100.0),
        "the sample rate": (codec.sample_rate, 16_000),
        "w2v-BERT's edge padding": (edge in ((0, 160) if codec.output_sample_rate == 16_000 else (0,)), True),
    }
    wrong = [f"{name} is {found}, not {wanted}" for name, (found, wanted) in checks.items() if found != wanted]
    if wrong:
        allowed = f"cannot be exported, as transformers' models differ: {'; '.join(wrong)}"
        raise InvalidValue(source, None, allowed)
    attention = backbone.blocks[0].attention
    fields = {
        "encoder_hidden_size": acoustic.width,
        "downsampling_ratios": list(acoustic.strides),
        "hidden_size": width,
        "intermediate_size": backbone.blocks[0].mlp[0].out_features,
        "num_hidden_layers": len(backbone.blocks),
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.heads,
        "head_dim": attention.out.in_features // attention.heads,
        "activation_dropout": backbone.dropout,
        "quantization_dim": dim,
        "quantization_levels": list(quantizer.levels),
        "semantic_model_config": semantic.frozen.model.config,
    }
    sizes = Sizes(len(acoustic.strides), len(backbone.blocks))
    transformers = import_transformers("codec.hub")
    if edge:
        return transformers.Xcodec2Config(**fields), sizes
    return transformers.NeuCodecConfig(**fields, output_sampling_rate=codec.output_sample_rate), sizes


def check_type(part: Any, kind: type, source: str) -> Any:
    """The part; an InvalidValue unless it is of exactly this class."""
    if type(part) is not kind:
        found = f"it has a {type(part).__name__} where NeuCodec and X-Codec 2 have a {kind.__name__}"
        raise InvalidValue(source, None, f"cannot be exported: {found}")
    return part
