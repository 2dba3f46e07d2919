"""Reads NeuCodec and X-Codec 2 from a transformers folder, a hub id or the original package's weights."""

import importlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.checkpoints.building import build_codec, check_fit
from codec.checkpoints.files import FORMAT_VERSION, SafeCheckpointIO, find_damage
from codec.checkpoints.safetensors import read_safetensors, tensor_names, write_safetensors
from codec.encoders.w2v_bert import import_transformers
from codec.errors import InvalidValue, UnreadableFile, first_line
from codec.hub.names import SEMANTIC_HEAD, Sizes, from_transformers
from codec.hub.original import UNSTATED, original_to_transformers
from codec.hub.transformers_codec import FILES, HUB_ID

FAMILIES = ("neucodec", "xcodec2")
ORIGINALS = ("model.safetensors", "pytorch_model.bin")


def import_codec(source: str, out: str | Path, *, semantic: str = "facebook/w2v-bert-2.0") -> dict[str, Any]:
    """Write a published codec as a `.safetensors` or `.ckpt` file of this project.

    Weight norm is folded, and no code in the source runs: `.bin` files are read weights-only. A semantic decoder among
    the original weights is kept for the semantic reconstruction loss.

    Args:
        source: transformers folder or hub id of NeuCodec or X-Codec 2, the original package's `pytorch_model.bin` (or
            `.safetensors`), or a folder or hub id that holds only such a file.
        out: `.safetensors`, or `.ckpt` for the trainer's `--ckpt_path` in `test` and `predict`.
        semantic: folder or hub id of w2v-BERT 2.0, read where original weights lack it.

    Returns:
        The codec's configuration, as in YAML.

    Raises:
        UnreadableFile: source or w2v-BERT cannot be read, is incomplete or is of another model.
        InvalidValue: `out` has another suffix, exists, or is in a folder that does not exist.
    """
    if Path(out).suffix not in (".safetensors", ".ckpt"):
        raise InvalidValue("out", out, "must end in .safetensors or .ckpt")
    if Path(out).exists() or not Path(out).parent.is_dir():
        raise InvalidValue(
            "out", out, "exists already, or its folder does not", "give a new name in an existing folder"
        )
    path = fetch(source)
    config, theirs = read_transformers(path) if path.is_dir() else read_original(path, semantic)
    if not 1 <= config.num_hidden_layers <= len(theirs) or not 1 <= len(config.downsampling_ratios) <= len(theirs):
        stated = f"{config.num_hidden_layers} layers and {len(config.downsampling_ratios)} strides"
        raise UnreadableFile(source, None, f"states {stated} but holds {len(theirs)} weights: it is not complete")
    block, sizes = codec_block(config, source)
    heads = [head for head, _ in SEMANTIC_HEAD]
    with as_user_error(f"{source} is not a complete {config.model_type} of its stated sizes"):
        weights = from_transformers(theirs, sizes)
    further = {k: v for k, v in weights.items() if k.startswith(tuple(heads))}
    codec = {k.removeprefix("codec."): v for k, v in weights.items() if k not in further}
    try:
        check_fit(lambda: build_codec(block), codec)
    except InvalidValue as error:
        allowed = f"is not a complete {config.model_type} of its stated sizes ({error.problem})"
        raise UnreadableFile(source, None, allowed, "give another source") from error
    broken = next((k for k, v in weights.items() if not v.is_floating_point() or not v.isfinite().all()), None)
    if broken is not None:
        raise UnreadableFile(
            source, None, f"holds numbers that are not finite or not real in {broken}", "fetch it again"
        )
    named = {f"codec.{k}": v.float() for k, v in codec.items()} | {k: v.float() for k, v in further.items()}
    if Path(out).suffix == ".safetensors":
        write_safetensors(out, named, codec_config=block)
    else:
        write_checkpoint(out, named, block)
    return block


