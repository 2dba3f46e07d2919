"""Kaldi's filter bank: equal to torchaudio's for each clip, in float32 under autocast, and as transformers has it."""

import pytest
import torch
from torchaudio.compliance import kaldi

from codec.layers.fbank import KaldiFilterbank
from tests.support.training import voice


def reference(clip: torch.Tensor) -> torch.Tensor:
    return kaldi.fbank(clip, num_mel_bins=80, sample_frequency=16_000, window_type="povey", dither=0.0)


@pytest.mark.parametrize("samples", [400, 559, 560, 4_000, 16_001])
def test_each_clip_equals_torchaudios(samples):
    audio = voice(3, size=3, samples=samples)[:, 0] * 2**15
    audio[1] *= 1e-3
    found = KaldiFilterbank()(audio)
    for clip, features in zip(audio, found, strict=True):
        torch.testing.assert_close(features, reference(clip[None]), atol=1e-4, rtol=1e-5)


def test_silence_and_a_constant_have_the_least_energy():
    for audio in (torch.zeros(1, 800), torch.full((1, 800), 100.0)):
        torch.testing.assert_close(KaldiFilterbank()(audio)[0], reference(audio), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_is_float32_under_autocast_and_in_no_checkpoint(dtype):
    filterbank, audio = KaldiFilterbank(), voice(0)[:, 0] * 2**15
    expected = filterbank(audio)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(filterbank(audio), expected)
    assert not filterbank.state_dict()


@pytest.mark.parametrize("edge", [0, 160])
def test_the_semantic_encoders_input_is_that_of_transformers(edge):
    """SeamlessM4T's feature extractor, which w2v-BERT 2.0 ships with."""
    transformers = pytest.importorskip("transformers")
    from codec.encoders.w2v_bert import W2VBert

    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=2)
    small = dict(hidden_size=32, num_attention_heads=2, intermediate_size=48, output_hidden_size=32)
    audio = voice(5, size=2, samples=8_160)
    found = W2VBert(layers=1, config=small, edge_padding=edge).spectrogram(audio[:, 0])
    for clip, features in zip(audio, found, strict=True):
        padded = torch.nn.functional.pad(clip[0], (edge, edge)).numpy()
        expected = extractor(padded, sampling_rate=16_000, return_tensors="pt").input_features[0]
        torch.testing.assert_close(features, expected[: len(features)], atol=2e-4, rtol=1e-4)
