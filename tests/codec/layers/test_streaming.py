"""Causal layers, encoders and backbones in steps: equal to the whole signal, in typed states of fixed size."""

import copy
import pickle

import pytest
import torch
from torch import nn

from codec import ConvNeXtBackbone, MelEncoder, SpectralEncoder, StudentEncoder, TransformerBackbone, VocosDecoder
from codec.errors import InvalidValue
from codec.layers.attention import Attention, LocalAttention, TransformerBlock
from codec.layers.blocks import ConvNeXtBlock, FrameConv, FrameGroupNorm, ResNetBlock, TimeGroupNorm
from codec.layers.l3ac import DepthwiseUnit, PaddedConv, ResponseNorm
from codec.layers.streaming import Streaming, check_streams, obstacle, restarted, start_layers, step_layers
from tests.support.causal_codecs import state_tensors

HOP = 40
STUDENT = dict(strides=(2, 4), depths=(1, 1, 2), attention_stride=5, attention_depth=2, heads=2, window=7)
TRANSFORMER = dict(depth=2, heads=2, window=7)  # in groups of few channels, GroupNorm amplifies rounding

# Part, channels of its input, samples or positions of a frame, axis of time of input and output.
PARTS = {
    "frame conv": (lambda c=True: FrameConv(6, 4, 7, causal=c), 6, 1, -1),
    "padded conv": (lambda c=True: PaddedConv(6, 4, kernel=7, causal=c), 6, 1, -1),
    "strided conv": (lambda c=True: PaddedConv(6, 4, kernel=10, stride=5, causal=c), 6, 5, -1),
    "ConvNeXt block": (lambda c=True: ConvNeXtBlock(6, 12, causal=c), 6, 1, -1),
    "ResNet block": (lambda c=True: ResNetBlock(128, causal=c), 128, 1, -1),
    "attention": (lambda c=True: LocalAttention(8, 2, window=7, causal=c), 8, 1, 1),
    "transformer block": (lambda c=True: TransformerBlock(8, LocalAttention(8, 2, window=7, causal=c), 16), 8, 1, 1),
    "response norm": (lambda c=True: ResponseNorm(6, causal=c), 6, 1, -1),
    "unit": (lambda c=True: DepthwiseUnit(6, causal=c), 6, 1, -1),
    "student": (lambda c=True: StudentEncoder(16, (4, 8, 8), **STUDENT, causal=c), 1, HOP, -1),
    "spectral": (lambda c=True: SpectralEncoder(16, HOP, width=8, depth=2, causal=c), 1, HOP, -1),
    "wide window": (lambda c=True: SpectralEncoder(16, HOP, width=8, depth=1, window=5, causal=c), 1, HOP, -1),
    "standardised": (lambda c=True: SpectralEncoder(16, HOP, width=8, depth=1, mean=-4, std=2.3, causal=c), 1, HOP, -1),
    "mel": (lambda c=True: MelEncoder(16, HOP, bands=9, width=8, sample_rate=8_000, causal=c), 1, HOP, -1),
    "ConvNeXt": (lambda c=True: ConvNeXtBackbone(16, 12, depth=2, causal=c), 16, 1, 1),
    "transformer": (lambda c=True: TransformerBackbone(16, 256, **TRANSFORMER, causal=c), 16, 1, 1),
}
INPUT_TIME = {"ConvNeXt": -1, "transformer": -1}


def built(name):
    """A part whose every branch counts, and its input of 1 and 3 streams."""
    make, channels, hop, time = PARTS[name]
    torch.manual_seed(0)
    part = make().eval()
    with torch.no_grad():
        for key, parameter in part.named_parameters():
            if key.rpartition(".")[2] in ("scale", "gamma"):
                parameter.fill_(0.5)
    return part, channels, hop, INPUT_TIME.get(name, time), time


def signal(channels, length, time, batch=3):
    x = 0.5 * torch.randn(batch, channels, length, generator=torch.Generator().manual_seed(length))
    return x if time == -1 else x.transpose(1, 2)


