"""Third-party codecs: small random models of each family, saved and loaded, agree with their own encode and decode."""

import json
import runpy
import sys
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F

from codec.channels.bitstream import bits_to_codes, codes_to_bits
from codec.codec import NeuralCodec
from codec.hub import transformers_codec, transformers_parts
from codec.hub.transformers_codec import TransformersCodec
from tests.support.building import build

transformers = pytest.importorskip("transformers")

SEMANTIC = dict(
    model_type="wav2vec2-bert", hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
)
FSQ = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
    head_dim=16, encoder_hidden_size=4, semantic_model_config=SEMANTIC, quantization_dim=64,
)  # fmt: skip
RVQ = dict(codebook_size=32, codebook_dim=16)
CONFIGS = {
    "encodec": lambda: transformers.EncodecConfig(
        **RVQ, num_filters=4, hidden_size=16, target_bandwidths=[0.75, 1.5, 3.0]
    ),
    "dac": lambda: transformers.DacConfig(
        **RVQ, encoder_hidden_size=4, decoder_hidden_size=32, downsampling_ratios=[2, 4, 5, 8], n_codebooks=8,
        sampling_rate=24_000,
    ),
    "mimi": lambda: transformers.MimiConfig(
        **RVQ, hidden_size=32, num_filters=4, num_hidden_layers=1, intermediate_size=64, num_attention_heads=2,
        num_key_value_heads=2, vector_quantization_hidden_dimension=16, num_quantizers=8, upsample_groups=32,
    ),
    "xcodec2": lambda: transformers.Xcodec2Config(**FSQ),
    "neucodec": lambda: transformers.NeuCodecConfig(**FSQ),
}  # fmt: skip
GAINS = {"encodec": 1.0, "dac": 0.6, "mimi": 1.0, "xcodec2": 0.3, "neucodec": 0.3}
RESIDUAL = ["encodec", "dac", "mimi"]
HOPS = {"encodec": 320, "dac": 320, "mimi": 1920, "xcodec2": 320, "neucodec": 320}


def small_model(family):
    """A random model whose codes take many values and whose audio depends on them."""
    torch.manual_seed(0)
    config = CONFIGS[family]()
    model = transformers.AutoModel.from_config(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=GAINS[family] / parameter[0].numel() ** 0.5)
        elif name.endswith("bias"):
            parameter.normal_(std=0.01)
    z = TransformersCodec.wrap(model).encoder(noise(9600))
    for name, buffer in model.named_buffers():
        if name.endswith(("embed", "embed_sum")):
            buffer.normal_(std=(z - z.mean((0, 2), keepdim=True)).std().item())
        if name.endswith("cluster_usage"):
            buffer.uniform_(0.5, 2.0)
    if family in ("xcodec2", "neucodec"):
        project = model.quantizer.project_in
        project.weight.div_(project(z.transpose(1, 2)).std())
        project.bias.sub_(project(z.transpose(1, 2)).mean((0, 1)))
    return model


def noise(length, batch=2):
    return torch.randn(batch, 1, length, generator=torch.Generator().manual_seed(length)) * 0.3


@pytest.fixture(scope="module", params=list(CONFIGS))
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "model"
    small_model(request.param).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return transformers.AutoModel.from_pretrained(folder).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def codec(folder):
    return TransformersCodec(str(folder))


@pytest.fixture(scope="module")
def family(model):
    return model.config.model_type


