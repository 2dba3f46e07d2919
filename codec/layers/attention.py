"""Self-attention over frames, global or in a window, with rotary position embedding (RoPE, arXiv 2104.09864)."""

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.errors import InvalidValue
from codec.layers.extents import Extents
from codec.layers.streaming import Streaming, obstacle

ROTARY_BASE = 10_000.0  # RoPE, section 3.2.2


def rotary(x: Tensor, start: int = 0) -> Tensor:
    """Rotate queries or keys `[..., F, C]` by their position on the frame axis F (RoPE, eq. 34); angles in float32.

    The pair of channels 2i and 2i + 1 of frame f is rotated by the angle (start + f) · 10,000^(−2i / C).
    """
    frames, width = x.shape[-2], x.shape[-1]
    rate = ROTARY_BASE ** (-torch.arange(0, width, 2, device=x.device, dtype=torch.float32) / width)
    place = torch.arange(start, start + frames, device=x.device, dtype=torch.float32)
    angle = torch.outer(place, rate)  # [F, C/2]
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack((even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()), -1)
    return rotated.flatten(-2).type_as(x)


class Attention(nn.Module):
    """Multi-head self-attention over all frames, without biases. Keeps `[B, F, C]`.

    Args:
        channels: width C.
        heads: number of attention heads.
        head_width: channels of a head, C / heads by default; published models state it on its own (`head_dim`).
        positions: rotate queries and keys by their frame (RoPE). Without it, only the convolutions around the
            transformer tell where a frame is.
    """

    def __init__(self, channels: int, heads: int, *, head_width: int | None = None, positions: bool = True) -> None:
        super().__init__()
        width = heads * (channels // heads if head_width is None else head_width)
        self.heads, self.positions = heads, positions
        self.qkv = nn.Linear(channels, 3 * width, bias=False)
        self.out = nn.Linear(width, channels, bias=False)

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, F, C/H]
        if self.positions:
            q, k = rotary(q), rotary(k)
        mask = None if extents is None else ~extents.outside[:, None, None]  # [B, 1, 1, F]
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2))


class AttentionState(NamedTuple):
    """What causal attention in a window keeps of the past.

    Attributes:
        keys: of the last `window` positions `[B, H, window, c]`, not rotated.
        values: of the same.
        seen: int64 `[B]`, how many of them there have been.
    """

    keys: Tensor
    values: Tensor
    seen: Tensor


