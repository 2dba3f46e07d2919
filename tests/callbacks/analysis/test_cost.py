"""What parts cost, against counts by hand: every encoder, quantizer, decoder and backbone, and whole codecs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import codec as parts
from callbacks import CostReport
from callbacks.analysis.cost import codec_costs, encoder_costs
from callbacks.analysis.macs import count_macs
from codec import NeuralCodec
from codec.checkpoints.building import build_empty
from codec.encoders.base import Encoder
from codec.layers.activations import AntiAliasedActivation, SnakeBeta
from codec.layers.attention import Attention, LocalAttention
from tests.support.codec_fakes import CountingModule, clip, loader, tiny_codec, trainer


def convolution(frames: int, width_in: int, width_out: int, kernel: int, groups: int = 1) -> int:
    return frames * width_out * (width_in // groups) * kernel


def linear(vectors: int, *widths: int) -> int:
    return sum(vectors * a * b for a, b in pairwise(widths))


def attention(width: int, heads_width: int, frames: int, queries: int, keys: int) -> int:
    """Queries, keys and values of all frames; queries by keys, scores by values; output."""
    projections = linear(frames, width, 3 * heads_width) + linear(frames, heads_width, width)
    return projections + 2 * queries * keys * heads_width


def filters(samples: int, channels: int, taps: int = 12) -> int:
    """2T samples up of half the taps, T samples down of all taps."""
    return channels * (2 * samples * (taps // 2) + samples * taps)


def convnext(frames: int, width: int, expansion: int = 3) -> int:
    return convolution(frames, width, width, 7, groups=width) + linear(frames, width, expansion * width, width)


# -- encoders ----------------------------------------------------------------------------------------------------------

FRAMES = 7


def acoustic(*, filtered: bool) -> int:
    """`AcousticEncoder(6, 4, strides=(2, 5), dilations=(1, 3))` on 70 samples."""

    def snake(samples: int, width: int) -> int:
        return filters(samples, width) if filtered else 0

    def unit(samples: int, width: int) -> int:
        return 2 * snake(samples, width) + convolution(samples, width, width, 7) + convolution(samples, width, width, 1)

    first = convolution(70, 1, 4, 7) + 2 * unit(70, 4) + snake(70, 4) + convolution(35, 4, 8, 4)
    second = 2 * unit(35, 8) + snake(35, 8) + convolution(7, 8, 16, 10)
    return first + second + snake(7, 16) + convolution(7, 16, 6, 3)


def student(keys: int) -> int:
    """`StudentEncoder(6, (4, 6, 8), strides=(2, 3), depths=(1, 1, 2))`, attention of two blocks, on 210 samples."""

    def unit(samples: int, width: int) -> int:
        return convolution(samples, width, width, 7, groups=width) + linear(samples, width, 4 * width, width)

    convolutions = convolution(210, 1, 4, 7) + unit(210, 4) + convolution(105, 4, 6, 4) + unit(105, 6)
    convolutions += convolution(35, 6, 8, 6) + 2 * unit(35, 8)
    block = attention(8, 8, frames=35, queries=36, keys=keys) + linear(35, 8, 32, 8)  # 12 windows of 3 queries
    return convolutions + 2 * block + convolution(7, 8, 16, 10) + convolution(7, 16, 6, 3)


def w2v_bert(frames: int, mel_frames: int, width: int = 32, inner: int = 48, distances: int = 73) -> int:
    """One layer of w2v-BERT (two MLPs, relative attention, a convolution of 31 taps) and X-Codec 2's adapter."""
    relative = linear(frames, width, distances) + attention(width, width, frames, frames, frames)
    gated = convolution(frames, width, 2 * width, 1) + convolution(frames, width, width, 31, groups=width)
    gated += convolution(frames, width, width, 1)
    layer = 2 * linear(frames, width, inner, width) + relative + gated
    adapter = 4 * convolution(frames, width, width, 3)
    return linear(mel_frames, 257, 80) + linear(frames, 160, width) + layer + adapter