def stepped(part, x, sizes, *, hop, time, into):
    """Outputs of steps of `sizes` frames in turn, joined, and the state after the last."""
    state, outputs, done, frames = part.start(x.shape[0]), [], 0, x.shape[time] // hop
    for turn in range(frames):
        count = min(sizes[turn % len(sizes)], frames - done)
        if not count:
            break
        y, state = part.step(x.narrow(time, done * hop, count * hop), state)
        outputs.append(y)
        done += count
    return torch.cat(outputs, into), state


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sizes", [[1], [2], [7], [50], [3, 1, 20, 8]], ids=str)
@pytest.mark.parametrize("name", PARTS)
def test_steps_are_the_whole(name, sizes, batch):
    part, channels, hop, time, into = built(name)
    x = signal(channels, 61 * hop, time, batch)
    found, _ = stepped(part, x, sizes, hop=hop, time=time, into=into)
    expected = part(x)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", PARTS)
def test_a_step_leaves_its_state_as_it_was_and_a_state_can_be_copied_and_stored(name):
    part, channels, hop, time, _ = built(name)
    x = signal(channels, 9 * hop, time)
    first, second = x.split(5 * hop, time)
    _, state = part.step(first, part.start(3))
    stored = pickle.loads(pickle.dumps(copy.deepcopy(state)))
    assert type(stored) is type(state)
    y, _ = part.step(second, state)
    again, _ = part.step(second, stored)
    once_more, _ = part.step(second, state)
    assert torch.equal(y, again) and torch.equal(y, once_more)


@torch.no_grad()
@pytest.mark.parametrize("name", PARTS)
def test_a_state_neither_grows_nor_holds_more_than_it_shows(name):
    part, channels, hop, time, _ = built(name)
    state = part.start(3)
    shapes = [(t.shape, t.dtype) for t in state_tensors(state)]
    for size in (1, 30, 2, 11):
        _, state = part.step(signal(channels, size * hop, time), state)
        assert [(t.shape, t.dtype) for t in state_tensors(state)] == shapes
        assert all(t.shape[0] == 3 for t in state_tensors(state))
        assert all(t.untyped_storage().nbytes() == t.numel() * t.element_size() for t in state_tensors(state))


