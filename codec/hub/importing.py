"""Reads NeuCodec and X-Codec 2 from a transformers folder, a hub id or the original package's weights."""

import importlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.checkpoints.building import build_codec
from codec.checkpoints.files import SafeCheckpointIO
from codec.checkpoints.fitting import check_fit
from codec.checkpoints.reading import damage
from codec.checkpoints.safetensors import names_in, read_safetensors, write_safetensors
from codec.encoders.w2v_bert import first_line, import_transformers
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
            `.safetensors`), or a folder or hub id that holds such a file alone.
        out: `.safetensors`, or `.ckpt` for the trainer's `--ckpt_path` in `test` and `predict`.
        semantic: folder or hub id of w2v-BERT 2.0, read where original weights lack it.

    Returns:
        The codec's configuration, as in YAML.

    Raises:
        ValueError: source or w2v-BERT cannot be read, is not whole or is of another model; or `out` has another suffix.
    """
    if Path(out).suffix not in (".safetensors", ".ckpt"):
        raise ValueError(f"{out} must end in .safetensors or .ckpt.")
    if Path(out).exists() or not Path(out).parent.is_dir():
        raise ValueError(f"{out} exists already, or its folder does not: give a new name in a folder that is there.")
    path = fetch(source)
    config, theirs = read_transformers(path) if path.is_dir() else read_original(path, semantic)
    if not 1 <= config.num_hidden_layers <= len(theirs) or not 1 <= len(config.downsampling_ratios) <= len(theirs):
        raise ValueError(
            f"{source} states {config.num_hidden_layers} layers and {len(config.downsampling_ratios)} strides but "
            f"holds {len(theirs)} weights: it is not whole."
        )
    block, sizes = codec_block(config, source)
    heads = [head for head, _ in SEMANTIC_HEAD]
    with explained(f"{source} is not a whole {config.model_type} of its stated sizes"):
        weights = from_transformers(theirs, sizes)
    further = {k: v for k, v in weights.items() if k.startswith(tuple(heads))}
    codec = {k.removeprefix("codec."): v for k, v in weights.items() if k not in further}
    try:
        check_fit(lambda: build_codec(block), codec)
    except ValueError as error:
        raise ValueError(f"{source} is not a whole {config.model_type} of its stated sizes: {error}.") from error
    broken = next((k for k, v in weights.items() if not v.is_floating_point() or not v.isfinite().all()), None)
    if broken is not None:
        raise ValueError(f"{source} holds numbers that are not finite or not real in {broken}: fetch it again.")
    named = {f"codec.{k}": v.float() for k, v in codec.items()} | {k: v.float() for k, v in further.items()}
    if Path(out).suffix == ".safetensors":
        write_safetensors(out, named, codec_config=block)
    else:
        write_checkpoint(out, named, block)
    return block


def fetch(source: str) -> Path:
    """The source as a local folder or file; a hub id is fetched once and then cached.

    Raises:
        ValueError: there is neither such a path nor such a hub id within reach.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return layout_of(path)
    if path.exists():
        return path
    if not HUB_ID.fullmatch(source) or source.count("/") != 1:
        raise ValueError(f"There is no {source}: give a file, a folder or a hub id such as neuphonic/neucodec.")
    with explained(f"{source} is no local path and cannot be fetched from the hub"):
        hub = importlib.import_module("huggingface_hub")
        folder = Path(hub.snapshot_download(source, allow_patterns=[*FILES, "pytorch_model.bin"]))
    return layout_of(folder)


def layout_of(folder: Path) -> Path:
    """The folder where it is transformers', the file in it where that has the original layout.

    The weights tell, not `config.json`: original checkpoints have one too.

    Raises:
        ValueError: there are no weights.
    """
    found = [folder / name for name in ORIGINALS if (folder / name).is_file()]
    for file in found:
        if file.suffix == ".bin" or any(name.startswith(("CodecEnc.", "generator.")) for name in names_in(file)):
            return file
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no config.json and none of {', '.join(ORIGINALS)}: give another folder.")
    return folder


