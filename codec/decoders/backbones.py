"""Backbones at the frame rate: Vocos's ConvNeXt blocks (arXiv 2306.00814), NeuCodec's transformer (2509.09550)."""

from typing import NamedTuple

from torch import Tensor, nn

from codec.decoders.base import Backbone
from codec.errors import InvalidValue
from codec.layers.attention import Attention, LocalAttention, TransformerBlock
from codec.layers.blocks import ConvNeXtBlock, FrameConv, ResNetBlock, run, run_masked
from codec.layers.extents import Extents
from codec.layers.streaming import States, Streaming, Tail, start_layers, step_layers


class ConvNeXtState(NamedTuple):
    """The past of a causal `ConvNeXtBackbone`, by its parts."""

    embed: Tail
    blocks: States


class ConvNeXtBackbone(Backbone, Streaming[ConvNeXtState]):
    """Vocos's backbone: conv7, LayerNorm, ConvNeXt blocks, LayerNorm.

    Args:
        dim: latent width D.
        width: of the features.
        depth: number of ConvNeXt blocks.
        expansion: inner width of the blocks over `width`.
        causal: a frame depends on itself and earlier ones only, for streaming.
    """

    def __init__(
        self, dim: int = 256, width: int = 384, *, depth: int = 8, expansion: int = 3, causal: bool = False
    ) -> None:
        super().__init__()
        self.dim, self.width, self.causal = dim, width, causal
        self.embed = FrameConv(dim, width, 7, causal=causal)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.Sequential(
            *[ConvNeXtBlock(width, expansion * width, scale=1 / depth, causal=causal) for _ in range(depth)]
        )
        self.out_norm = nn.LayerNorm(width, eps=1e-6)

    @property
    def receptive_field(self) -> tuple[int, int]:
        reach = 3 * (len(self.blocks) + 1)
        return (2 * reach, 0) if self.causal else (reach, reach)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.norm(self.embed(latents).transpose(1, 2)).transpose(1, 2)
        return self.out_norm(self.blocks(x).transpose(1, 2))

    def start(self, batch: int) -> ConvNeXtState:
        return ConvNeXtState(self.embed.start(batch), start_layers(self.blocks, batch))

    def step(self, x: Tensor, state: ConvNeXtState) -> tuple[Tensor, ConvNeXtState]:
        """Latents `[B, D, n]` to features `[B, n, width]`."""
        x, embed = self.embed.step(x, state.embed)
        x, blocks = step_layers(self.blocks, self.norm(x.transpose(1, 2)).transpose(1, 2), state.blocks)
        return self.out_norm(x.transpose(1, 2)), ConvNeXtState(embed, blocks)


class TransformerState(NamedTuple):
    """The past of a causal `TransformerBackbone`, by its parts."""

    embed: Tail
    prior: States
    blocks: States
    post: States


class TransformerBackbone(Backbone, Streaming[TransformerState]):
    """NeuCodec's backbone: conv7, 2 ResNet blocks, transformer blocks, 2 ResNet blocks, LayerNorm.

    The defaults are the paper's sizes: 185.6 M parameters with the head of VocosDecoder. Latents of another width than
    the backbone, such as the paper's 2,048, first pass a linear layer.

    Args:
        dim: latent width D.
        width: of the features, a multiple of 32.
        depth: number of transformer blocks.
        heads: attention heads.
        head_width: channels of a head, even; width / heads by default. Published models state it on its own (`head_dim`
            in transformers), and imported files need it.
        hidden: width inside the MLPs, 4 x width by default.
        dropout: inside the ResNet blocks.
        positions: rotary position embedding over frames. Off for the released weights of NeuCodec and X-Codec 2: their
            code rotates queries and keys by the number of their *head*, both by the same angle, which cancels in every
            attention score.
        checkpointing: store only the blocks' inputs for the backward pass and compute the rest again: less memory,
            about a third more time.
        causal: a frame depends on itself and earlier ones only, for streaming; GroupNorm is then over each frame.
        window: earlier frames to which a frame attends in a causal block.

    Raises:
        InvalidValue: `width` is no multiple of 32, or heads have an odd width.
    """

    takes_extents = True

    def __init__(
        self,
        dim: int = 1024,
        width: int = 1024,
        *,
        depth: int = 12,
        heads: int = 16,
        head_width: int | None = None,
        hidden: int | None = None,
        dropout: float = 0.1,
        positions: bool = True,
        checkpointing: bool = False,
        causal: bool = False,
        window: int = 50,
    ) -> None:
        super().__init__()
        head_width = width // heads if head_width is None else head_width
        if head_width % 2 or head_width < 2 or width % 32:
            allowed = f"must be a multiple of 32, and {heads} heads of even width (now {head_width})"
            raise InvalidValue("width", width, allowed)
        self.dim, self.width, self.checkpointing = dim, width, checkpointing
        self.positions, self.dropout = positions, dropout
        self.causal, self.window = causal, window
        self.project: nn.Module = nn.Identity() if dim == width else nn.Linear(dim, width)
        self.embed = FrameConv(width, width, 7, causal=causal)
        self.prior = nn.Sequential(*[ResNetBlock(width, dropout=dropout, causal=causal) for _ in range(2)])
        blocks = []
        for _ in range(depth):
            attention: nn.Module = (
                LocalAttention(width, heads, window=window, causal=True, head_width=head_width, positions=positions)
                if causal
                else Attention(width, heads, head_width=head_width, positions=positions)
            )
            blocks.append(TransformerBlock(width, attention, hidden or 4 * width))
        self.blocks = nn.Sequential(*blocks)
        self.post = nn.Sequential(*[ResNetBlock(width, dropout=dropout, causal=causal) for _ in range(2)])
        self.out_norm = nn.LayerNorm(width, eps=1e-6)

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        return (6 + 4 * 4 + len(self.blocks) * self.window, 0) if self.causal else None

    def forward(self, latents: Tensor, extents: Extents | None = None) -> Tensor:
        x = self.project(latents.transpose(1, 2)).transpose(1, 2)  # [B, C, F]
        if extents is not None:
            x = run_masked(self.prior, self.embed(x, extents), extents).transpose(1, 2)
            for block in self.blocks:
                x = block(x, extents)
            return self.out_norm(run_masked(self.post, x.transpose(1, 2), extents).transpose(1, 2))
        x = run(self.prior, self.embed(x), checkpointing=self.checkpointing).transpose(1, 2)  # [B, F, C]
        x = run(self.blocks, x, checkpointing=self.checkpointing).transpose(1, 2)
        return self.out_norm(run(self.post, x, checkpointing=self.checkpointing).transpose(1, 2))

    def start(self, batch: int) -> TransformerState:
        states = (start_layers(layers, batch) for layers in (self.prior, self.blocks, self.post))
        return TransformerState(self.embed.start(batch), *states)

    def step(self, x: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Latents `[B, D, n]` to features `[B, n, width]`."""
        x, embed = self.embed.step(self.project(x.transpose(1, 2)).transpose(1, 2), state.embed)
        x, prior = step_layers(self.prior, x, state.prior)
        x, blocks = step_layers(self.blocks, x.transpose(1, 2), state.blocks)
        x, post = step_layers(self.post, x.transpose(1, 2), state.post)
        return self.out_norm(x.transpose(1, 2)), TransformerState(embed, prior, blocks, post)
