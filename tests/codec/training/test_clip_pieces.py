"""Long clips in prediction: pieces together are the undivided prediction; they come in order, one clip at a time."""

import itertools
import math

import pytest
import torch

from codec import FSQ, CodecModule, ConvNeXtBackbone, NeuralCodec, SpectralEncoder, TransformerBackbone, VocosDecoder
from codec.training.clip_pieces import CodedPieces, ResampledPieces, resample_at_any_ratio
from codec.training.comparison_module import ComparisonModule, System, resample

RATE = 8_000


def codec_with(backbone=None, *, hop=80, output_hop=120, rate=RATE):
    torch.manual_seed(0)
    backbone = backbone or ConvNeXtBackbone(16, 16, depth=1)
    decoder = VocosDecoder(backbone, output_hop)
    return NeuralCodec(SpectralEncoder(16, hop, width=8, depth=1), FSQ(16, (4,) * 3), decoder, sample_rate=rate).eval()


def sound(seconds, rate=RATE):
    return 0.3 * torch.randn(1, 1, round(seconds * rate), generator=torch.Generator().manual_seed(1))


def batches(audio, samples, name="clip"):
    """The batches of one clip, as the data module gives them."""
    found = audio.split(samples, -1)
    return [
        {"audio": piece, "id": [name], "piece": torch.tensor([k]), "pieces": torch.tensor([len(found)])}
        for k, piece in enumerate(found)
    ]


def joined(outputs):
    return {name: torch.cat([output[name] for output in outputs], -1) for name in ("audio", "codes")}


@pytest.mark.parametrize(("seconds", "samples"), [(90.0, 160_000), (61.3337, 30_000), (40.0, 320_000), (31.0, 7_777)])
def test_the_pieces_of_a_bounded_codec_are_the_undivided_prediction(seconds, samples):
    module, audio = CodecModule(codec_with()).eval(), sound(seconds)
    with torch.inference_mode():
        whole = module.predict_step({"audio": audio, "id": ["clip"]}, 0)
        outputs = [module.predict_step(batch, k) for k, batch in enumerate(batches(audio, samples))]
    assert CodedPieces(module.codec, RATE).is_exact
    together = joined(outputs)
    assert torch.equal(together["codes"], whole["codes"])
    assert together["audio"].shape == whole["audio"].shape == (1, 1, math.ceil(audio.shape[-1] * 1.5))
    torch.testing.assert_close(together["audio"], whole["audio"], atol=1e-5, rtol=0)
    assert outputs[-1]["length"] == whole["length"] and outputs[-1]["id"] == ["clip"]
    longest = max(output["audio"].shape[-1] for output in outputs)
    assert longest <= 1.5 * (samples + 60 * RATE)  # what a piece completes, never the clip


def test_an_unbounded_decoder_comes_near():
    codec, audio = codec_with(TransformerBackbone(16, 32, depth=2, heads=2)), sound(80)
    coded = CodedPieces(codec, RATE)
    assert not coded.is_exact
    with torch.inference_mode():
        parts = audio.split(20 * RATE, -1)
        found = joined([coded.push(part, last=k == len(parts) - 1) for k, part in enumerate(parts)])
        whole = codec(audio)
    assert torch.equal(found["codes"], whole.codes)
    error = (found["audio"] - whole.audio).square().mean() / whole.audio.square().mean()
    assert 0 < error < 0.1


@pytest.mark.parametrize(("old", "new"), [(16_000, 24_000), (24_000, 16_000), (16_000, 44_100), (8_000, 8_000)])
@pytest.mark.parametrize("samples", [1, 3_000, 50_001])
def test_resampled_pieces_are_the_whole_resampled(old, new, samples):
    audio = sound(samples / old, old)[..., :samples]
    resampled = ResampledPieces(old, new)
    parts = [out for piece in audio.split(1_234, -1) for out in resampled.push(piece)] + list(resampled.finish())
    torch.testing.assert_close(torch.cat(parts, -1), resample(audio, old, new), atol=1e-6, rtol=0)


def test_a_comparison_predicts_pieces_with_each_codec_at_its_rates():
    systems = [
        System("narrow", codec=codec_with()),
        System("wide", codec=codec_with(hop=160, output_hop=160, rate=16_000)),
    ]
    module, audio = ComparisonModule(systems, sample_rate=RATE).eval(), sound(70.01)
    with torch.inference_mode():
        whole = module.predict_step({"audio": audio, "id": ["clip"]}, 0)["systems"]
        outputs = [module.predict_step(batch, 0)["systems"] for batch in batches(audio, 100_000)]
    for system in ("narrow", "wide"):
        together = joined([output[system] for output in outputs])
        assert torch.equal(together["codes"], whole[system]["codes"])
        torch.testing.assert_close(together["audio"], whole[system]["audio"], atol=1e-5, rtol=0)
        assert outputs[-1][system]["length"] == whole[system]["length"]


def test_a_piece_out_of_order_is_refused_and_a_new_clip_starts_anew():
    module = CodecModule(codec_with()).eval()
    first, second, third = batches(sound(3), RATE)
    for order in ([second], [first, third], [first, first | {"piece": torch.tensor([1]), "id": ["other"]}]):
        with pytest.raises(ValueError, match="does not follow"), torch.inference_mode():
            list(itertools.starmap(module.predict_step, zip(order, range(3), strict=False)))
    with torch.inference_mode():
        module.predict_step(first, 0)  # a clip that ends before its last piece
        outputs = [module.predict_step(batch, 0) for batch in (first, second, third)]
    assert joined(outputs)["audio"].shape[-1] == 3 * RATE * 3 // 2


@pytest.mark.parametrize(("old", "new"), [(44_100, 16_000), (8_000, 16_000), (48_000, 16_000), (16_000, 24_000)])
def test_the_filter_of_any_ratio_is_that_of_the_common_ones(old, new):
    audio = sound(0.51, old)
    torch.testing.assert_close(resample_at_any_ratio(audio, old, new), resample(audio, old, new), atol=5e-6, rtol=0)


def test_rates_without_a_common_factor_take_no_large_filter():
    resampled = ResampledPieces(48_001, 16_000)
    tone = (torch.arange(72_000) * 2 * math.pi * 440 / 48_001).sin()[None, None]
    found = torch.cat([*resampled.push(tone), *resampled.finish()], -1)
    expected = (torch.arange(found.shape[-1]) * 2 * math.pi * 440 / 16_000).sin()
    assert found.shape[-1] == -(-72_000 * 16_000 // 48_001)
    assert (found[0, 0] - expected)[500:-500].abs().max() < 2e-3