def fetch(source: str) -> Path:
    """The source as a local folder or file; a hub id is fetched once and then cached.

    Raises:
        UnreadableFile: there is neither such a path nor such a hub id within reach.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return weights_location(path)
    if path.exists():
        return path
    if not HUB_ID.fullmatch(source) or source.count("/") != 1:
        remedy = "give a file, a folder or a hub id such as neuphonic/neucodec"
        raise UnreadableFile("There is no", source, remedy=remedy)
    with as_user_error(f"{source} is no local path and cannot be fetched from the hub"):
        hub = importlib.import_module("huggingface_hub")
        folder = Path(hub.snapshot_download(source, allow_patterns=[*FILES, "pytorch_model.bin"]))
    return weights_location(folder)


def weights_location(folder: Path) -> Path:
    """The folder itself if it is in transformers' layout, or the file of weights in it that has the original layout.

    The names of the weights decide, not `config.json`: original checkpoints have one too.

    Raises:
        UnreadableFile: there are no weights.
    """
    found = [folder / name for name in ORIGINALS if (folder / name).is_file()]
    for file in found:
        if file.suffix == ".bin" or any(name.startswith(("CodecEnc.", "generator.")) for name in tensor_names(file)):
            return file
    if not (folder / "config.json").is_file():
        allowed = f"holds no config.json and none of {', '.join(ORIGINALS)}"
        raise UnreadableFile(str(folder), None, allowed, "give another folder")
    return folder


def read_transformers(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """Configuration and state dict of a transformers folder, its weights in one or several safetensors files.

    Raises:
        UnreadableFile: either cannot be read, or it is of another model.
    """
    transformers = import_transformers("codec.hub")
    with as_user_error(f"{folder / 'config.json'} cannot be read"):
        config = transformers.AutoConfig.from_pretrained(folder)
    if config.model_type not in FAMILIES:
        allowed = f"is of model_type {config.model_type}"
        raise UnreadableFile(str(folder), None, allowed, f"give one of {' or '.join(FAMILIES)}")
    single = folder / "model.safetensors"
    files = [single] if single.is_file() else sorted(folder.glob("model-*-of-*.safetensors"))
    if not files:
        raise UnreadableFile(
            str(folder), None, "holds no model.safetensors", "save the model with save_pretrained first"
        )
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= read_safetensors(file)[0]
    return config, weights


def read_original(path: Path, semantic: str) -> tuple[Any, dict[str, Tensor]]:
    """Configuration and state dict, named as transformers does, of the original package's weights.

    Raises:
        UnreadableFile: the file is damaged, holds more than weights or lacks some, or w2v-BERT cannot be read.
    """
    if path.suffix == ".safetensors":
        weights: Mapping[str, Any] = read_safetensors(path)[0]
    else:
        if (reason := find_damage(path)) is not None:
            allowed = f"is damaged or holds more than weights ({reason})"
            raise UnreadableFile(str(path), None, allowed, "fetch it again")
        with as_user_error(f"{path} is damaged or holds more than weights, and nothing in it has been run"):
            weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(weights, Mapping) or not all(isinstance(v, Tensor) for v in weights.values()):
        remedy = "give the original package's pytorch_model.bin"
        raise UnreadableFile(str(path), None, "is not a state dict of tensors", remedy)
    with as_user_error(f"{path} is not a complete original NeuCodec or X-Codec 2"):
        return original_to_transformers(weights, path=path, semantic=semantic)


def codec_block(config: Any, source: str) -> tuple[dict[str, Any], Sizes]:
    """The codec's block of YAML for a transformers configuration, and the sizes that the weights' names depend on.

    Raises:
        UnreadableFile: the configuration has something that this project's parts do not.
    """
    neucodec = config.model_type == "neucodec"
    rate = config.input_sampling_rate if neucodec else config.sampling_rate
    semantic = config.semantic_model_config
    checks = {
        "hidden_act": (config.hidden_act, "silu"),
        "attention_bias": (config.attention_bias, False),
        "num_key_value_heads": (config.num_key_value_heads, config.num_attention_heads),
        "rms_norm_eps": (config.rms_norm_eps, 1e-6),
        "quantization_dim": (config.quantization_dim, config.hidden_size + semantic.hidden_size),
        "product of downsampling_ratios": (math.prod(config.downsampling_ratios), 320),
        "sampling rate": (rate, 16_000),
        "semantic model_type": (semantic.model_type, "wav2vec2-bert"),
    }
    wrong = [f"{name} {found} (must be {wanted})" for name, (found, wanted) in checks.items() if found != wanted]
    if wrong:
        allowed = f"cannot be imported with {', '.join(wrong)}: it is not of NeuCodec's architecture"
        raise UnreadableFile(source, None, allowed)
    dim, width = config.quantization_dim, config.hidden_size
    acoustic = {"dim": width, "width": config.encoder_hidden_size, "strides": list(config.downsampling_ratios)}
    stated = {k: v for k, v in semantic.to_diff_dict().items() if k not in UNSTATED}
    frozen = {"layers": semantic.num_hidden_layers, "edge_padding": 0 if neucodec else 160, "config": stated or None}
    backbone = {
        "dim": dim,
        "width": width,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "head_width": config.head_dim,
        "hidden": config.intermediate_size,
        "dropout": config.activation_dropout,
        "positions": False,
    }
    encoder = part_block(
        "FusedEncoder",
        acoustic=part_block("AcousticEncoder", **acoustic, weight_norm=False),
        semantic=part_block("W2VBertEncoder", **frozen),
        dim=dim,
    )
    levels = list(config.quantization_levels)
    quantizer = part_block("FSQ", dim=dim, levels=levels, bound=part_block("quantizers.fsq.DoubleTanhBound"))
    decoder = part_block(
        "VocosDecoder", backbone=part_block("TransformerBackbone", **backbone), hop_length=int(config.hop_length)
    )
    block = part_block("NeuralCodec", encoder=encoder, quantizer=quantizer, decoder=decoder, sample_rate=rate)
    return block, Sizes(len(config.downsampling_ratios), config.num_hidden_layers)


def part_block(name: str, **arguments: Any) -> dict[str, Any]:
    """A part's block of YAML."""
    return {"class_path": f"codec.{name}", "init_args": arguments}


def write_checkpoint(path: str | Path, weights: Mapping[str, Tensor], codec_config: Mapping[str, Any]) -> None:
    """Write what `train.py test` and `predict` need of a checkpoint; the file appears complete or not at all."""
    lightning = importlib.import_module("lightning")
    content = {
        "state_dict": dict(weights),
        "codec_config": dict(codec_config),
        "format_version": FORMAT_VERSION,
        "pytorch-lightning_version": lightning.__version__,
        "epoch": 0,
        "global_step": 0,
        "loops": None,
    }
    SafeCheckpointIO().save_checkpoint(content, path)


@contextmanager
def as_user_error(what: str) -> Iterator[None]:
    """Turn any error inside into an UnreadableFile of one sentence that begins with `what`."""
    try:
        yield
    except Exception as error:  # the hub and the readers raise many kinds
        raise UnreadableFile(f"{what} ({first_line(error)})", remedy="give another source") from error