def read_transformers(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """Configuration and state dict of a transformers folder, its weights in one or several safetensors files.

    Raises:
        ValueError: either cannot be read, or it is of another model.
    """
    transformers = import_transformers("codec.hub")
    with explained(f"{folder / 'config.json'} cannot be read"):
        config = transformers.AutoConfig.from_pretrained(folder)
    if config.model_type not in FAMILIES:
        raise ValueError(f"{folder} is of model_type {config.model_type}: give one of {' or '.join(FAMILIES)}.")
    whole = folder / "model.safetensors"
    files = [whole] if whole.is_file() else sorted(folder.glob("model-*-of-*.safetensors"))
    if not files:
        raise ValueError(f"{folder} holds no model.safetensors: save the model with save_pretrained first.")
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= read_safetensors(file)[0]
    return config, weights


def read_original(path: Path, semantic: str) -> tuple[Any, dict[str, Tensor]]:
    """Configuration and state dict, named as transformers does, of the original package's weights.

    Raises:
        ValueError: the file is damaged, holds more than weights or lacks some, or w2v-BERT cannot be read.
    """
    if path.suffix == ".safetensors":
        weights: Mapping[str, Any] = read_safetensors(path)[0]
    else:
        if (reason := damage(path)) is not None:
            raise ValueError(f"{path} is damaged or holds more than weights ({reason}): fetch it again.")
        with explained(f"{path} is damaged or holds more than weights, and nothing in it has been run"):
            weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(weights, Mapping) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise ValueError(f"{path} is not a state dict of tensors: give the original package's pytorch_model.bin.")
    with explained(f"{path} is not a whole original NeuCodec or X-Codec 2"):
        return original_to_transformers(weights, path=path, semantic=semantic)


def codec_block(config: Any, source: str) -> tuple[dict[str, Any], Sizes]:
    """The codec's block of YAML for a transformers configuration, and the numbers that its names depend on.

    Raises:
        ValueError: the configuration has something that these parts do not.
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
        raise ValueError(f"{source} cannot be imported with {', '.join(wrong)}: it is not of NeuCodec's architecture.")
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
    encoder = part(
        "FusedEncoder",
        acoustic=part("AcousticEncoder", **acoustic, weight_norm=False),
        semantic=part("W2VBertEncoder", **frozen),
        dim=dim,
    )
    levels = list(config.quantization_levels)
    quantizer = part("FSQ", dim=dim, levels=levels, bound=part("quantizers.fsq.DoubleTanhBound"))
    decoder = part("VocosDecoder", backbone=part("TransformerBackbone", **backbone), hop_length=int(config.hop_length))
    block = part("NeuralCodec", encoder=encoder, quantizer=quantizer, decoder=decoder, sample_rate=rate)
    return block, Sizes(len(config.downsampling_ratios), config.num_hidden_layers)


def part(name: str, **arguments: Any) -> dict[str, Any]:
    """A part's block of YAML."""
    return {"class_path": f"codec.{name}", "init_args": arguments}


def write_checkpoint(path: str | Path, weights: Mapping[str, Tensor], codec_config: Mapping[str, Any]) -> None:
    """Write what `train.py test` and `predict` need of a checkpoint; the file appears whole or not at all."""
    lightning = importlib.import_module("lightning")
    content = {
        "state_dict": dict(weights),
        "codec_config": dict(codec_config),
        "pytorch-lightning_version": lightning.__version__,
        "epoch": 0,
        "global_step": 0,
        "loops": None,
    }
    SafeCheckpointIO().save_checkpoint(content, path)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn any failure inside into one sentence for users, and keep transformers quiet."""
    try:
        yield
    except Exception as error:  # the hub and the readers raise many kinds
        raise ValueError(f"{what} ({first_line(error)}): give another source.") from error
