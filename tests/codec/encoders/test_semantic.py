"""The semantic encoder and its loss: frozen features, gradients by value, caching, padding, compilation."""

import pytest
import torch

pytest.importorskip("transformers")

from codec import (
    FSQ,
    AcousticEncoder,
    CodecModule,
    DoubleTanhBound,
    FusedEncoder,
    NeuralCodec,
    SemanticReconstruction,
    SpectralEncoder,
    TeacherCache,
    TransformerBackbone,
    VocosDecoder,
    W2VBertEncoder,
)  # fmt: skip
from codec.encoders.semantic import W2VBert
from codec.layers.anti_aliased import by_convolution
from codec.training.losses import LossInputs
from tests.support.transformers_models import speech_like

SMALL = dict(hidden_size=32, num_attention_heads=2, intermediate_size=48, output_hidden_size=32)


def semantic(**options) -> W2VBertEncoder:
    torch.manual_seed(0)
    return W2VBertEncoder(layers=1, config=SMALL, **options)


def small_codec(**options) -> NeuralCodec:
    encoder = FusedEncoder(AcousticEncoder(32, 2), semantic(**options), dim=64)
    backbone = TransformerBackbone(64, 32, depth=1, heads=2)
    return NeuralCodec(encoder, FSQ(64, bound=DoubleTanhBound()), VocosDecoder(backbone, 480))


def test_frozen_features_have_no_gradient_and_stay_in_eval_mode():
    encoder = semantic().train()
    assert encoder.training and not encoder.frozen.training and not encoder.frozen.model.training
    assert not any(p.requires_grad for p in encoder.frozen.parameters())
    encoder(encoder.whole_frames(speech_like(6_400))).sum().backward()
    assert all(p.grad is not None for p in encoder.adapter.parameters())


@pytest.mark.parametrize("edge", [0, 160])
@pytest.mark.parametrize("length", [1, 319, 320, 321, 16_000])
def test_a_frame_for_each_hop_begun(edge, length):
    codec = small_codec(edge_padding=edge)
    codes = codec.encode(speech_like(length))
    assert codes.shape[-1] == -(-length // 320)


def test_the_loss_reaches_its_own_weights_and_the_quantizer_alone_decides_its_input():
    codec, loss = small_codec(), SemanticReconstruction(64, 32)
    loss.attach(codec)
    output = codec(speech_like(6_400))
    value = loss(LossInputs(codec, output, None))
    features = codec.encoder.semantic.features[..., :20]
    decoded = loss.decoder(loss.project(output.z_q.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(value, (decoded - features).square().mean())
    value.backward()
    assert codec.encoder.acoustic.layers[0].bias.grad.abs().sum() > 0
    assert loss.decoder.last.weight.grad.abs().sum() > 0 and codec.decoder.head.weight.grad is None


def test_the_module_trains_its_weights_beside_the_codecs():
    module = CodecModule(small_codec(), losses=[SemanticReconstruction(64, 32)])
    (optimizer,) = module.configure_optimizers()
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in module.semantic.parameters()} <= owned
    assert not {id(p) for p in module.codec.encoder.semantic.frozen.parameters()} & owned
    assert not any(name.startswith("semantic.encoder") for name in module.state_dict())


@pytest.fixture(autouse=True)
def mel_loss_at_24_khz(monkeypatch):
    from codec.training import codec_module

    original = codec_module.MultiScaleMelLoss
    monkeypatch.setattr(codec_module, "MultiScaleMelLoss", lambda rate=24_000: original(rate, [256], mels=[20]))


@pytest.mark.parametrize(("codec", "loss", "sentence"), [
    (lambda: NeuralCodec(SpectralEncoder(32, width=8, depth=1), FSQ(32), VocosDecoder(
        TransformerBackbone(32, 32, depth=1, heads=2))), SemanticReconstruction(32, 32), "has a W2VBertEncoder"),
    (small_codec, SemanticReconstruction(64, 48), "features of width 48, but the codec has 64 and 32"),
])  # fmt: skip
def test_a_codec_without_fitting_features_is_refused(codec, loss, sentence):
    with pytest.raises(ValueError, match=sentence):
        loss.attach(codec())


def test_features_are_cached_on_disk(tmp_path):
    encoder = semantic(cache=TeacherCache(str(tmp_path)))
    audio = encoder.whole_frames(speech_like(6_400))
    first = encoder(audio)
    encoder.frozen.forward = None  # a second run must not need it
    assert torch.equal(encoder(audio), first)
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_unreadable_weights_and_short_clips_end_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"No w2v-BERT can be read from .*: give a folder"):
        W2VBertEncoder(str(tmp_path))
    model = W2VBert(layers=1, config=SMALL).model
    model.save_pretrained(tmp_path / "one")
    with pytest.raises(ValueError, match="it has 1 layers, fewer than 2"):
        W2VBertEncoder(str(tmp_path / "one"), layers=2, config=SMALL)
    with pytest.raises(ValueError, match="differs from the published model: state under config hidden_size 32"):
        W2VBertEncoder(str(tmp_path / "one"), layers=1)
    kept = W2VBertEncoder(str(tmp_path / "one"), layers=1, config=SMALL).frozen.model.state_dict()
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())
    with pytest.raises(ValueError, match="A clip of 100 samples is too short"):
        semantic().frozen(torch.zeros(1, 1, 100))


@pytest.mark.slow
@pytest.mark.parametrize("device_path", ["operator", "convolutions"])
def test_encoder_and_decoder_compile_in_one_graph_in_bf16(monkeypatch, device_path):
    """No graph break in acoustic encoder, quantizer, decoder and iSTFT head; same numbers as without."""
    if device_path == "convolutions":
        monkeypatch.setattr("codec.layers.activations.anti_aliased_snake", by_convolution)
    torch.manual_seed(0)
    parts = (AcousticEncoder(64, 2), FSQ(64), VocosDecoder(TransformerBackbone(64, 32, depth=1, heads=2)))
    codec = NeuralCodec(*parts).eval()
    torch._dynamo.reset()
    compiled = torch.compile(lambda audio: codec(audio).audio, fullgraph=True, backend="eager")
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        torch.testing.assert_close(compiled(speech_like(3_200)), codec(speech_like(3_200)).audio)


def test_checkpointing_changes_no_gradient():
    audio = speech_like(3_200)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        encoder = AcousticEncoder(32, 2, checkpointing=checkpointing)
        backbone = TransformerBackbone(32, 32, depth=2, heads=2, checkpointing=checkpointing)
        codec = NeuralCodec(encoder, FSQ(32), VocosDecoder(backbone)).train()
        torch.manual_seed(1)
        codec(audio).audio.square().mean().backward()
        gradients.append([p.grad for p in codec.parameters()])
    for plain, saved in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, saved)
