"""Recognisers and speaker encoders of transformers: small models with random weights, read from a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from callbacks.metrics import SpeakerSimilarity, TransformersRecogniser, TransformersXVector, WordErrorRate
from codec.errors import UnreadableFile
from tests.support.codec_fakes import RATE
from tests.support.speech import speech_like

transformers = pytest.importorskip("transformers")
SPEECH = speech_like(0, 1.5).astype(np.float64)
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
         "conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (8, 8), "num_feat_extract_layers": 2,
         "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}  # fmt: skip


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec 2 with the letters a to e."""
    folder = tmp_path_factory.mktemp("tiny_wav2vec2")
    letters = ["<pad>", "<unk>", "|", *"abcde"]
    (folder / "vocab.json").write_text(str({letter: place for place, letter in enumerate(letters)}).replace("'", '"'))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>", word_delimiter_token="|"
    )
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True)
    torch.manual_seed(0)
    model = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(vocab_size=len(letters), pad_token_id=0, **SMALL))
    for part in (tokenizer, extractor, model):
        part.save_pretrained(folder)
    return folder


def test_the_text_is_that_of_the_pipeline(recogniser: Path) -> None:
    own = TransformersRecogniser(str(recogniser))
    pipeline = transformers.pipeline("automatic-speech-recognition", model=str(recogniser), device="cpu")
    expected = pipeline({"raw": SPEECH.astype(np.float32), "sampling_rate": RATE})["text"]
    assert own.text(SPEECH, RATE) == expected != ""
    assert own.name.startswith("tiny_wav2vec2")
    metric = WordErrorRate(own)
    assert metric.name == f"wer_original_{own.name}" and metric(SPEECH, SPEECH, RATE) == 0


def test_x_vectors_are_those_of_the_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.WavLMConfig(**SMALL, tdnn_dim=(16, 16), tdnn_kernel=(3, 1), tdnn_dilation=(1, 1),
                                      xvector_output_dim=8)  # fmt: skip
    model = transformers.WavLMForXVector(config).eval()
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True)
    for part in (model, extractor):
        part.save_pretrained(tmp_path)
    noisy = SPEECH + 0.1 * np.random.default_rng(0).standard_normal(len(SPEECH))
    with torch.no_grad():
        signals = [x.astype(np.float32).clip(-1, 1) for x in (SPEECH, noisy)]
        vectors = [model(**extractor(x, sampling_rate=RATE, return_tensors="pt")).embeddings[0] for x in signals]
    metric = SpeakerSimilarity(TransformersXVector(str(tmp_path)))
    assert metric(SPEECH, noisy, RATE) == pytest.approx(float(torch.cosine_similarity(*vectors, dim=0)), abs=1e-5)
    assert metric.worst == -1 and metric.name.startswith("sim_")


@pytest.mark.parametrize("part", [TransformersRecogniser, TransformersXVector], ids=["recogniser", "x_vector"])
def test_no_model_is_one_sentence(part: type, tmp_path: Path) -> None:
    made = part(str(tmp_path))
    with pytest.raises(UnreadableFile, match="can be read from") as caught:
        made.text(SPEECH, RATE) if part is TransformersRecogniser else made.embedding(SPEECH, RATE)
    assert "\n" not in str(caught.value)
