"""The frozen speech model of NeuCodec's semantic branch: w2v-BERT 2.0 (Seamless, arXiv 2312.05187), `transformers`."""

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.errors import InvalidValue, MissingDependency, UnreadableFile, first_line
from codec.layers.extents import Extents
from codec.layers.fbank import SHIFT, WINDOW, KaldiFilterbank


class W2VBert(nn.Module):
    """The first layers of w2v-BERT 2.0 (Seamless, arXiv 2312.05187), frozen: audio to hidden states at 50 Hz.

    Attributes:
        dim: width C of the hidden states.
        settings: what determines the features apart from the weights.

    Args:
        pretrained: folder or hub name of weights, such as `facebook/w2v-bert-2.0`; None for random ones.
        layers: number of transformer layers, the last of which gives the hidden states; 16 of 24 in X-Codec 2 and
            NeuCodec.
        config: further fields of transformers' Wav2Vec2BertConfig; by default those of the published model.
        edge_padding: silence on each side of the audio before its spectrogram, in samples; 160 in X-Codec 2, 0 in
            NeuCodec.

    Raises:
        UserError: transformers is missing, or the weights cannot be read, are not w2v-BERT's or have fewer layers.
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
        self.filterbank = KaldiFilterbank(80)
        self.dim: int = self.model.config.hidden_size
        self.settings = f"{edge_padding} {self.model.config.to_json_string()}"
        if self.model.config.position_embeddings_type == "relative_key":
            for layer in self.model.encoder.layers:
                layer.self_attn = RelativeKeyAttention(layer.self_attn)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "W2VBert":
        """Stay in evaluation mode for any `mode`."""
        return super().train(False)

    @torch.compiler.disable
    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """Hidden states float32 `[B, C, F]` of audio `[B, 1, T]`, F = ⌊(T + 2 · edge padding − 240) / 320⌋.

        Raises:
            InvalidValue: fewer than 560 samples, padding included.
        """
        features = self.spectrogram(audio.squeeze(1))
        return self.model(features).last_hidden_state.float().transpose(1, 2)

    @property
    def takes_extents(self) -> bool:
        """Whether `masked` can be called: for the relative positions of the published model."""
        return self.model.config.position_embeddings_type == "relative_key" and not self.model.config.add_adapter

    @torch.compiler.disable
    @torch.no_grad()
    def masked(self, audio: Tensor, extents: Extents) -> tuple[Tensor, Extents]:
        """`forward` for clips of unequal lengths `[B, 1, T]`, silent beyond their ends, and the extents in frames.

        Each clip is normalised over its own frames. The model's convolutions look back only, so that its attention
        alone has to be masked.
        """
        counts = [1 + (count + 2 * self.edge_padding - WINDOW) // SHIFT for count in extents.counts]
        mel = self._filtered(audio.squeeze(1), shortest=min(extents.counts))
        rows = Extents.of(counts, mel.shape[1], mel.device)
        bands = mel.transpose(1, 2)  # [B, 80, frames]
        centred = bands - rows.mean(bands)
        bessel = torch.tensor([count / (count - 1) for count in counts]).to(mel.device, non_blocking=True)
        variance = rows.mean(centred.square()) * bessel[:, None, None]
        features = _in_pairs((centred / (variance + 1e-7).sqrt()).transpose(1, 2))
        frames = Extents.of([count // 2 for count in counts], features.shape[1], mel.device)
        states = self.model(features, extents=frames).last_hidden_state  # a keyword for `RelativeKeyAttention`
        return states.float().transpose(1, 2), frames

    def spectrogram(self, audio: Tensor) -> Tensor:
        """80 log-mel bands (Kaldi) at 100 Hz of clips `[B, T]`, pairs of frames stacked: float32 `[B, F, 160]`.

        Each band is normalised to zero mean and unit variance over the clip.

        Raises:
            InvalidValue: fewer than 560 samples, padding included: too few for a pair of frames.
        """
        mel = self._filtered(audio, shortest=audio.shape[-1])
        return _in_pairs((mel - mel.mean(1, keepdim=True)) / (mel.var(1, keepdim=True) + 1e-7).sqrt())

    def _filtered(self, audio: Tensor, *, shortest: int) -> Tensor:
        """Log-mel bands `[B, frames, 80]` of clips `[B, T]`, the shortest of which has so many samples."""
        samples = shortest + 2 * self.edge_padding
        if samples < 560:
            raise InvalidValue(
                f"A clip of {samples} samples", allowed="is too short for w2v-BERT", remedy="give at least 560"
            )
        return self.filterbank(F.pad(audio.float(), (self.edge_padding, self.edge_padding)) * 2**15)


def _in_pairs(bands: Tensor) -> Tensor:
    """Pairs of frames side by side: `[B, frames, 80]` to `[B, ⌊frames / 2⌋, 160]`."""
    return bands[:, : bands.shape[1] // 2 * 2].unflatten(1, (-1, 2)).flatten(2)


class RelativeKeyAttention(nn.Module):
    """w2v-BERT's self-attention with relative positions, on the weights of transformers' module, but faster.

    The score of a query and a relative distance is computed once for each of the few clamped distances and then
    gathered for all keys, instead of once for each key: 10 % less time for the model on clips of 10 s.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.linear_q, self.linear_k, self.linear_v = attention.linear_q, attention.linear_k, attention.linear_v
        self.linear_out, self.distance_embedding = attention.linear_out, attention.distance_embedding
        self.heads: int = attention.num_heads
        self.before: int = attention.left_max_position_embeddings
        self.after: int = attention.right_max_position_embeddings

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *,
        extents: Extents | None = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """`[B, F, C]` to the same, with the signature of transformers; the second value (attention weights) is None.

        No frame attends to those beyond the end of its clip in `extents`.
        """
        linears = (self.linear_q, self.linear_k, self.linear_v)
        q, k, v = (linear(hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2) for linear in linears)
        frame = torch.arange(q.shape[2], device=q.device)
        distance = (frame - frame[:, None]).clamp(-self.before, self.after) + self.before  # [F, F]
        scores = q @ self.distance_embedding.weight.T.to(q.dtype) * q.shape[-1] ** -0.5  # [B, H, F, distances]
        bias = scores.gather(-1, distance.expand(*scores.shape[:2], -1, -1))
        if attention_mask is not None:
            bias = bias + attention_mask
        if extents is not None:
            bias = bias.masked_fill(extents.outside[:, None, None], -torch.inf)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.linear_out(y.transpose(1, 2).flatten(-2)), None


