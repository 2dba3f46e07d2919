"""Names of NeuCodec's weights in three layouts: this project's, transformers', and the original package's."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

UNITS = ("res_unit1", "res_unit2", "res_unit3")


class Sizes(NamedTuple):
    """Numbers of layers that names depend on."""

    strides: int
    blocks: int


class Name(NamedTuple):
    """One module: what it is called here, in transformers and originally."""

    ours: str
    transformers: str
    original: str


def module_names(sizes: Sizes) -> list[Name]:
    """All modules whose weights are the same tensors in all layouts, up to their shape."""
    return [*_acoustic(sizes.strides), *_semantic(), *_decoder(sizes.blocks)]


def _acoustic(strides: int) -> Iterator[Name]:
    ours, theirs, original = "codec.encoder.acoustic.layers.", "acoustic_encoder.", "CodecEnc."
    yield Name(ours + "0", theirs + "conv1", original + "conv_blocks.0")
    for stage in range(strides):
        start, block, old = 1 + 5 * stage, f"{theirs}block.{stage}.", f"{original}conv_blocks.{stage + 1}.block."
        for i, unit in enumerate(UNITS):
            for j, part in enumerate(("snake1.act", "conv1", "snake2.act", "conv2")):
                inner = ".activation" if part.startswith("snake") else ""
                act = ".act" if part.startswith("snake") else ""
                yield Name(f"{ours}{start + i}.block.{j}{inner}", f"{block}{unit}.{part}", f"{old}{i}.block.{j}{act}")
        yield Name(f"{ours}{start + 3}.activation", f"{block}snake1.act", f"{old}3.act")
        yield Name(f"{ours}{start + 4}", f"{block}conv1", f"{old}4")
    last = 1 + 5 * strides
    yield Name(f"{ours}{last}.activation", theirs + "snake1.act", original + "conv_final_block.0.act")
    yield Name(f"{ours}{last + 1}", theirs + "conv2", original + "conv_final_block.1")


def _semantic() -> Iterator[Name]:
    yield Name("codec.encoder.semantic.frozen.model", "semantic_encoder", "semantic_model")
    for ours, theirs, original in ADAPTER:
        yield Name(
            f"codec.encoder.semantic.adapter.{ours}", f"semantic_adapter.{theirs}", f"SemanticEncoder_module.{original}"
        )


ADAPTER = (
    ("first", "conv1", "initial_conv"),
    ("middle.0", "conv2", "residual_blocks.1"),
    ("middle.2", "conv3", "residual_blocks.3"),
    ("last", "conv4", "final_conv"),
)
SEMANTIC_HEAD = (
    ("semantic.project", "fc_post_s"),
    *((f"semantic.decoder.{ours}", f"SemanticDecoder_module.{original}") for ours, _, original in ADAPTER),
)


def _decoder(blocks: int) -> Iterator[Name]:
    yield Name("codec.quantizer.project_in", "quantizer.project_in", "generator.quantizer.project_in")
    yield Name("codec.quantizer.project_out", "quantizer.project_out", "generator.quantizer.project_out")
    ours, theirs, original = "codec.decoder.backbone.", "acoustic_decoder.", "generator.backbone."
    yield Name(ours + "project", theirs + "fc", "fc_post_a")
    yield Name(ours + "embed", theirs + "embed", original + "embed")
    for part, net in (("prior", "prior_net"), ("post", "post_net")):
        for i in range(2):
            for j, layer in ((0, "norm1"), (2, "conv1"), (3, "norm2"), (6, "conv2")):
                yield Name(f"{ours}{part}.{i}.block.{j}", f"{theirs}{net}.{i}.{layer}", f"{original}{net}.{i}.{layer}")
    for i in range(blocks):
        block, layer, old = f"{ours}blocks.{i}.", f"{theirs}layers.{i}.", f"{original}transformers.{i}."
        yield Name(block + "attention_norm", layer + "input_layernorm", old + "att_norm")
        yield Name(block + "attention.out", layer + "self_attn.o_proj", old + "att.c_proj")
        yield Name(block + "mlp_norm", layer + "post_attention_layernorm", old + "ffn_norm")
        yield Name(block + "mlp.0", layer + "mlp.fc1", old + "mlp.fc1")
        yield Name(block + "mlp.2", layer + "mlp.fc2", old + "mlp.fc2")
    yield Name(ours + "out_norm", theirs + "norm", original + "final_layer_norm")
    yield Name("codec.decoder.head", theirs + "head.linear", "generator.head.out")


def renamed(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Weights whose module is a key of `names`, under the module's other name; the rest keep theirs."""
    result = {}
    for name, value in weights.items():
        module = next((m for m in _owners(name) if m in names), "")
        result[names[module] + name[len(module) :] if module else name] = value
    return result


def _owners(name: str) -> list[str]:
    """Paths of the modules that a weight lies in, the innermost first."""
    words = name.split(".")
    return [".".join(words[:i]) for i in range(len(words), 0, -1)]


def from_transformers(weights: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Tensor]:
    """Transformers' state under this project's names: attention's three projections joined, acoustic channels first."""
    ours = renamed(weights, {n.transformers: n.ours for n in module_names(sizes)})
    ours = {k.replace(".alpha", ".log_alpha").replace(".beta", ".log_beta"): v for k, v in ours.items()}
    for name in [k for k in ours if k.endswith(("log_alpha", "log_beta"))]:
        ours[name] = ours[name].unsqueeze(-1)
    for i in range(sizes.blocks):
        parts = [f"acoustic_decoder.layers.{i}.self_attn.{p}_proj.weight" for p in "qkv"]
        if all(part in ours for part in parts):
            joined = torch.cat([ours.pop(part) for part in parts])
            ours[f"codec.decoder.backbone.blocks.{i}.attention.qkv.weight"] = joined
    if ours.keys() >= {"fc_encoder.weight", "fc_encoder.bias", "codec.encoder.semantic.adapter.first.weight"}:
        width = ours["codec.encoder.semantic.adapter.first.weight"].shape[0]
        semantic, acoustic = ours.pop("fc_encoder.weight").tensor_split([width], 1)
        ours["codec.encoder.project.weight"] = torch.cat((acoustic, semantic), 1).unsqueeze(-1)
        ours["codec.encoder.project.bias"] = ours.pop("fc_encoder.bias")
    return ours


def to_transformers(weights: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Tensor]:
    """Inverse of `from_transformers`, bit for bit."""
    theirs = renamed(weights, {n.ours: n.transformers for n in module_names(sizes)})
    theirs = {k.replace(".log_alpha", ".alpha").replace(".log_beta", ".beta"): v for k, v in theirs.items()}
    for name in [k for k in theirs if k.endswith((".alpha", ".beta"))]:
        theirs[name] = theirs[name].squeeze(-1)
    for i in range(sizes.blocks):
        joined = theirs.pop(f"codec.decoder.backbone.blocks.{i}.attention.qkv.weight")
        for part, value in zip("qkv", joined.chunk(3), strict=True):
            theirs[f"acoustic_decoder.layers.{i}.self_attn.{part}_proj.weight"] = value
    width = theirs["semantic_adapter.conv1.weight"].shape[0]
    fused = theirs.pop("codec.encoder.project.weight").squeeze(-1)
    acoustic, semantic = fused.tensor_split([fused.shape[1] - width], 1)
    theirs["fc_encoder.weight"] = torch.cat((semantic, acoustic), 1)
    theirs["fc_encoder.bias"] = theirs.pop("codec.encoder.project.bias")
    return theirs