@torch.no_grad()
@pytest.mark.parametrize("name", PARTS)
def test_a_row_that_begins_anew_is_as_at_the_start_and_the_others_go_on(name):
    part, channels, hop, time, _ = built(name)
    _, state = part.step(signal(channels, 6 * hop, time), part.start(3))
    chosen = torch.tensor([False, True, False])
    x = signal(channels, 4 * hop, time)
    mixed, _ = part.step(x, restarted(state, part.start(3), chosen))
    going, _ = part.step(x, state)
    fresh, _ = part.step(x, part.start(3))
    torch.testing.assert_close(mixed[1], fresh[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(mixed[[0, 2]], going[[0, 2]], atol=1e-6, rtol=0)
    if state_tensors(state):
        assert not torch.allclose(going[1], fresh[1], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", PARTS)
def test_nothing_looks_ahead(name):
    part, channels, hop, time, into = built(name)
    x = signal(channels, 20 * hop, time, batch=1)
    changed = x.clone()
    changed.narrow(time, 12 * hop, 8 * hop).add_(1.0)
    same, other = part(x), part(changed)
    assert torch.equal(same.narrow(into, 0, 12), other.narrow(into, 0, 12))
    assert not torch.equal(same.narrow(into, 12, 1), other.narrow(into, 12, 1))


def test_parts_that_look_ahead_say_so():
    for name, (make, *_) in PARTS.items():
        assert obstacle(make()) == "", name
        assert obstacle(make(False)).endswith("with causal: false"), name
    assert obstacle(VocosDecoder(ConvNeXtBackbone(16, 12, depth=1), HOP)) == "ConvNeXtBackbone with causal: false"
    assert obstacle(TransformerBlock(8, Attention(8, 2), 16)) == "Attention, which has no causal form,"
    assert "TimeGroupNorm" in obstacle(TimeGroupNorm(2, 4)) and not obstacle(FrameGroupNorm(2, 4))
    assert obstacle(FrameConv(4, 4, 1)) == obstacle(PaddedConv(4, 4, kernel=5, stride=5)) == ""


def test_what_cannot_stream_is_refused_with_the_remedy():
    with pytest.raises(
        InvalidValue, match=r"MelEncoder with causal: false cannot stream.*set causal: true.*or use a_b"
    ):
        check_streams(MelEncoder(16), instead="a_b")
    with pytest.raises(InvalidValue, match=r"GRU, which has no causal form, cannot stream.*: use a_b"):
        check_streams(nn.GRU(2, 2), instead="a_b")
    for layer in (nn.Conv1d(2, 2, 3), FrameConv(2, 2, 3), nn.Tanhshrink()):
        with pytest.raises(InvalidValue, match="cannot stream"):
            start_layers([nn.SiLU(), layer], 1)


def test_layers_of_any_kind_run_in_order():
    layers = [nn.Identity(), FrameConv(2, 2, 3, causal=True), nn.GELU(), FrameGroupNorm(1, 2)]
    x = torch.randn(1, 2, 9)
    states, found = start_layers(layers, 1), []
    for piece in x.split(4, -1):
        y, states = step_layers(layers, piece, states)
        found.append(y)
    torch.testing.assert_close(torch.cat(found, -1), nn.Sequential(*layers)(x), atol=1e-5, rtol=0)
    assert isinstance(layers[1], Streaming) and len(states) == 4


@torch.no_grad()
@pytest.mark.parametrize("position", [0, 1_000, 900_000])
def test_attention_is_as_accurate_after_an_hour_as_at_the_start(position):
    """Positions at 250 Hz; in float32 an angle of 900,000 radians is known to 0.03."""
    torch.manual_seed(0)
    local = LocalAttention(16, 2, window=20, causal=True)
    x = torch.randn(1, 60, 16)
    exact = copy.deepcopy(local).double()
    q, k, v = exact.qkv(x.double()).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
    place = torch.arange(position, position + 60, dtype=torch.float64)
    angle = torch.outer(place, 10_000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8))

    def turned(t):
        pairs = torch.view_as_complex(t.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(
            torch.ones_like(angle), angle
        )
        return torch.view_as_real(pairs).flatten(-2)

    ago = place[:, None] - place
    y = nn.functional.scaled_dot_product_attention(turned(q), turned(k), v, attn_mask=(ago >= 0) & (ago <= 20))
    expected = exact.out(y.transpose(1, 2).flatten(-2)).float()
    torch.testing.assert_close(local(x), expected, atol=1e-6, rtol=0)
    found, _ = stepped(local, x, [3, 30], hop=1, time=1, into=1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_mean_square_stays_right_over_an_hour():
    """57.6 million positions, by a number set to that: a further chunk moves the mean by what it should."""
    norm = ResponseNorm(2, causal=True)
    norm.gamma.fill_(1.0)
    state = norm.start(1)._replace(mean=torch.tensor([[[1.0], [4.0]]]), number=torch.full((1, 1, 1), 57_600_000))
    x = torch.randn(1, 2, 3_000).mul_(30.0)
    for piece in x.split(100, -1):
        _, state = norm.step(piece, state)
    total = torch.tensor([1.0, 4.0], dtype=torch.float64) * 57_600_000 + x.double().square().sum(-1)[0]
    torch.testing.assert_close(state.mean[0, :, 0].double(), total / 57_603_000, rtol=3e-6, atol=0)
    assert state.number.item() == 57_603_000


@torch.no_grad()
def test_a_long_signal_streams_as_the_whole_does():
    """A minute of audio through attention and running statistics."""
    part, _, hop, *_ = built("student")
    x = signal(1, 60 * 8_000, -1, batch=1)
    found, _ = stepped(part, x, [400], hop=hop, time=-1, into=-1)
    torch.testing.assert_close(found, part(x), atol=1e-5, rtol=0)