FEATURE_FIELDS = (
    "hidden_size num_attention_heads intermediate_size feature_projection_input_dim hidden_act layer_norm_eps "
    "position_embeddings_type left_max_position_embeddings right_max_position_embeddings conv_depthwise_kernel_size "
    "rotary_embedding_base max_source_positions add_adapter"
).split()  # of the configuration, on which the features depend


def import_transformers(user: str) -> Any:
    """The transformers library.

    Args:
        user: class or package that needs it, for the message.

    Raises:
        MissingDependency: transformers is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise MissingDependency(user, allowed="needs the transformers package", remedy="pip install '.[hf]'") from error


def read_w2v_bert(transformers: Any, source: str, fields: dict[str, Any]) -> Any:
    """A Wav2Vec2BertModel with weights from a folder or a hub.

    Args:
        transformers: the library.
        source: folder or hub name.
        fields: of the configuration, among them `num_hidden_layers`; they override those of the source.

    Raises:
        UnreadableFile: the source cannot be read, has fewer layers, lacks weights, or `fields` do not describe it.
    """
    logging = transformers.utils.logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would report the layers that are left out
    try:
        config = _w2v_bert_config(transformers, source, fields)
        model, report = transformers.Wav2Vec2BertModel.from_pretrained(
            source, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        if report["missing_keys"]:
            raise InvalidValue(f"{len(report['missing_keys'])} weights are missing")
    except Exception as error:  # the hub and the readers raise many kinds
        raise UnreadableFile(
            "No w2v-BERT can be read from",
            source,
            f"({first_line(error)})",
            "give a folder with config.json and .safetensors weights, or a hub name within reach",
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    return model


def _w2v_bert_config(transformers: Any, source: str, fields: dict[str, Any]) -> Any:
    """The source's configuration with `fields`, which must describe the same model by themselves.

    A checkpoint of a codec states `fields` only, and must build the same model from them without the source.
    """
    config = transformers.Wav2Vec2BertConfig.from_pretrained(source)
    if config.num_hidden_layers < fields["num_hidden_layers"]:
        raise InvalidValue(f"it has {config.num_hidden_layers} layers, fewer than {fields['num_hidden_layers']}")
    config.update(fields)
    stated = transformers.Wav2Vec2BertConfig(**fields)
    different = [k for k in FEATURE_FIELDS if getattr(config, k) != getattr(stated, k)]
    if different:
        values = ", ".join(f"{k} {getattr(config, k)!r}" for k in different)
        remedy = f"state under config {values}"
        raise InvalidValue("its config", allowed="differs from the published model", remedy=remedy)
    return config
