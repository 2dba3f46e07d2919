"""Building blocks of student encoders: padded convolutions, response normalization, units, attention over a window.

Sources: SQCodec / L3AC (arXiv 2504.04949), ConvNeXt V2 (arXiv 2301.00808). Each block has a causal form, whose output
at a position depends on that position and earlier ones only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from codec.layers import SnakeBeta, rotary


class PaddedConv(nn.Module):
    """Weight-normed Conv1d from `[B, C, F * stride]` to `[B, C', F]`, padded on both sides or, if causal, on the left.

    The causal output at f sees inputs before (f + 1) * stride only.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(in_channels, out_channels, kernel, stride, groups=groups))
        total = kernel - stride
        left = total if causal else total // 2
        self.padding = (left, total - left)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding))


class ResponseNorm(nn.Module):
    """Global response normalization (ConvNeXt V2, eq. 1–3): channels compete by their power over time.

    Adds γ · x · (channel's root mean square / mean of all channels') + β. The causal form takes the mean square over
    the positions so far. `[B, C, T]` to the same; γ and β start at zero.
    """

    def __init__(self, channels: int, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.gamma = nn.Parameter(torch.zeros(channels, 1))
        self.beta = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            power = x.float().square()
            if self.causal:
                power = power.cumsum(-1) / torch.arange(1, x.shape[-1] + 1, device=x.device)  # [B, C, T]
            else:
                power = power.mean(-1, keepdim=True)  # [B, C, 1]
            response = (power + 1e-12).sqrt()
            response = response / (response.mean(1, keepdim=True) + 1e-6)
        return x + self.gamma * (x * response.type_as(x)) + self.beta


class DepthwiseUnit(nn.Module):
    """x + pointwise(GRN(Snake(pointwise(norm(depthwise 7(x)))))), the unit of L3AC. `[B, C, T]` to the same."""

    def __init__(self, channels: int, *, expansion: int = 4, causal: bool = False) -> None:
        super().__init__()
        hidden = expansion * channels
        self.depthwise = PaddedConv(channels, channels, kernel=7, groups=channels, causal=causal)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(
            PaddedConv(channels, hidden, kernel=1),
            SnakeBeta(hidden),
            ResponseNorm(hidden, causal=causal),
            PaddedConv(hidden, channels, kernel=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).transpose(1, 2)).transpose(1, 2)  # [B, C, T]
        return x + self.mlp(y)


class LocalAttention(nn.Module):
    """Multi-head self-attention over the `window` positions on either side, or if causal before; cost linear in F.

    Rotary positions, no biases. `[B, F, C]` to the same. Queries go in blocks of `window`; each block sees itself and
    its neighbours through a band mask, so that every position has exactly its own window.

    Raises:
        ValueError: channels per head are not a whole even number, or the window is below 1.
    """

    def __init__(self, channels: int, heads: int, *, window: int, causal: bool = False) -> None:
        super().__init__()
        if channels % (2 * heads) or window < 1:
            raise ValueError(
                f"{channels} channels must be a multiple of 2 x heads ({2 * heads}), and window {window} at least 1."
            )
        self.heads, self.window, self.causal = heads, window, causal
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        frames, w = x.shape[1], self.window
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, F, c]
        ahead, fill = 0 if self.causal else w, -frames % w
        q = F.pad(rotary(q), (0, 0, 0, fill)).unflatten(2, (-1, w))  # [B, H, N, w, c]
        k, v = (
            F.pad(t, (0, 0, w, fill + ahead)).unfold(2, 2 * w + ahead, w).transpose(-1, -2)  # [B, H, N, 2w or 3w, c]
            for t in (rotary(k), v)
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self._mask(frames, q.shape[2], x.device))
        return self.out(y.flatten(2, 3)[:, :, :frames].transpose(1, 2).flatten(-2))

    def _mask(self, frames: int, blocks: int, device: torch.device) -> Tensor:
        """Which keys each query sees: bool `[N, w, 2w or 3w]`. Filled-up queries see themselves, to stay finite."""
        w, span = self.window, (2 if self.causal else 3) * self.window
        start = torch.arange(blocks, device=device).view(-1, 1, 1) * w
        query = start + torch.arange(w, device=device).view(1, -1, 1)
        key = start - w + torch.arange(span, device=device).view(1, 1, -1)
        ahead = 0 if self.causal else w
        near = (query - key <= w) & (key - query <= ahead)
        return near & (key >= 0) & (key < frames) | (key == query)


class LocalTransformerBlock(nn.Module):
    """Pre-norm (RMSNorm) local attention and SiLU MLP, no biases. `[B, F, C]` to the same."""

    def __init__(self, channels: int, heads: int, *, window: int, expansion: int = 4, causal: bool = False) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(channels, eps=1e-6)
        self.attention = LocalAttention(channels, heads, window=window, causal=causal)
        self.mlp_norm = nn.RMSNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(channels, expansion * channels, bias=False),
            nn.SiLU(),
            nn.Linear(expansion * channels, channels, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))
