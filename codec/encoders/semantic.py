"""Encoders on self-supervised speech models, w2v-BERT 2.0 and HuBERT (`transformers`), and the fusion of two encoders.

NeuCodec's encoder (arXiv 2509.09550) is `FusedEncoder(AcousticEncoder(...), W2VBertEncoder(...))`, that of its student
`FusedEncoder(StudentEncoder(...), HubertEncoder(...))`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.encoders.base import Encoder
from codec.encoders.feature_cache import TeacherCache
from codec.encoders.w2v_bert import W2VBert, import_transformers
from codec.errors import InvalidValue
from codec.layers.extents import Extents, run_padded, silenced


class SemanticAdapter(nn.Module):
    """conv3, then ReLU conv3 ReLU conv3 with a skip connection, then conv3, as in X-Codec 2. Keeps `[B, C, F]`.

    The skip connection starts after the first ReLU, because that ReLU works in place in the published code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.middle = nn.Sequential(
            nn.Conv1d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv1d(channels, channels, 3, padding=1)
        )
        self.last = nn.Conv1d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        x = silenced(F.relu(self.first(silenced(x, extents))), extents)
        y = self.middle[2](silenced(self.middle[:2](x), extents)) if extents is not None else self.middle(x)
        return self.last(silenced(x + y, extents))


class W2VBertEncoder(Encoder):
    """NeuCodec's semantic branch: frozen w2v-BERT features and a trained adapter, at 16 kHz and 50 Hz.

    Attributes:
        features: the frozen model's output `[B, C, F]` of the last batch, target of the semantic reconstruction loss.

    Args:
        pretrained: folder or hub name of weights; see `W2VBert`.
        layers: transformer layers of the frozen model.
        config: fields of the frozen model's configuration; see `W2VBert`.
        edge_padding: silence on each side of the audio in samples; see `W2VBert`.
        cache: stores the frozen features on disk, for runs that use the same crops again.

    Raises:
        UserError: as `W2VBert`.
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
        """Audio `[B, 1, T]` with silence appended to a whole number of frames.

        Without `edge_padding` the spectrogram is one frame short, so a further frame is appended; with it, one is
        appended only where T is a whole number of frames already.
        """
        edge = self.frozen.edge_padding
        spare = 1 if edge else -audio.shape[-1] % self.hop_length + 1
        audio = F.pad(audio, (0, spare))
        return super().whole_frames(audio)

    @property
    def takes_extents(self) -> bool:  # type: ignore[override]
        """Not with a cache, whose files are named by a clip's samples alone."""
        return self.cache is None and self.frozen.takes_extents

    def forward(self, audio: Tensor, extents: Extents | None = None) -> Tensor:
        with torch.no_grad():
            if extents is not None:
                features, extents = self.frozen.masked(audio, extents)
                return self.adapter(features, extents)
            self.features = self.frozen(audio) if self.cache is None else self.cache(self.frozen, audio)
        return self.adapter(self.features)  # [B, D, F]


class HubertEncoder(Encoder):
    """Last hidden states of a HuBERT model of `transformers` (extra `hf`), at 16 kHz and 50 Hz.

    The defaults are the sizes of DistilHuBERT. Audio is padded by `padding` samples of silence on each side, so that T
    samples give exactly T / 320 frames. The model is trained with the rest of the codec, without its input masking and
    layer dropout.

    Args:
        pretrained: folder or hub name of weights of these sizes, such as `ntu-spml/distilhubert`; None for random ones.
        layers: number of transformer layers.
        width: of the transformer layers, which is the latent width D.
        heads: attention heads; must divide `width`.
        channels: of the seven convolutions before the transformer.
        padding: samples of silence on each side, 40 to 199; NeuCodec's student uses 160.

    Raises:
        UserError: transformers is missing, `padding` is out of range, or the pretrained model has other sizes.
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
            raise InvalidValue("padding", padding, "must lie in 40 … 199 samples, for one frame per 320 samples")
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
            _check_sizes(pretrained, {k: _as_list(getattr(config, k)) for k in sizes}, sizes)
        config.apply_spec_augment, config.layerdrop = False, 0.0
        if pretrained is None:
            self.model = transformers.HubertModel(config)
        else:
            self.model = transformers.HubertModel.from_pretrained(pretrained, config=config, dtype=torch.float32)

    def forward(self, audio: Tensor) -> Tensor:
        samples = F.pad(audio.squeeze(1), (self.padding, self.padding))
        return self.model(samples).last_hidden_state.transpose(1, 2)  # [B, D, F]


class FusedEncoder(Encoder):
    """Two parallel encoders, concatenated and projected, as NeuCodec fuses acoustic and semantic features.

    Args:
        acoustic: first encoder.
        semantic: second encoder, with the same hop length; it sets how audio is padded.
        dim: latent width D.

    Raises:
        InvalidValue: the hop lengths differ.
    """

    takes_extents = True

    def __init__(self, acoustic: Encoder, semantic: Encoder, *, dim: int = 768) -> None:
        super().__init__()
        if acoustic.hop_length != semantic.hop_length:
            raise InvalidValue(
                f"acoustic and semantic encoder have hops {acoustic.hop_length} and {semantic.hop_length}",
                remedy="give both the same hop_length",
            )
        self.dim, self.hop_length = dim, acoustic.hop_length
        self.acoustic, self.semantic = acoustic, semantic
        self.project = nn.Conv1d(acoustic.dim + semantic.dim, dim, 1)

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """The larger of both encoders'; None if one is unbounded."""
        fields = self.acoustic.receptive_field, self.semantic.receptive_field
        if fields[0] is None or fields[1] is None:
            return None
        return max(fields[0][0], fields[1][0]), max(fields[0][1], fields[1][1])

    def whole_frames(self, audio: Tensor) -> Tensor:
        """Audio `[B, 1, T]` padded as the semantic encoder needs it."""
        return self.semantic.whole_frames(audio)

    def forward(self, audio: Tensor, extents: Extents | None = None) -> Tensor:
        if extents is None:
            acoustic, semantic = self.acoustic(audio), self.semantic(audio)
        else:
            acoustic, semantic = (
                run_padded(encoder, audio, extents.counts, hops=(self.hop_length, 1))
                for encoder in (self.acoustic, self.semantic)
            )
        frames = min(acoustic.shape[-1], semantic.shape[-1])
        return self.project(torch.cat((acoustic[..., :frames], semantic[..., :frames]), 1))  # [B, D, F]


def _check_sizes(source: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a pretrained model whose sizes differ from those of the encoder."""
    different = [f"{k} {found[k]} there and {wanted[k]} here" for k in wanted if found[k] != wanted[k]]
    if different:
        raise InvalidValue(
            source, allowed=f"does not fit, with {', '.join(different)}", remedy="give HubertEncoder the model's sizes"
        )


def _as_list(value: Any) -> Any:
    """A tuple as a list, to compare with the sizes; other values unchanged."""
    return list(value) if isinstance(value, (list, tuple)) else value