def own_codes(model, audio, codebooks):
    """Codes by the model's public interface and its preprocessing, as its users call it."""
    family, frames = model.config.model_type, -(-audio.shape[-1] // HOPS[model.config.model_type])
    if family == "encodec":
        return model.encode(audio, bandwidth=model.config.target_bandwidths[-1]).audio_codes[0][:, :codebooks]
    if family == "dac":
        whole = F.pad(audio, (0, -audio.shape[-1] % 320))
        return model.encode(whole, n_quantizers=codebooks).audio_codes
    if family == "mimi":
        return model.encode(audio, num_quantizers=codebooks).audio_codes
    if family == "neucodec":
        audio = F.pad(audio, (0, -audio.shape[-1] % 320))
    extractor = getattr(transformers, type(model).__name__.replace("Model", "FeatureExtractor"))()
    inputs = extractor(list(audio.squeeze(1).numpy()), sampling_rate=16_000, return_tensors="pt")
    return model.encode(**inputs).audio_codes[..., :frames].long()


def own_audio(model, codes):
    if model.config.model_type == "encodec":
        return model.decode(codes[None], [None]).audio_values
    return model.decode(audio_codes=codes).audio_values.view(codes.shape[0], 1, -1)


def assert_same_audio(audio, expected):
    """Equal to 1e-4 of the peak where the model gives samples, and silent where it gives none."""
    short = audio.shape[-1] - expected.shape[-1]
    assert 0 <= short <= 8
    assert (audio - F.pad(expected, (0, short))).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("frames", [0.001, 0.4, 1, 1.01, 3, 4.99, 12, 12.5])
def test_codes_and_audio_are_the_models_own_at_any_length(codec, model, family, frames):
    length = max(1, int(frames * HOPS[family]))
    audio = noise(length)
    codes = codec.encode(audio)
    count = -(-length // HOPS[family])
    assert (codes.shape, codes.dtype) == ((2, len(codec.quantizer.codebook_sizes), count), torch.int64)
    assert torch.equal(codes, own_codes(model, audio, codes.shape[1]))
    decoded = codec.decode(codes)
    assert decoded.shape == (2, 1, count * codec.decoder.hop_length)
    assert_same_audio(decoded, own_audio(model, codes))
    output = codec(audio)
    assert output.audio.shape[-1] == codec.output_length(length)
    assert torch.equal(output.codes, codes)
    torch.testing.assert_close(codec.decode(codes, length=codec.output_length(length)), output.audio)


def test_the_random_models_tell_frames_apart(codec, family):
    codes = codec.encode(noise(40 * HOPS[family]))
    assert all(len(codes[:, k].unique()) > 5 for k in range(codes.shape[1]))
    audio, other = codec.decode(codes), codec.decode(codes.flip(-1))
    assert (audio - other).abs().max() > 0.05 * audio.abs().max()


@pytest.mark.parametrize(
    ("family", "rates"),
    [
        ("encodec", (24_000, 24_000, 75.0, 40, 3000.0)),
        ("dac", (24_000, 24_000, 75.0, 40, 3000.0)),
        ("mimi", (24_000, 24_000, 12.5, 40, 500.0)),
        ("xcodec2", (16_000, 16_000, 50.0, 16, 800.0)),
        ("neucodec", (16_000, 24_000, 50.0, 16, 800.0)),
    ],
)
def test_rates_follow_from_the_configuration(family, rates):
    model = transformers.AutoModel.from_config(CONFIGS[family]()).train()
    codec = TransformersCodec.wrap(model)
    assert not model.quantizer.training
    names = ("sample_rate", "output_sample_rate", "frame_rate", "bits_per_frame", "bit_rate")
    assert tuple(getattr(codec, name) for name in names) == rates
    assert codec.hop_length == HOPS[family]


@pytest.mark.parametrize("family", RESIDUAL)
@pytest.mark.parametrize("kept", [1, 3])
def test_fewer_codebooks_are_the_first_ones_and_erasing_the_others_leaves_their_biases(family, kept):
    model = small_model(family)
    whole, codec = TransformersCodec.wrap(model), TransformersCodec.wrap(model, kept)
    audio = noise(5 * HOPS[family])
    codes, all_codes = codec.encode(audio), whole.encode(audio)
    assert torch.equal(codes, all_codes[:, :kept]) and torch.equal(codes, own_codes(model, audio, kept))
    assert codec.bits_per_frame == 5 * kept
    assert_same_audio(codec.decode(codes), own_audio(model, codes))
    torch.testing.assert_close(whole.decode(codes), codec.decode(codes), rtol=0, atol=0)
    with pytest.raises(ValueError, match=rf"\[2, 8, 5\] must be \[B, K, F\] of the first 1 to {kept}"):
        codec.decode(all_codes)
    erased = torch.zeros_like(all_codes, dtype=torch.bool)
    erased[:, kept:] = True
    zero = whole.quantizer.decode(all_codes, torch.ones_like(erased)) - codec.quantizer.decode(
        codes, torch.ones_like(codes, dtype=torch.bool)
    )  # the biases of the later projections
    expected = codec.quantizer.decode(codes) + zero
    torch.testing.assert_close(whole.quantizer.decode(all_codes, erased), expected, rtol=0, atol=1e-5)
    assert (whole.decode(all_codes) - codec.decode(codes)).abs().max() > 1e-3


def test_erased_frames_give_finite_audio_and_zero_before_the_projection(codec, model, family):
    codes = codec.encode(noise(6 * HOPS[family]))
    erased = torch.zeros_like(codes, dtype=torch.bool)
    erased[:, :, 2] = True
    latents = codec.quantizer.decode(codes, erased)
    kept = [0, 1, 3, 4, 5]
    torch.testing.assert_close(latents[..., kept], codec.quantizer.decode(codes)[..., kept], rtol=0, atol=0)
    zero = torch.zeros(codec.quantizer.dim)
    if family in ("xcodec2", "neucodec"):
        zero = model.quantizer.project_out.bias
    if family == "dac":
        zero = sum(stage.out_proj.bias for stage in model.quantizer.quantizers)
    torch.testing.assert_close(latents[..., 2], zero.expand(2, -1))
    means = codec.quantizer.decode_digits([
        [torch.full((1, 1, size), 1 / size) for size in digits] for digits in codec.quantizer.digits
    ])  # fmt: skip
    every = [torch.full((1, 1, size), 1 / size) for size in codec.quantizer.codebook_sizes]
    torch.testing.assert_close(means, codec.quantizer.decode_mean(every), rtol=1e-4, atol=1e-4)
    for lost in (erased, torch.ones_like(erased)):
        audio = codec.decode(codes, lost)
        assert audio.isfinite().all() and audio.shape[-1] == 6 * codec.decoder.hop_length
    assert not torch.equal(codec.decode(codes, erased), codec.decode(codes))


def test_digits_are_the_models_levels_least_significant_first(codec, model, family):
    if family in RESIDUAL:
        assert codec.quantizer.digits == ((32,),) * 8
        return
    (digits,) = codec.quantizer.digits
    codes = torch.randint(65_536, (1, 1, 50), generator=torch.Generator().manual_seed(0))
    levels = torch.stack([codes[0, 0] // 4**i % 4 for i in range(8)], -1)
    assert digits == (4,) * 8
    expected = model.quantizer.project_out((levels - 2) / 2)
    torch.testing.assert_close(codec.quantizer.decode(codes)[0].T, expected)
    assert torch.equal((levels * 4 ** torch.arange(8)).sum(-1), codes[0, 0])


def test_codes_survive_the_bitstream(codec, family):
    audio = noise(3 * HOPS[family] + 7)
    codes = codec.encode(audio)
    bits = codes_to_bits(codes, codec.quantizer.codebook_sizes)
    assert bits.shape == (2, 4 * codec.bits_per_frame)
    received = bits_to_codes(bits, codec.quantizer.codebook_sizes)
    assert torch.equal(received.codes, codes) and not received.erased.any()
    torch.testing.assert_close(codec.decode(received.codes, received.erased), codec.decode(codes), rtol=0, atol=0)


def test_a_codec_from_yaml_is_frozen_and_in_evaluation_mode(folder, model, family):
    kept = 2 if family in RESIDUAL else 1
    class_path = "codec.hub.transformers_codec.TransformersCodec"
    block = {"class_path": class_path, "init_args": {"source": str(folder), "codebooks": kept}}
    codec = build(block, NeuralCodec).train()
    assert not any(module.training for module in codec.modules())
    assert not any(parameter.requires_grad for parameter in codec.parameters())
    audio = noise(4 * HOPS[family]).requires_grad_()
    codec.load_state_dict(codec.state_dict())
    codes = codec.encode(audio)
    assert torch.equal(codes, own_codes(model, audio.detach(), kept))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codec.encode(audio), codes)
        z_q = codec.quantizer(codec.encoder(audio)).latents
        assert z_q.dtype == codec.decoder(z_q).dtype == torch.float32
    assert not any(tensor.requires_grad for tensor in codec(audio))


def test_mean_latents_are_those_of_the_code_where_it_is_certain_and_lie_between_two(codec, family):
    codes = codec.encode(noise(4 * HOPS[family], batch=1))
    sizes = codec.quantizer.codebook_sizes
    sure = [F.one_hot(codes[:, k], size).float() for k, size in enumerate(sizes)]
    other = [F.one_hot(codes[:, k].flip(-1), size).float() for k, size in enumerate(sizes)]
    decode, mean = codec.quantizer.decode, codec.quantizer.decode_mean
    torch.testing.assert_close(mean(sure), decode(codes), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"probabilities of shapes \[\[1, 4, "):
        mean([p[..., 1:] for p in sure])
    between = mean([0.75 * a + 0.25 * b for a, b in zip(sure, other, strict=True)])
    torch.testing.assert_close(between, 0.75 * decode(codes) + 0.25 * decode(codes.flip(-1)), rtol=0, atol=1e-5)


def test_mimis_cached_table_follows_its_weights():
    codec = TransformersCodec.wrap(small_model("mimi"))
    audio = noise(9600)
    codes, latents = codec.encode(audio), codec.quantizer.decode(codec.encode(audio))
    for name, buffer in codec.named_buffers():
        if name.endswith("embed_sum"):
            buffer.mul_(-1)
    assert not torch.equal(codec.encode(audio), codes)
    torch.testing.assert_close(codec.quantizer.decode(codes), -latents)


def test_the_folders_own_feature_extractor_is_used(tmp_path):
    model = small_model("neucodec")
    model.save_pretrained(tmp_path)
    transformers.NeuCodecFeatureExtractor(padding_value=0.5).save_pretrained(tmp_path)
    codec = TransformersCodec(str(tmp_path))
    assert codec.encoder.extractor.padding_value == 0.5
    assert torch.equal(codec.encode(noise(1600)), TransformersCodec.wrap(model).encode(noise(1600)))


def test_a_hub_id_is_fetched_as_settings_and_safetensors(tmp_path, monkeypatch):
    small_model("dac").save_pretrained(tmp_path)
    download = Mock(return_value=str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert TransformersCodec("someone/codec-1.0").bits_per_frame == 40
    assert download.call_args.args == ("someone/codec-1.0",)
    assert not any(name.endswith((".bin", ".pt", ".py", "*")) for name in download.call_args.kwargs["allow_patterns"])


def test_loading_is_silent_and_leaves_transformers_talkative(tmp_path, caplog, capfd):
    logging = transformers.utils.logging
    small_model("mimi").save_pretrained(tmp_path / "mimi")
    logging.set_verbosity_info()
    logging.enable_propagation()
    logging.enable_progress_bar()  # another test of this process may have left it off
    try:
        capfd.readouterr()
        TransformersCodec(str(tmp_path / "mimi"))
        with pytest.raises(ValueError, match="No codec can be read"):
            TransformersCodec(str(tmp_path))
        assert not caplog.records and capfd.readouterr() == ("", "")
        assert logging.get_verbosity() == logging.INFO and logging.is_progress_bar_enabled()
        transformers.AutoModel.from_pretrained(tmp_path / "mimi")
        assert caplog.records and capfd.readouterr().err
    finally:
        logging.set_verbosity_warning()
        logging.disable_propagation()


FIVE = "encodec, dac, mimi, xcodec2, neucodec"


def test_sources_without_a_codec_are_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    reasons = {source: "there is no such folder" for source in ("/no/such/folder", "../codec", "a/b/c")}
    reasons |= {"facebook/encodec_24khz": "cached snapshot", str(tmp_path): "No such file"}
    for source, reason in reasons.items():
        with pytest.raises(ValueError, match=f"No codec can be read from {source} .*{reason}.*{FIVE}") as caught:
            TransformersCodec(source)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr("huggingface_hub.snapshot_download", Mock(side_effect=OSError("No route.\nTry again.")))
    with pytest.raises(ValueError, match=r"codec-1 \(No route\): give"):
        TransformersCodec("someone/codec-1")
    transformers.BertConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"is of model_type bert: give a codec of {FIVE}"):
        TransformersCodec(str(tmp_path))
    with pytest.raises(ValueError, match=f"BertModel is of model_type bert: give a codec of {FIVE}"):
        TransformersCodec.wrap(
            transformers.BertModel(
                transformers.BertConfig(num_hidden_layers=1, hidden_size=12, vocab_size=9, intermediate_size=4)
            )
        )


def test_weights_must_be_whole_and_in_safetensors(tmp_path):
    model = small_model("dac")
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1000])
    with pytest.raises(ValueError, match="No codec can be read"):
        TransformersCodec(str(tmp_path))
    weights.unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no file named model\.safetensors"):
        TransformersCodec(str(tmp_path))
    weights.write_bytes(whole)
    settings = json.loads((tmp_path / "config.json").read_text())
    for change in ({"n_codebooks": 9}, {"codebook_size": 64}):
        (tmp_path / "config.json").write_text(json.dumps(settings | change))
        with pytest.raises(ValueError, match=r"No codec can be read .*quantizer\.quantizers"):
            TransformersCodec(str(tmp_path))


def test_unsupported_variants_and_codebook_counts_name_what_is_allowed():
    stereo = transformers.EncodecConfig(
        num_filters=4, hidden_size=16, audio_channels=2, normalize=True, chunk_length_s=1.0, overlap=0.01,
        sampling_rate=48_000, norm_type="time_group_norm", use_causal_conv=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"2 channels, normalize True and chunk_length_s 1\.0 .*encodec_24khz"):
        TransformersCodec.wrap(transformers.EncodecModel(stereo))
    odd = transformers.Xcodec2Config(**FSQ, downsampling_ratios=[2, 4, 5])
    with pytest.raises(ValueError, match="hop 40 of xcodec2's convolutions must be the 320 samples"):
        TransformersCodec.wrap(transformers.Xcodec2Model(odd))
    cases = (("encodec", 9, "1 and 8"), ("dac", 0, "1 and 8"), ("mimi", 1, "2 and 8"), ("neucodec", 2, "1 and 1"))
    for family, codebooks, allowed in cases:
        config = CONFIGS[family]()
        if family == "mimi":
            config.num_semantic_quantizers = 2
        with pytest.raises(ValueError, match=f"codebooks {codebooks} must lie between {allowed}, .* {family} model"):
            TransformersCodec.wrap(transformers.AutoModel.from_config(config), codebooks)


def test_transformers_is_needed_only_to_build_a_codec(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    for module in (transformers_codec, transformers_parts):
        runpy.run_path(module.__file__)
    with pytest.raises(ValueError, match=r"pip install '\.\[hf\]'"):
        TransformersCodec("facebook/encodec_24khz")
