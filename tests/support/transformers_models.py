"""Small random NeuCodec and X-Codec 2 models of transformers, and their weights in the original package's layout."""

import torch
import transformers
from torch import Tensor

from codec.hub.names import SEMANTIC_HEAD, Sizes, module_names, renamed

SEMANTIC = dict(
    model_type="wav2vec2-bert", hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
)
SMALL = dict(
    hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
    head_dim=24, encoder_hidden_size=4, semantic_model_config=SEMANTIC, quantization_dim=96,
)  # fmt: skip
CONFIGS = {"neucodec": transformers.NeuCodecConfig, "xcodec2": transformers.Xcodec2Config}


def speech_like(length: int, seed: int = 0) -> Tensor:
    """A pulse train of gliding pitch through a wandering resonance, with noise: float32 `[1, 1, length]`."""
    g = torch.Generator().manual_seed(seed)
    pitch = 110 + 40 * torch.sin(torch.arange(length) / 9_000 + seed)
    pulses = (torch.cumsum(pitch / 16_000, 0) % 1 < pitch / 16_000).float()
    kernel = torch.exp(-torch.arange(200) / 40) * torch.sin(torch.arange(200) * (0.3 + 0.1 * seed))
    voiced = torch.conv1d(pulses[None, None], kernel.flip(0)[None, None], padding=199)[..., :length]
    loudness = 0.5 + 0.5 * torch.sin(torch.arange(length) / 3_000)
    return (0.2 * voiced + 0.01 * torch.randn(1, 1, length, generator=g)) * loudness


@torch.no_grad()
def small_model(family: str, **changes):
    """A model whose codes take many values and whose audio depends on them."""
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(CONFIGS[family](**(SMALL | changes))).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.3 / parameter[0].numel() ** 0.5 if "decoder" in name else parameter.std().item())
        elif name.endswith(("bias", "alpha", "beta")):
            parameter.normal_(std=0.05)
    inputs = features(model, speech_like(16_000))
    before = model.quantizer.project_in
    z = []
    handle = before.register_forward_hook(lambda module, args, output: z.append(args[0]))
    model.encode(**inputs)
    handle.remove()
    before.weight.div_(before(z[0]).std((0, 1))[:, None])
    before.bias.sub_(before(z[0]).mean((0, 1)))
    return model


def features(model, audio: Tensor):
    """What the model's own extractor makes of `[1, 1, T]`, without padding masks."""
    extractor = transformers.FEATURE_EXTRACTOR_MAPPING[type(model.config)]()
    inputs = extractor(audio=audio[0, 0].numpy(), sampling_rate=16_000, return_tensors="pt")
    return {name: inputs[name] for name in ("input_values", "input_features", "input_features_mask")}


def original_layout(model, *, semantic: bool = True) -> dict[str, Tensor]:
    """The model's weights as the original package has them: weight norms, joined attention, heads of training."""
    config = model.config
    sizes = Sizes(len(config.downsampling_ratios), config.num_hidden_layers)
    weights = renamed(model.state_dict(), {n.transformers: n.original for n in module_names(sizes)})
    weights = {k.replace("fc_encoder", "fc_prior"): v for k, v in weights.items()}
    for i in range(sizes.blocks):
        parts = []
        for which in "qkv":
            value = weights.pop(f"acoustic_decoder.layers.{i}.self_attn.{which}_proj.weight")
            pairs = value.unflatten(0, (config.num_attention_heads, 2, -1)).transpose(1, 2).flatten(0, 2)
            parts.append(value if which == "v" else pairs)
        weights[f"generator.backbone.transformers.{i}.att.c_attn.weight"] = torch.cat(parts)
    for name in [k for k in weights if k.startswith("CodecEnc") and k.endswith(".weight")]:
        value = weights.pop(name)
        length = value.flatten(1).norm(dim=1).view(-1, 1, 1)
        weights |= {f"{name}_g": length, f"{name}_v": 2 * value}
    weights["generator.quantizer.layers.0.basis"] = torch.ones(8)
    weights["CodecEnc.conv_final_block.0.upsample.filter"] = torch.ones(1, 1, 12)
    width, dim = config.semantic_model_config.hidden_size, config.quantization_dim
    for _, module in SEMANTIC_HEAD:
        shape = (width, dim) if module == "fc_post_s" else (width, width, 3)
        weights[f"{module}.weight"] = torch.randn(shape)
        if "initial" not in module and "final" not in module:
            weights[f"{module}.bias"] = torch.randn(width)
    return {k: v.contiguous() for k, v in weights.items() if semantic or not k.startswith("semantic_model.")}