class LocalAttention(nn.Module, Streaming[AttentionState]):
    """Multi-head self-attention in a window around each position, without biases. Keeps `[B, F, C]`.

    A position attends to itself and the `window` positions on either side or, if causal, before it. The cost is linear
    in F: queries are computed in blocks of `window`, and each block attends to itself and its neighbours through a band
    mask, which gives every position exactly its own window. Positions count from the first key of a block, so that the
    angles of RoPE, which depend on distances alone, are as accurate after hours as at the start.

    Args:
        channels: width C.
        heads: number of attention heads.
        window: positions on one side.
        causal: attend to earlier positions only.
        head_width: channels of a head, C / heads by default; even.
        positions: rotate queries and keys by their frame (RoPE).

    Raises:
        InvalidValue: channels per head are not a whole even number, or the window is below 1.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        window: int,
        causal: bool = False,
        head_width: int | None = None,
        positions: bool = True,
    ) -> None:
        super().__init__()
        if (channels % (2 * heads) and head_width is None) or window < 1:
            raise InvalidValue(
                f"{channels} channels",
                allowed=f"must be a multiple of 2 x heads ({2 * heads}), and window {window} at least 1",
            )
        self.heads, self.window, self.causal, self.positions = heads, window, causal, positions
        width = heads * (channels // heads if head_width is None else head_width)
        self.qkv = nn.Linear(channels, 3 * width, bias=False)
        self.out = nn.Linear(width, channels, bias=False)

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        frames, w = x.shape[1], self.window
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, F, c]
        ahead, fill = 0 if self.causal else w, -frames % w
        q = F.pad(q, (0, 0, 0, fill)).unflatten(2, (-1, w))  # [B, H, N, w, c]
        k, v = (
            F.pad(t, (0, 0, w, fill + ahead)).unfold(2, 2 * w + ahead, w).transpose(-1, -2)  # [B, H, N, 2w or 3w, c]
            for t in (k, v)
        )
        if self.positions:
            q, k = rotary(q, w), rotary(k)
        mask = self._mask(frames, q.shape[2], x.device, extents)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.flatten(2, 3)[:, :, :frames].transpose(1, 2).flatten(-2))

    def start(self, batch: int) -> AttentionState:
        width = self.out.in_features // self.heads
        empty = self.out.weight.new_zeros(batch, self.heads, self.window, width)
        return AttentionState(empty, empty, torch.zeros(batch, dtype=torch.long, device=empty.device))

    def step(self, x: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        """Further positions `[B, n, C]`, taken `window` at a time, such that none meets more keys than in `forward`."""
        outputs = []
        for piece in x.split(self.window, 1):
            output, state = self._step(piece, state)
            outputs.append(output)
        return torch.cat(outputs, 1) if len(outputs) > 1 else outputs[0], state

    def _step(self, x: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        count, w = x.shape[1], self.window
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, n, c]
        keys, values = torch.cat((state.keys, k), 2), torch.cat((state.values, v), 2)  # [B, H, w + n, c]
        query = torch.arange(w, w + count, device=x.device)[:, None]
        key = torch.arange(w + count, device=x.device)
        known = key >= w - state.seen[:, None]  # [B, w + n]
        mask = ((key <= query) & (query - key <= w)) & known[:, None, None]  # [B, 1, n, w + n]
        q, k = (rotary(q, w), rotary(keys)) if self.positions else (q, keys)
        y = F.scaled_dot_product_attention(q, k.type_as(q), values.type_as(q), attn_mask=mask)
        seen = (state.seen + count).clamp_max(w)
        # Copies: views would keep the whole chunk in memory.
        state = AttentionState(keys[:, :, count:].clone(), values[:, :, count:].clone(), seen)
        return self.out(y.transpose(1, 2).flatten(-2)), state

    def _mask(self, frames: int, blocks: int, device: torch.device, extents: Extents | None = None) -> Tensor:
        """Keys of each query: bool `[N, w, 2w or 3w]`, or `[B, 1, N, w, 2w or 3w]` of clips of unequal lengths.

        Queries beyond the end attend to themselves, to stay finite.
        """
        w, span = self.window, (2 if self.causal else 3) * self.window
        start = torch.arange(blocks, device=device).view(-1, 1, 1) * w
        query = start + torch.arange(w, device=device).view(1, -1, 1)
        key = start - w + torch.arange(span, device=device).view(1, 1, -1)
        ahead = 0 if self.causal else w
        near = (query - key <= w) & (key - query <= ahead)
        if extents is None:
            return near & (key >= 0) & (key < frames) | (key == query)
        inside = ~extents.outside[:, key.clamp(0, frames - 1)] & (key >= 0) & (key < frames)  # [B, N, 1, 2w or 3w]
        return (near & inside | (key == query))[:, None]


class RMSNorm(nn.RMSNorm):
    """RMSNorm with its weight cast to the input's type: else PyTorch has no fused kernel for it under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class TransformerBlock(nn.Module, Streaming[Any]):
    """Transformer block without biases: x + attention(RMSNorm(x)), then x + MLP(RMSNorm(x)). Keeps `[B, F, C]`.

    Args:
        channels: width C.
        attention: maps `[B, F, C]` to the same shape; the block streams if it does, with its state.
        hidden: width inside the MLP, whose activation is SiLU.
    """

    def __init__(self, channels: int, attention: nn.Module, hidden: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(channels, eps=1e-6)
        self.attention = attention
        self.mlp_norm = RMSNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.SiLU(), nn.Linear(hidden, channels, bias=False)
        )

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        normed = self.attention_norm(x)
        x = x + (self.attention(normed) if extents is None else self.attention(normed, extents))
        return x + self.mlp(self.mlp_norm(x))

    @property
    def obstacle(self) -> str:
        return obstacle(self.attention)

    def start(self, batch: int) -> Any:
        return cast(Streaming[Any], self.attention).start(batch)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = cast(Streaming[Any], self.attention).step(self.attention_norm(x), state)
        x = x + y
        return x + self.mlp(self.mlp_norm(x)), state