def hubert(frames: int, width: int = 16, channels: int = 8) -> int:
    """Seven convolutions on a clip with 160 samples on either side, positions of 128 taps, one transformer layer."""
    samples, total, width_in = frames * 320 + 320, 0, 1
    for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)):
        samples = (samples - kernel) // stride + 1
        total += convolution(samples, width_in, channels, kernel)
        width_in = channels
    assert samples == frames
    positions = convolution(frames + 1, width, width, 128, groups=16)  # one frame more, of which the last is cut
    layer = attention(width, width, frames, frames, frames) + linear(frames, width, 4 * width, width)
    return total + linear(frames, channels, width) + positions + layer


SMALL_BERT = dict(hidden_size=32, num_attention_heads=2, intermediate_size=48, output_hidden_size=32)
STUDENT: dict[str, Any] = dict(
    strides=(2, 3), depths=(1, 1, 2), attention_stride=5, attention_depth=2, heads=2, window=3
)
ENCODERS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {  # how to build it, samples, count by hand
    "acoustic": (
        lambda: parts.AcousticEncoder(6, 4, strides=(2, 5), dilations=(1, 3)), 70, acoustic(filtered=True)
    ),
    "acoustic, plain snake, weights multiplied": (
        lambda: parts.AcousticEncoder(6, 4, strides=(2, 5), dilations=(1, 3), anti_aliased=False, weight_norm=False),
        70, acoustic(filtered=False),
    ),
    "spectral": (
        lambda: parts.SpectralEncoder(8, 20, width=6, depth=2, window=3), FRAMES * 20,
        convolution(FRAMES, 31, 6, 3) + 2 * convnext(FRAMES, 6) + linear(FRAMES, 6, 8),
    ),
    "mel": (
        lambda: parts.MelEncoder(8, 320, bands=10, width=6, depth=2, expansion=2, window=3), FRAMES * 320,
        linear(FRAMES, 481, 10) + convolution(FRAMES, 10, 6, 3) + 2 * convnext(FRAMES, 6, 2) + linear(FRAMES, 6, 8),
    ),
    "student": (lambda: parts.StudentEncoder(6, (4, 6, 8), **STUDENT), 210, student(keys=9)),
    "causal student": (lambda: parts.StudentEncoder(6, (4, 6, 8), causal=True, **STUDENT), 210, student(keys=6)),
    "w2v-BERT": (
        lambda: parts.W2VBertEncoder(layers=1, config=SMALL_BERT), 2_560, w2v_bert(7, 1 + (2_560 - 400) // 160)
    ),
    "w2v-BERT, edges padded": (
        lambda: parts.W2VBertEncoder(layers=1, config=SMALL_BERT, edge_padding=160), 2_240,
        w2v_bert(7, 1 + (2_560 - 400) // 160),
    ),
    "HuBERT": (lambda: parts.HubertEncoder(layers=1, width=16, heads=2, channels=8), 2_240, hubert(7)),
    "fused": (
        lambda: parts.FusedEncoder(
            parts.SpectralEncoder(8, 320, width=6, depth=1), parts.W2VBertEncoder(layers=1, config=SMALL_BERT), dim=5
        ), 2_560,
        convolution(8, 481, 6, 3) + convnext(8, 6) + linear(8, 6, 8) + w2v_bert(7, 14) + convolution(7, 40, 5, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_costs_what_is_counted_by_hand(name: str) -> None:
    if name in ("w2v-BERT", "w2v-BERT, edges padded", "HuBERT", "fused"):
        pytest.importorskip("transformers")
    build, samples, expected = ENCODERS[name]
    assert count_macs(build(), (1, 1, samples)) == expected


# -- quantizers --------------------------------------------------------------------------------------------------------


def rvq_stage(frames: int, dim: int, size: int, width: int) -> int:
    """In twice, for the lookup and for the gradient that passes it; distances; out."""
    projections = 0 if dim == width else 2 * linear(frames, dim, width) + linear(frames, width, dim)
    return projections + linear(frames, width, size)


LEARNED, AVERAGED = parts.LearnedCodebook, parts.EMACodebook
QUANTIZERS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # of 50 frames of 16 channels
    "FSQ": (lambda: parts.FSQ(16, (4, 4, 3)), linear(50, 16, 3, 16)),
    "FSQ without projections": (lambda: parts.FSQ(16, (2,) * 16), 0),
    "FSQ, bounded twice": (lambda: parts.FSQ(16, (4, 3), bound=parts.DoubleTanhBound()), linear(50, 16, 2, 16)),
    "residual FSQ": (lambda: parts.ResidualFSQ(16, (4, 4, 3), stages=2), linear(50, 16, 3, 16)),
    "RVQ, learned": (lambda: parts.RVQ(16, [LEARNED(40, 4), LEARNED(20, 4)]),
                     rvq_stage(50, 16, 40, 4) + rvq_stage(50, 16, 20, 4)),
    "RVQ, averaged": (lambda: parts.RVQ(16, [AVERAGED(40, 4), AVERAGED(20, 4)]),
                      rvq_stage(50, 16, 40, 4) + rvq_stage(50, 16, 20, 4)),
    "RVQ without projections": (lambda: parts.RVQ(16, [LEARNED(40, 16), AVERAGED(30, 16)]), 50 * 16 * (40 + 30)),
}  # fmt: skip


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_quantizer_costs_what_is_counted_by_hand(name: str) -> None:
    build, expected = QUANTIZERS[name]
    assert count_macs(build(), (1, 16, 50)) == expected


@pytest.mark.parametrize("size", [20, 40])  # `torch.cdist` takes another way where there are more than 25 rows
@pytest.mark.parametrize("mode", ["use_mm_for_euclid_dist_if_necessary", "donot_use_mm_for_euclid_dist"])
def test_distances_count_as_a_product_however_they_are_computed(size: int, mode: str) -> None:
    class Distances(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cdist(x, x.new_zeros(size, 4), compute_mode=mode)

    assert count_macs(Distances(), (10, 4)) == 10 * 4 * size


# -- decoders and their layers -----------------------------------------------------------------------------------------


def transformer(frames: int, *, queries: int, keys: int, heads_width: int = 32, hidden: int = 128) -> int:
    """Backbone from 5 channels to 32, depth 2."""
    around = 2 * 2 * 2 * convolution(frames, 32, 32, 3)  # before and after, two blocks of two convolutions
    block = attention(32, heads_width, frames, queries, keys) + linear(frames, 32, hidden, 32)
    return linear(frames, 5, 32) + convolution(frames, 32, 32, 7) + around + 2 * block


ConvNeXt, Transformer = parts.ConvNeXtBackbone, parts.TransformerBackbone
CONVNEXT = convolution(FRAMES, 5, 6, 7) + 2 * convnext(FRAMES, 6, 2)
BACKBONES: dict[str, tuple[Callable[[], Any], int]] = {  # of 7 frames of 5 channels
    "ConvNeXt": (lambda: ConvNeXt(5, 6, depth=2, expansion=2), CONVNEXT),
    "causal ConvNeXt": (lambda: ConvNeXt(5, 6, depth=2, expansion=2, causal=True), CONVNEXT),
    "transformer": (lambda: Transformer(5, 32, depth=2, heads=4), transformer(FRAMES, queries=7, keys=7)),
    "transformer without positions": (
        lambda: Transformer(5, 32, depth=2, heads=4, positions=False), transformer(FRAMES, queries=7, keys=7)
    ),
    "transformer with own widths": (
        lambda: Transformer(5, 32, depth=2, heads=4, head_width=10, hidden=50),
        transformer(FRAMES, queries=7, keys=7, heads_width=40, hidden=50),
    ),
    "causal transformer": (  # 3 windows of 3 queries, each with 6 keys
        lambda: Transformer(5, 32, depth=2, heads=4, causal=True, window=3), transformer(FRAMES, queries=9, keys=6)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_and_its_decoder_cost_what_is_counted_by_hand(name: str) -> None:
    build, expected = BACKBONES[name]
    assert count_macs(build(), (1, 5, FRAMES)) == expected
    decoder = parts.VocosDecoder(build(), 4, window=3)
    assert count_macs(decoder, (1, 5, FRAMES)) == expected + linear(FRAMES, decoder.backbone.width, 12 + 2)


@pytest.mark.parametrize("taps", [6, 12, 16])
def test_filters_count_by_their_taps(taps: int) -> None:
    activation = AntiAliasedActivation(SnakeBeta(3), taps)
    assert count_macs(activation, (2, 3, 50)) == 2 * filters(50, 3, taps) == 2 * 3 * 50 * 2 * taps


def test_attention_is_not_free() -> None:
    assert count_macs(Attention(8, 2), (3, 10, 8)) == 3 * attention(8, 8, 10, 10, 10)
    assert count_macs(LocalAttention(8, 2, window=4), (3, 10, 8)) == 3 * attention(8, 8, 10, 12, 12)
    with torch.inference_mode():  # as inside `trainer.test`
        assert count_macs(Attention(8, 2), (3, 10, 8)) == 3 * attention(8, 8, 10, 10, 10)


# -- whole codecs ------------------------------------------------------------------------------------------------------


def mixed_codec() -> NeuralCodec:
    """16 kHz in and 24 kHz out, filters, global attention and a codebook: what depends on the device otherwise."""
    torch.manual_seed(0)
    encoder = parts.AcousticEncoder(8, 4, strides=(4, 4, 5), dilations=(1,))
    decoder = parts.VocosDecoder(Transformer(8, 32, depth=1, heads=2), 120)
    return NeuralCodec(encoder, parts.RVQ(8, [AVERAGED(40, 4)]), decoder)


def test_both_are_the_sum_of_the_parts_and_what_a_forward_pass_costs() -> None:
    costs = codec_costs({"one": mixed_codec(), "two": tiny_codec()}, seconds=1.0, repeats=1)
    assert [(cost.codec, cost.part) for cost in costs] == [
        (name, part) for name in ("one", "two") for part in ("encoder", "quantizer", "decoder", "codec")
    ]
    for *split, whole in (costs[:4], costs[4:]):
        assert whole.macs_per_second == sum(cost.macs_per_second for cost in split)
        assert whole.parameters == sum(cost.parameters for cost in split)
        assert whole.real_time_factor == sum(cost.real_time_factor for cost in split)
        assert all(0 < cost.real_time_factor < 10 and cost.macs_per_second > 0 for cost in split)
    assert costs[3].macs_per_second == count_macs(mixed_codec(), (1, 1, 16_000))


def test_the_device_does_not_matter() -> None:
    rows = [cost[:4] for cost in codec_costs({"": mixed_codec()}, seconds=0.5, repeats=0)]
    assert rows == [cost[:4] for cost in codec_costs({"": build_empty(mixed_codec)}, seconds=0.5, repeats=0)]


def test_figures_are_per_second_of_audio_for_any_hop_and_rate() -> None:
    """Convolutions and products cost the same a second for any whole number of frames."""
    for hop, rate in ((320, 16_000), (200, 16_000), (300, 24_000)):
        decoder = parts.VocosDecoder(ConvNeXt(8, 6, depth=1), hop * 3 // 2)
        encoder_part = parts.SpectralEncoder(8, hop, width=6, depth=1)
        codec = NeuralCodec(encoder_part, parts.FSQ(8, (4, 4, 3)), decoder, sample_rate=rate)
        frames = rate / hop
        bins = 3 * hop // 2 + 1
        encoder = convolution(1, bins, 6, 3) + convnext(1, 6) + linear(1, 6, 8)
        head = linear(1, 6, 4 * (hop * 3 // 2) + 2)
        expected = [encoder, linear(1, 8, 3, 8), convolution(1, 8, 6, 7) + convnext(1, 6) + head]
        for seconds in (0.001, 0.33, 1.0):
            costs = codec_costs({"": codec}, seconds=seconds, repeats=0)
            assert [cost.macs_per_second for cost in costs[:3]] == pytest.approx([frames * n for n in expected])


def test_attention_over_a_clip_costs_in_proportion_to_its_length() -> None:
    codec = NeuralCodec(
        parts.SpectralEncoder(8, 320, width=6, depth=1),
        parts.FSQ(8),
        parts.VocosDecoder(Transformer(8, 32, depth=3, heads=2), 320),
    )
    short, long = (codec_costs({"": codec}, seconds=s, repeats=0)[2].macs_per_second for s in (1.0, 4.0))
    assert long - short == 3 * 50 * 2 * (200 - 50) * 32  # blocks, frames a second, both products, keys more, width


def test_counting_leaves_the_codec_as_it_was() -> None:
    """No training step of a codebook, no call of a hook, no weight changed; also in training mode."""
    module = CountingModule(mixed_codec())
    codec = module.codec.train()
    codec.encoder.eval()
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    codec_costs({"": codec}, seconds=0.1, repeats=0)
    assert (module.encoded, module.decoded) == (0, 0)
    codec_costs({"": codec}, seconds=0.1, repeats=1)
    assert codec.training and codec.quantizer.codebooks.training and not codec.encoder.layers.training
    assert all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())


def test_features_in_a_cache_count_and_time_as_computed(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    cache = parts.TeacherCache(str(tmp_path / "features"))
    encoder = parts.W2VBertEncoder(layers=1, config=SMALL_BERT, cache=cache)
    (cost,) = encoder_costs({"": encoder}, sample_rate=16_000, seconds=7 * 0.02, repeats=1)
    assert cost.macs_per_second == pytest.approx(w2v_bert(7, 14) / 0.14)  # the clip is padded as the encoder asks
    assert encoder.cache is cache and not (tmp_path / "features").exists()


class Counted(Encoder):
    """A product of known size per frame, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.hop_length = 8, 100
        self.linear = nn.Linear(100, 8, bias=False)
        self.conv = nn.Conv1d(8, 8, 3, padding=1, groups=8, bias=False)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.conv(self.linear(audio[:, 0].unflatten(-1, (-1, 100))).transpose(1, 2))


def test_encoders_are_compared() -> None:
    encoders = {"a": Counted(), "b": parts.SpectralEncoder(8, 320, width=64)}
    small, large = encoder_costs(encoders, sample_rate=16_000, repeats=5)
    assert (small.encoder, large.encoder) == ("a", "b")
    assert small.parameters == 800 + 24
    assert small.macs_per_second == pytest.approx(160 * (800 + 24))
    assert 0 < small.real_time_factor < large.real_time_factor < 1


class Reading(Counted):
    """Works on a number that is read from the audio."""

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return super().forward(audio / audio.abs().max().item())


def test_a_part_that_reads_values_is_not_counted() -> None:
    with pytest.raises(ValueError, match="Reading cannot be counted without values"):
        count_macs(Reading(), (1, 1, 200))
    (cost,) = encoder_costs({"": Reading()}, sample_rate=16_000, repeats=1)
    assert math.isnan(cost.macs_per_second) and cost.real_time_factor > 0 and cost.parameters == 824


def test_a_test_run_reports_the_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = CostReport(0.5, repeats=1)
    codec = mixed_codec()  # whose attention makes the figures depend on the clip
    clips = loader([clip("a", np.zeros(3_200, np.float32))])
    trainer(tmp_path, [report]).test(CountingModule(codec), clips, verbose=False)
    document = json.loads((tmp_path / "costs.json").read_text())
    assert document["seconds"] == 0.5
    assert [row["part"] for row in document["costs"]] == ["encoder", "quantizer", "decoder", "codec"]
    expected = codec_costs({"": codec}, seconds=0.5, repeats=0)
    assert [row["macs_per_second"] for row in document["costs"]] == [cost.macs_per_second for cost in expected]
    assert all(row["real_time_factor"] > 0 for row in document["costs"])
    table = capsys.readouterr().out
    assert f"{expected[3].macs_per_second / 1e6:,.1f}" in table and "nan" not in table


def test_costs_that_were_not_measured_are_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = loader([clip("a", np.zeros(3_200, np.float32))])
    trainer(tmp_path, [CostReport(repeats=0)]).test(CountingModule(tiny_codec()), clips, verbose=False)
    rows = json.loads((tmp_path / "costs.json").read_text())["costs"]
    assert {row["real_time_factor"] for row in rows} == {None}
    assert "none" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"seconds": -1.0}, {"repeats": -1}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CostReport(**wrong)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        codec_costs({"": tiny_codec()}, **wrong)
