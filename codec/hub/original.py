"""The layout of the original neucodec and xcodec2 packages: weight norms, joint attention weights, training heads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.encoders.w2v_bert import W2VBert, import_transformers
from codec.errors import InvalidValue, UnreadableFile
from codec.hub.names import SEMANTIC_HEAD, Sizes, module_names, renamed

BUFFERS = (
    ".filter",
    ".window",
    ".levels",
    ".basis",
    ".codebook",
    ".inv_freq",
    ".implicit_codebook",
    ".scales",
    ".cache",
)
UNSTATED = ("model_type", "transformers_version", "num_hidden_layers", "dtype")  # of w2v-BERT's fields
HEADS = 16  # of the published models; a state dict does not show it
LEVELS = 4


def original_to_transformers(
    weights: Mapping[str, Tensor], *, path: Path, semantic: str
) -> tuple[Any, dict[str, Tensor]]:
    """Configuration and weights as transformers names them; the heads used in training under this project's names.

    Args:
        weights: content of the file.
        path: path of the file, for messages.
        semantic: folder or hub id of w2v-BERT 2.0, which is read if the file does not hold it.

    Raises:
        UserError: the weights are of another model or levels, or w2v-BERT cannot be read.
    """
    folded = fold_weight_norm(weights)
    config = original_config(folded, path)
    sizes = Sizes(len(config.downsampling_ratios), config.num_hidden_layers)
    names = {n.original: n.transformers for n in module_names(sizes)} | {o: h for h, o in SEMANTIC_HEAD}
    names["fc_prior"] = "fc_encoder"
    kept = {k: v for k, v in folded.items() if not k.endswith(BUFFERS) and not _spare_layer(k, config)}
    theirs = renamed(kept, names)
    for name in [k for k in theirs if k.endswith("att.c_attn.weight")]:
        layer = name.split(".")[-4]
        parts = theirs.pop(name).chunk(3)
        for which, value in zip("qkv", parts, strict=True):
            halves = value if which == "v" else halves_first(value, config.num_attention_heads)
            theirs[f"acoustic_decoder.layers.{layer}.self_attn.{which}_proj.weight"] = halves
    if not any(name.startswith("semantic_encoder.") for name in theirs):
        stated = {k: v for k, v in config.semantic_model_config.to_diff_dict().items() if k not in UNSTATED}
        model = W2VBert(semantic, layers=config.semantic_model_config.num_hidden_layers, config=stated).model
        theirs |= {f"semantic_encoder.{k}": v for k, v in model.state_dict().items()}
    return config, theirs


def fold_weight_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace norms and directions, in either of PyTorch's two namings, by the weights that they give."""
    namings = ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1"))
    folded = dict(weights)
    for norm, direction in namings:
        for name in [k for k in weights if k.endswith(norm)]:
            module = name.removesuffix(norm)
            if module + direction in folded:
                g, v = folded.pop(name), folded.pop(module + direction)
                if v.ndim < 1 or g.shape != (len(v), *[1] * (v.ndim - 1)):
                    allowed = f"is {list(g.shape)}, not one norm for each filter of {list(v.shape)}"
                    raise InvalidValue(name, None, allowed)
                folded[module + ".weight"] = torch._weight_norm(v.float(), g.float(), 0)
    return folded


def halves_first(weight: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys `[H · c, C]`: in each head, interleaved pairs become first halves, second halves."""
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def original_config(weights: Mapping[str, Tensor], path: Path) -> Any:
    """The transformers configuration whose sizes these weights have.

    Raises:
        UnreadableFile: a weight that shows a size is missing, or the levels are not the published ones.
    """
    if "fc_sq_prior.weight" in weights:
        allowed = "is a distilled NeuCodec, which has another encoder"
        raise UnreadableFile(str(path), None, allowed, "import neuphonic/neucodec")
    required = ["CodecEnc.conv_blocks.0.weight", "fc_post_a.weight", "generator.head.out.weight"]
    required += ["generator.quantizer.project_in.weight", "generator.backbone.transformers.0.mlp.fc1.weight"]
    lacking = [name for name in required if name not in weights]
    if lacking:
        allowed = f"is not an original NeuCodec or X-Codec 2: {lacking[0]} is missing"
        raise UnreadableFile(str(path), None, allowed)
    start, post, head, levels, mlp = (weights[name].shape for name in required)
    if levels[0] != 8:
        allowed = f"quantizes {levels[0]} dimensions, not 8"
        raise UnreadableFile(str(path), None, allowed, "this layout has the published levels, [4] * 8")
    blocks = {name.split(".")[3] for name in weights if name.startswith("generator.backbone.transformers.")}
    hop = (head[0] - 2) // 4
    transformers = import_transformers("codec.hub")
    sizes = {
        "encoder_hidden_size": start[0],
        "hidden_size": post[0],
        "intermediate_size": mlp[0],
        "num_hidden_layers": len(blocks),
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": post[0] // HEADS,
        "quantization_dim": post[1],
        "quantization_levels": [LEVELS] * levels[0],
        "semantic_model_config": {
            "model_type": "wav2vec2-bert",
            "num_hidden_layers": 16,
            "hidden_size": post[1] - post[0],
            "output_hidden_size": post[1] - post[0],
        },
    }
    if hop == 320:
        return transformers.Xcodec2Config(**sizes)
    return transformers.NeuCodecConfig(**sizes, output_sampling_rate=50 * hop)


def _spare_layer(name: str, config: Any) -> bool:
    """Whether a weight is of a layer of w2v-BERT after the last one used."""
    words = name.split(".")
    if words[:3] != ["semantic_model", "encoder", "layers"]:
        return False
    return int(words[3]) >= config.semantic_model_config.num_hidden_layers
