"""The frozen speech model of NeuCodec's semantic branch: w2v-BERT 2.0 (Seamless, arXiv 2312.05187), `transformers`."""

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.compliance import kaldi


class W2VBert(nn.Module):
    """The first layers of w2v-BERT 2.0 (Seamless, arXiv 2312.05187), frozen: audio to hidden states at 50 Hz.

    Args:
        pretrained: folder or hub name of weights, such as `facebook/w2v-bert-2.0`; None for random ones.
        layers: whose last gives the hidden states; 16 of 24 in X-Codec 2 and NeuCodec.
        config: further fields of transformers' Wav2Vec2BertConfig; that of the weights, or the published model's, by
            default.
        edge_padding: silence on each side of the audio before its spectrogram, in samples; 160 in X-Codec 2, 0 in
            NeuCodec.

    Raises:
        ValueError: transformers is missing, or the weights cannot be read, are not w2v-BERT's or have fewer layers.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        *,
        layers: int = 16,
        config: dict[str, Any] | None = None,
        edge_padding: int = 0,
    ) -> None:
        super().__init__()
        self.edge_padding = edge_padding
        transformers = import_transformers("W2VBertEncoder")
        fields = {**(config or {}), "num_hidden_layers": layers}
        if pretrained is None:
            self.model = transformers.Wav2Vec2BertModel(transformers.Wav2Vec2BertConfig(**fields))
        else:
            self.model = read_w2v_bert(transformers, pretrained, fields)
        self.dim: int = self.model.config.hidden_size
        self.settings = f"{edge_padding} {self.model.config.to_json_string()}"
        if self.model.config.position_embeddings_type == "relative_key":
            for layer in self.model.encoder.layers:
                layer.self_attn = RelativeKeyAttention(layer.self_attn)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "W2VBert":
        """Stay in evaluation mode, whatever `mode`."""
        return super().train(False)

    @torch.compiler.disable
    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """Hidden states float32 `[B, C, frames]` of `[B, 1, T]`, ⌊(T + 2 · edge padding − 240) / 320⌋ frames."""
        features = torch.stack([self.spectrogram(clip) for clip in audio.float()])  # [B, frames, 160]
        return self.model(features).last_hidden_state.float().transpose(1, 2)

    def spectrogram(self, audio: Tensor) -> Tensor:
        """80 log-mel bands (Kaldi) at 100 Hz of a clip `[1, T]`, normalised over it, two to a row: `[frames, 160]`.

        Raises:
            ValueError: the clip is shorter than 560 samples with its padding, which makes a row.
        """
        audio = F.pad(audio, (self.edge_padding, self.edge_padding)) * 2**15
        if audio.shape[-1] < 560:
            raise ValueError(f"A clip of {audio.shape[-1]} samples is too short for w2v-BERT: give at least 560.")
        with torch.autocast(audio.device.type, enabled=False):
            mel = kaldi.fbank(audio, num_mel_bins=80, sample_frequency=16_000, window_type="povey", dither=0.0)
            mel = (mel - mel.mean(0)) / (mel.var(0) + 1e-7).sqrt()
        return mel[: len(mel) // 2 * 2].reshape(-1, 160)


class RelativeKeyAttention(nn.Module):
    """w2v-BERT's self-attention, with its weights: scores of the few distances that differ, spread over all pairs.

    A query meets each of the clamped distances' embeddings once, not once for every key: at 10 s a tenth less time.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.linear_q, self.linear_k, self.linear_v = attention.linear_q, attention.linear_k, attention.linear_v
        self.linear_out, self.distance_embedding = attention.linear_out, attention.distance_embedding
        self.heads: int = attention.num_heads
        self.before: int = attention.left_max_position_embeddings
        self.after: int = attention.right_max_position_embeddings

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, Tensor | None]:
        """`[B, F, C]` to the same, as transformers calls it; the second value, the weights, is None."""
        linears = (self.linear_q, self.linear_k, self.linear_v)
        q, k, v = (linear(hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2) for linear in linears)
        place = torch.arange(q.shape[2], device=q.device)
        distance = (place - place[:, None]).clamp(-self.before, self.after) + self.before  # [F, F]
        near = q @ self.distance_embedding.weight.T.to(q.dtype) * q.shape[-1] ** -0.5  # [B, H, F, distances]
        bias = near.gather(-1, distance.expand(*near.shape[:2], -1, -1))
        if attention_mask is not None:
            bias = bias + attention_mask
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.linear_out(y.transpose(1, 2).flatten(-2)), None


TELLING = (
    "hidden_size num_attention_heads intermediate_size feature_projection_input_dim hidden_act layer_norm_eps "
    "position_embeddings_type left_max_position_embeddings right_max_position_embeddings conv_depthwise_kernel_size "
    "rotary_embedding_base max_source_positions add_adapter"
).split()  # what the features depend on


def import_transformers(what: str) -> Any:
    """The transformers library, for the named class."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ValueError(f"{what} needs the transformers package: pip install '.[hf]'.") from error


def first_line(error: Exception) -> str:
    """What an error says first, shortened."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".:") if lines else type(error).__name__


def read_w2v_bert(transformers: Any, source: str, fields: dict[str, Any]) -> Any:
    """A Wav2Vec2BertModel with weights from a folder or a hub name; fields beside them from `fields`."""
    logging = transformers.utils.logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report on the layers that are left out
    try:
        config = transformers.Wav2Vec2BertConfig.from_pretrained(source)
        if config.num_hidden_layers < fields["num_hidden_layers"]:
            raise ValueError(f"it has {config.num_hidden_layers} layers, fewer than {fields['num_hidden_layers']}")
        config.update(fields)
        stated = transformers.Wav2Vec2BertConfig(**fields)
        other = [f"{k} {getattr(config, k)!r}" for k in TELLING if getattr(config, k) != getattr(stated, k)]
        if other:  # a checkpoint states `fields` alone, and must build the same model from them
            raise ValueError(f"state under config what differs from the published model: {', '.join(other)}")
        model, report = transformers.Wav2Vec2BertModel.from_pretrained(
            source, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        if report["missing_keys"]:
            raise ValueError(f"{len(report['missing_keys'])} weights are missing")
    except Exception as error:  # the hub and the readers raise many kinds
        raise ValueError(
            f"No w2v-BERT can be read from {source} ({first_line(error)}): give a folder with config.json and "
            ".safetensors weights, or a hub name within reach."
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    return model
