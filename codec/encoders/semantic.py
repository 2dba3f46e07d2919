"""Encoders on models that learned from speech alone, and two encoders fused: w2v-BERT 2.0 and HuBERT (`transformers`).

NeuCodec's encoder (arXiv 2509.09550) is `FusedEncoder(AcousticEncoder(...), W2VBertEncoder(...))`, its student's
`FusedEncoder(StudentEncoder(...), HubertEncoder(...))`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.encoders.base import Encoder
from codec.encoders.feature_cache import TeacherCache
from codec.encoders.w2v_bert import W2VBert, import_transformers


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
            self.model = transformers.HubertModel.from_pretrained(pretrained, config=config, dtype=torch.float32)

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


def _check_sizes(source: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    different = [f"{k} {found[k]} there and {wanted[k]} here" for k in wanted if found[k] != wanted[k]]
    if different:
        raise ValueError(f"{source} does not fit: {', '.join(different)}; give HubertEncoder the sizes of the model.")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
