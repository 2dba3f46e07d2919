"""Encoders on models that learned from speech alone, and two encoders fused: w2v-BERT 2.0 and HuBERT (`transformers`).

NeuCodec's encoder (arXiv 2509.09550) is `FusedEncoder(AcousticEncoder(...), W2VBertEncoder(...))`, its student's
`FusedEncoder(StudentEncoder(...), HubertEncoder(...))`.
"""

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.compliance import kaldi

from codec.encoders import Encoder
from codec.teacher_cache import TeacherCache


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


class SemanticAdapter(nn.Module):
    """conv3, then ReLU conv3 ReLU conv3 with a skip around it, then conv3, as in X-Codec 2. `[B, C, F]` to the same.

    The skip starts behind the first ReLU, as the published code's in-place operation has it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.middle = nn.Sequential(
            nn.Conv1d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv1d(channels, channels, 3, padding=1)
        )
        self.last = nn.Conv1d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return self.last(x + self.middle(x))


class W2VBertEncoder(Encoder):
    """NeuCodec's semantic branch: frozen w2v-BERT features and a trained adapter, at 16 kHz and 50 Hz.

    `features` keeps the frozen model's last output `[B, C, frames]`, the target of the semantic reconstruction loss.

    Args:
        pretrained: see `W2VBert`, as for the next three.
        layers: of the frozen model.
        config: of the frozen model.
        edge_padding: samples of silence on each side.
        cache: keeps the frozen features on disk, for runs that hear the same crops again.

    Raises:
        ValueError: see `W2VBert`.
    """

    features: Tensor | None = None

    def __init__(
        self,
        pretrained: str | None = None,
        *,
        layers: int = 16,
        config: dict[str, Any] | None = None,
        edge_padding: int = 0,
        cache: TeacherCache | None = None,
    ) -> None:
        super().__init__()
        self.frozen = W2VBert(pretrained, layers=layers, config=config, edge_padding=edge_padding)
        self.dim, self.hop_length, self.cache = self.frozen.dim, 320, cache
        self.adapter = SemanticAdapter(self.dim)

    def whole_frames(self, audio: Tensor) -> Tensor:
        """Silence up to whole frames and, where none was needed or the spectrogram is short of it, a frame more."""
        edge = self.frozen.edge_padding
        spare = 1 if edge else -audio.shape[-1] % self.hop_length + 1
        audio = F.pad(audio, (0, spare))
        return super().whole_frames(audio)

    def forward(self, audio: Tensor) -> Tensor:
        with torch.no_grad():
            self.features = self.frozen(audio) if self.cache is None else self.cache(self.frozen, audio)
        return self.adapter(self.features)  # [B, D, F]


class HubertEncoder(Encoder):
    """A HuBERT model's last hidden states, through `transformers` (extra `hf`); the defaults are DistilHuBERT's sizes.

    Audio is padded by `padding` samples of silence on each side, so that T samples give exactly T / 320 frames. The
    model trains with the rest; its masking of the input and its layer drop are off.

    Args:
        pretrained: folder or hub name of weights of these sizes, such as `ntu-spml/distilhubert`; None for random ones.
        layers: transformer layers.
        width: their width, which is the latent width D.
        heads: attention heads; must divide `width`.
        channels: of the seven convolutions of the front end.
        padding: samples on each side, 40 to 199; NeuCodec's student uses 160.

    Raises:
        ValueError: transformers is missing, or the pretrained model has other sizes.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        *,
        layers: int = 2,
        width: int = 768,
        heads: int = 12,
        channels: int = 512,
        padding: int = 160,
    ) -> None:
        super().__init__()
        if not 40 <= padding < 200:
            raise ValueError(f"padding {padding} must lie in 40 … 199 samples, so that frames stay whole.")
        self.dim, self.hop_length, self.padding = width, 320, padding
        transformers = import_transformers("HubertEncoder")
        sizes = {
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
            "conv_dim": [channels] * 7,
        }
        if pretrained is None:
            config = transformers.HubertConfig(**sizes)
        else:
            config = transformers.HubertConfig.from_pretrained(pretrained)
            _check_sizes(pretrained, {k: _plain(getattr(config, k)) for k in sizes}, sizes)
        config.apply_spec_augment, config.layerdrop = False, 0.0
        if pretrained is None:
            self.model = transformers.HubertModel(config)
        else:
            self.model = transformers.HubertModel.from_pretrained(pretrained, config=config)

    def forward(self, audio: Tensor) -> Tensor:
        samples = F.pad(audio.squeeze(1), (self.padding, self.padding))
        return self.model(samples).last_hidden_state.transpose(1, 2)  # [B, D, F]


class FusedEncoder(Encoder):
    """Two encoders side by side, concatenated and projected, as NeuCodec fuses acoustic and semantic features.

    Args:
        acoustic: one encoder.
        semantic: another with the same hop.
        dim: latent width D.

    Raises:
        ValueError: the hops differ.
    """

    def __init__(self, acoustic: Encoder, semantic: Encoder, *, dim: int = 768) -> None:
        super().__init__()
        if acoustic.hop_length != semantic.hop_length:
            raise ValueError(
                f"acoustic and semantic encoder have hops {acoustic.hop_length} and {semantic.hop_length}, not one."
            )
        self.dim, self.hop_length = dim, acoustic.hop_length
        self.acoustic, self.semantic = acoustic, semantic
        self.project = nn.Conv1d(acoustic.dim + semantic.dim, dim, 1)

    def whole_frames(self, audio: Tensor) -> Tensor:
        """As the semantic encoder wants them."""
        return self.semantic.whole_frames(audio)

    def forward(self, audio: Tensor) -> Tensor:
        acoustic, semantic = self.acoustic(audio), self.semantic(audio)
        frames = min(acoustic.shape[-1], semantic.shape[-1])
        return self.project(torch.cat((acoustic[..., :frames], semantic[..., :frames]), 1))  # [B, D, F]


def import_transformers(what: str) -> Any:
    """The transformers library, for the named class."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ValueError(f"{what} needs the transformers package: pip install '.[hf]'.") from error


def read_w2v_bert(transformers: Any, source: str, fields: dict[str, Any]) -> Any:
    """A Wav2Vec2BertModel with weights from a folder or a hub name; fields beside them from `fields`."""
    try:
        config = transformers.Wav2Vec2BertConfig.from_pretrained(source)
        if config.num_hidden_layers < fields["num_hidden_layers"]:
            raise ValueError(f"it has {config.num_hidden_layers} layers, fewer than {fields['num_hidden_layers']}")
        config.update(fields)
        model, report = transformers.Wav2Vec2BertModel.from_pretrained(
            source, config=config, use_safetensors=True, output_loading_info=True
        )
        if report["missing_keys"]:
            raise ValueError(f"{len(report['missing_keys'])} weights are missing")
    except Exception as error:  # the hub and the readers raise many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise ValueError(
            f"No w2v-BERT can be read from {source} ({reason}): give a folder with config.json and .safetensors "
            "weights, or a hub name within reach."
        ) from error
    return model


def _check_sizes(source: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    different = [f"{k} {found[k]} there and {wanted[k]} here" for k in wanted if found[k] != wanted[k]]
    if different:
        raise ValueError(f"{source} does not fit: {', '.join(different)}; give HubertEncoder the sizes of the model.")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
