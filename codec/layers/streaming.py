"""Streaming: parts that take a signal chunk by chunk and keep what they need of it in a typed state.

After the protocol of Moshi's `streaming.py` (arXiv 2410.00037), with one difference: a state is a value that is passed
in and returned, not an attribute, so that it can be copied, stored and sent, and one part serves any number of streams.

What cannot stream: parts that look ahead without a bound (bidirectional attention, recurrent networks run backwards,
statistics of the whole clip) and convolutions padded on both sides. For them there are `NeuralCodec.encode_stream` and
`decode_stream`, which compute the context of each chunk anew.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from codec.errors import InvalidValue

State = TypeVar("State")
States = tuple[Any, ...]

# Layers that treat every position alone.
POINTWISE = (nn.Identity, nn.Dropout, nn.ReLU, nn.SiLU, nn.GELU, nn.Linear)


class Streaming(ABC, Generic[State]):
    """A part whose output up to a position depends on its input up to there, or to a fixed distance beyond.

    The outputs of all steps together are those of `forward` on the whole signal, up to rounding. In evaluation mode a
    step is a function of its arguments. A state is a NamedTuple of tensors `[B, ...]` of fixed shapes, and of further
    states: a stream of any length holds the same memory, and rows of a batch do not see each other.
    """

    @property
    def obstacle(self) -> str:
        """What keeps this object from streaming, as a part of a sentence; empty if nothing does."""
        return "" if getattr(self, "causal", True) else f"{type(self).__name__} with causal: false"

    @abstractmethod
    def start(self, batch: int) -> State:
        """The state of `batch` streams before their first sample or frame."""

    @abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Take a further chunk, of at least one frame, and return its output and the new state."""


class Memoryless(Streaming[tuple[()]]):
    """A streaming part without memory: `forward` treats every position alone."""

    def start(self, batch: int) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        output: Tensor = self(x)  # type: ignore[operator]
        return output, ()


class Tail(NamedTuple):
    """The end of what came before, as a causal convolution or a spectrum's window needs it.

    Attributes:
        values: `[..., n]`, zeros before the start.
    """

    values: Tensor

    def followed_by(self, x: Tensor) -> tuple[Tensor, "Tail"]:
        """The tail with a chunk `[..., m]` behind it, and the tail of both."""
        joined = torch.cat((self.values, x), -1)
        # A copy: a view would keep the whole chunk in memory and in a stored state.
        return joined, Tail(joined[..., joined.shape[-1] - self.values.shape[-1] :].clone())


def obstacle(part: object) -> str:
    """What keeps any part of a codec from streaming, as a part of a sentence; empty if nothing does."""
    return part.obstacle if isinstance(part, Streaming) else f"{type(part).__name__}, which has no causal form,"


def check_streams(part: object, *, instead: str) -> None:
    """Raise InvalidValue unless a part streams; `instead` names the method that needs no causal part."""
    found = obstacle(part)
    if found:
        setting = "set causal: true and train it, or " if found.endswith("false") else ""
        raise InvalidValue(found, allowed="cannot stream without recomputed context", remedy=f"{setting}use {instead}")


def start_layers(layers: Iterable[nn.Module], batch: int) -> States:
    """The states of layers that are applied in order.

    Raises:
        InvalidValue: a layer that is neither `Streaming` nor known to treat every position alone.
    """
    states = []
    for layer in layers:
        found = "" if isinstance(layer, POINTWISE) else obstacle(layer)
        if found:
            raise InvalidValue(found, allowed="cannot stream", remedy="make it a codec.layers.streaming.Streaming")
        states.append(layer.start(batch) if isinstance(layer, Streaming) else ())
    return tuple(states)


def step_layers(layers: Iterable[nn.Module], x: Tensor, states: States) -> tuple[Tensor, States]:
    """Apply layers in order to a chunk."""
    after = []
    for layer, state in zip(layers, states, strict=True):
        if isinstance(layer, Streaming):
            x, state = layer.step(x, state)
        else:
            x = layer(x)
        after.append(state)
    return x, tuple(after)


def form(state: Any) -> Any:
    """What two states of the same streams have in common: types and shapes, without values."""
    if isinstance(state, Tensor):
        return state.shape
    return (type(state), *map(form, state)) if isinstance(state, tuple) else type(state)


def restarted(state: Any, fresh: Any, rows: Tensor) -> Any:
    """A state in which the streams of some rows, bool `[B]`, are as in the state `fresh`."""
    if isinstance(state, Tensor):
        return torch.where(rows.view(-1, *[1] * (state.ndim - 1)), fresh, state)
    parts = [restarted(*pair, rows) for pair in zip(state, fresh, strict=True)]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


class Stream(ABC, Generic[State]):
    """A batch of streams in progress: what keeps the state between calls.

    Steps never write into a state, so that one read from `state` stays as it is, and may be set again later, on this
    or on another stream of the same codec.

    Attributes:
        batch: number of streams B.
        state: after the last step; None once the streams have ended.
    """

    state: State | None

    def __init__(self, batch: int) -> None:
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            raise InvalidValue("batch", repr(batch), "must be at least 1 stream, a whole number")
        self.batch = batch

    def current(self) -> State:
        """The state; raises InvalidValue after the end, or for one that is no state of such a stream."""
        if self.state is None:
            raise InvalidValue("The stream", allowed="has ended", remedy="call its reset() to begin another")
        if not self.fits(self.state):
            allowed = f"is none of {self.batch} streams of this codec's {type(self).__name__}"
            raise InvalidValue("state", repr(self.state)[:60], allowed, "set one that was read from such a stream")
        return self.state

    @abstractmethod
    def fits(self, state: Any) -> bool:
        """Whether a value is a state of such a stream."""

    def check_batch(self, x: Tensor, name: str) -> None:
        """Raise InvalidValue unless a chunk has as many rows as there are streams."""
        if x.shape[0] != self.batch:
            raise InvalidValue(f"{name} of shape", list(x.shape), f"must have {self.batch} rows, one a stream")

    def chosen(self, rows: Tensor | Sequence[bool], device: torch.device) -> Tensor:
        """Rows as bool `[B]`; raises InvalidValue if they are something else."""
        try:
            chosen = torch.as_tensor(rows, device=device)
        except (TypeError, ValueError, RuntimeError):
            chosen = torch.empty(0)
        if chosen.dtype != torch.bool or chosen.shape != (self.batch,):
            allowed = f"must be one bool for each of {self.batch} streams"
            raise InvalidValue("rows", repr(rows)[:60], allowed, "True for those that begin anew")
        return chosen
