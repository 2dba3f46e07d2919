"""Published checkpoints in and out: codes and audio of transformers' models, bit-identical returns, broken inputs."""

import json
import os
import sys

import pytest
import torch

transformers = pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402

from codec import load_codec  # noqa: E402
from codec.checkpoints.reading import read_checkpoint  # noqa: E402
from codec.checkpoints.safetensors import write_safetensors  # noqa: E402
from codec.hub import export_codec, import_codec  # noqa: E402
from codec.hub.__main__ import main  # noqa: E402
from tests.support.transformers_models import features, original_layout, small_model, speech_like  # noqa: E402

HEADS = dict(num_attention_heads=16, num_key_value_heads=16, head_dim=4)  # the original layout does not tell them
SIXTEEN = dict(model_type="wav2vec2-bert", hidden_size=32, num_hidden_layers=16, intermediate_size=4096)


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture(scope="module", params=["neucodec", "xcodec2"])
def model(request):
    return small_model(request.param)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "model"
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def codec(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported") / "codec.safetensors"
    import_codec(str(folder), out)
    return load_codec(out)


@torch.no_grad()
@pytest.mark.parametrize("frames", [2, 50, 173])
def test_codes_and_audio_are_the_models_own(model, codec, frames):
    audio = speech_like(320 * frames, seed=frames)
    theirs = model.encode(**features(model, audio)).audio_codes[..., :frames]
    ours = codec.encode(audio)
    assert ours.shape == theirs.shape
    assert (ours == theirs).float().mean() >= 0.999
    assert frames == 2 or len(theirs.unique()) > frames / 3
    wanted = model.decode(theirs).audio_values
    assert (codec.decode(ours) - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@torch.no_grad()
def test_a_clip_of_odd_length_has_a_frame_for_each_hop_begun(model, codec):
    audio = speech_like(320 * 20 + 123)
    codes = codec.encode(audio)
    assert codes.shape[-1] == 21
    if model.config.model_type == "xcodec2":  # which pads likewise
        assert torch.equal(codes, model.encode(**features(model, audio)).audio_codes.long())


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_exported_again_the_state_is_bit_identical(model, folder, tmp_path, suffix):
    import_codec(str(folder), tmp_path / f"codec{suffix}")
    if suffix == ".ckpt":
        assert read_checkpoint(tmp_path / "codec.ckpt")["format_version"] == 1
    name = export_codec(tmp_path / f"codec{suffix}", tmp_path / "again")
    again = transformers.AutoModel.from_pretrained(tmp_path / "again")
    assert type(again) is type(model) and name == type(model).__name__
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "again")
    assert type(extractor) is type(transformers.FEATURE_EXTRACTOR_MAPPING[type(model.config)]())


@torch.no_grad()
@pytest.mark.parametrize("family", ["neucodec", "xcodec2"])
def test_the_original_layout_gives_the_same_model(tmp_path, family):
    model = small_model(family, **HEADS, semantic_model_config=SIXTEEN)
    weights = original_layout(model, semantic=family == "xcodec2")
    for name in (
        "CodecEnc.conv_blocks.1.block.2.block.3.weight_g", "CodecEnc.conv_blocks.5.block.3.act.alpha",
        "generator.backbone.prior_net.1.norm2.bias", "generator.backbone.transformers.1.ffn_norm.weight",
        "SemanticEncoder_module.residual_blocks.3.weight", "generator.head.out.bias", "fc_post_a.weight",
    ):  # fmt: skip
        assert name in weights
    torch.save(weights, tmp_path / "pytorch_model.bin")
    model.semantic_encoder.save_pretrained(tmp_path / "w2v-bert")
    out = tmp_path / "codec.safetensors"
    import_codec(str(tmp_path / "pytorch_model.bin"), out, semantic=str(tmp_path / "w2v-bert"))
    kept = read_checkpoint(out)["state_dict"]
    assert torch.equal(kept["semantic.project.weight"], weights["fc_post_s.weight"])
    assert torch.equal(kept["semantic.decoder.last.weight"], weights["SemanticDecoder_module.final_conv.weight"])
    codec, audio = load_codec(out), speech_like(16_000)
    theirs = model.encode(**features(model, audio)).audio_codes[..., :50]
    assert (codec.encode(audio) == theirs).float().mean() >= 0.98  # the norms multiply out to the last bit but one
    wanted = model.decode(theirs).audio_values
    assert (codec.decode(theirs.long()) - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    export_codec(out, tmp_path / "again")
    again = transformers.AutoModel.from_pretrained(tmp_path / "again").state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again[name], value, atol=1e-6, rtol=1e-6)


def test_weight_norm_is_folded_on_export(codec, folder, model, tmp_path):
    """A codec trained afresh has weight norm; its export decodes and encodes alike."""
    block = import_codec(str(folder), tmp_path / "plain.ckpt")
    block["init_args"]["encoder"]["init_args"]["acoustic"]["init_args"]["weight_norm"] = True
    from codec.checkpoints.building import build_codec
    from codec.hub.importing import write_checkpoint

    torch.manual_seed(1)
    normed = build_codec(block).eval()
    write_checkpoint(tmp_path / "normed.ckpt", {f"codec.{k}": v for k, v in normed.state_dict().items()}, block)
    export_codec(tmp_path / "normed.ckpt", tmp_path / "out")
    again = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    audio = speech_like(6_400)
    with torch.no_grad():
        theirs = again.acoustic_encoder(audio)
        torch.testing.assert_close(normed.encoder.acoustic(audio), theirs, atol=1e-4, rtol=1e-4)


# -- broken inputs -----------------------------------------------------------------------------------------------


def refused(capsys, *words) -> str:
    """The one sentence with which the command ends."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def copy(folder, tmp_path):
    """The published folder, to be broken."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_missing_weights_are_named(model, copy, capsys):
    weights = {k: v.contiguous() for k, v in model.state_dict().items() if "prior_net.1.conv2" not in k}
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    sentence = refused(capsys, "import", copy, copy / "out.ckpt")
    assert "there is no decoder.backbone.prior.1.block.6." in sentence
    assert not (copy / "out.ckpt").exists()


def test_other_levels_are_named(copy, capsys):
    config = json.loads((copy / "config.json").read_text())
    config["quantization_levels"] = [8, 8, 8, 5, 5, 5]
    (copy / "config.json").write_text(json.dumps(config))
    sentence = refused(capsys, "import", copy, copy / "out.ckpt")
    assert "project_in.weight is [8, 96], not [6, 96]" in sentence


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_damaged(copy, capsys, share):
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: int(share * len(whole))])
    assert "is damaged or not a safetensors file" in refused(capsys, "import", copy, copy / "out.ckpt")


def test_a_truncated_original_is_damaged(tmp_path, capsys):
    torch.save({"fc_post_a.weight": torch.zeros(1000)}, tmp_path / "pytorch_model.bin")
    whole = (tmp_path / "pytorch_model.bin").read_bytes()
    (tmp_path / "pytorch_model.bin").write_bytes(whole[:1500])
    assert "is damaged or holds more than weights" in refused(capsys, "import", tmp_path, tmp_path / "out.ckpt")


def test_code_in_a_pickle_does_not_run(tmp_path, capsys):
    torch.save({"fc_post_a.weight": Payload(tmp_path / "owned")}, tmp_path / "pytorch_model.bin")
    sentence = refused(capsys, "import", tmp_path / "pytorch_model.bin", tmp_path / "out.ckpt")
    assert "nothing in it has been run" in sentence
    assert not (tmp_path / "owned").exists()


def test_no_internet_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub

    def unreachable(*_, **__):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    sentence = refused(capsys, "import", "neuphonic/neucodec", tmp_path / "out.ckpt")
    assert "cannot be fetched from the hub (Name or service not known)" in sentence


@pytest.mark.parametrize(("words", "sentence"), [
    (["import", "nowhere", "out.ckpt"], "There is no nowhere: give a file, a folder or a hub id"),
    (["import", "nowhere", "out.pt"], "out.pt must end in .safetensors or .ckpt."),
    (["export", "nowhere.ckpt", "out"], "There is no checkpoint nowhere.ckpt"),
])  # fmt: skip
def test_wrong_options_are_named(capsys, words, sentence):
    assert sentence in refused(capsys, *words)


def test_nothing_is_overwritten(folder, tmp_path, capsys):
    (tmp_path / "mine.ckpt").write_text("precious")
    assert "exists already" in refused(capsys, "import", folder, tmp_path / "mine.ckpt")
    assert "its folder does not" in refused(capsys, "import", folder, tmp_path / "none" / "out.ckpt")
    import_codec(str(folder), tmp_path / "codec.safetensors")
    assert "is not an empty folder" in refused(capsys, "export", tmp_path / "codec.safetensors", tmp_path)
    assert (tmp_path / "mine.ckpt").read_text() == "precious"


def test_weights_that_are_not_finite_are_named(model, copy, capsys):
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    weights["fc_encoder.bias"][3] = torch.nan
    save_file(weights, copy / "model.safetensors")
    assert "not finite or not real in codec.encoder.project.bias" in refused(capsys, "import", copy, copy / "out.ckpt")


def test_sizes_beyond_the_file_are_refused_at_once(copy, capsys):
    config = json.loads((copy / "config.json").read_text()) | {"num_hidden_layers": 10**9}
    (copy / "config.json").write_text(json.dumps(config))
    assert "states 1000000000 layers" in refused(capsys, "import", copy, copy / "out.ckpt")


def test_a_flipped_bit_in_the_original_is_found(tmp_path, capsys):
    torch.save({"fc_post_a.weight": torch.zeros(1000)}, tmp_path / "pytorch_model.bin")
    whole = bytearray((tmp_path / "pytorch_model.bin").read_bytes())
    whole[len(whole) // 2] ^= 1
    (tmp_path / "pytorch_model.bin").write_bytes(whole)
    assert "checksum" in refused(capsys, "import", tmp_path, tmp_path / "out.ckpt")


def test_a_causal_decoder_is_not_exported(folder, tmp_path, capsys):
    block = import_codec(str(folder), tmp_path / "codec.safetensors")
    weights = read_checkpoint(tmp_path / "codec.safetensors")["state_dict"]
    block["init_args"]["decoder"]["init_args"]["backbone"]["init_args"]["causal"] = True
    write_safetensors(tmp_path / "causal.safetensors", weights, codec_config=block)
    sentence = refused(capsys, "export", tmp_path / "causal.safetensors", tmp_path / "out")
    assert "the decoder's causality is True, not False" in sentence


@pytest.mark.parametrize("name", [
    "semantic_adapter.conv1.weight", "fc_encoder.bias", "fc_encoder.weight", "acoustic_encoder.conv1.weight",
    "quantizer.project_in.bias", "acoustic_decoder.layers.0.self_attn.q_proj.weight",
])  # fmt: skip
def test_any_missing_weight_ends_in_one_sentence(model, copy, capsys, name):
    save_file({k: v.contiguous() for k, v in model.state_dict().items() if k != name}, copy / "model.safetensors")
    assert "is not a complete" in refused(capsys, "import", copy, copy / "out.ckpt")


def test_broken_original_weights_end_in_one_sentence(tmp_path, capsys):
    whole = original_layout(small_model("xcodec2", **HEADS))
    broken = {
        "SemanticEncoder_module.initial_conv.weight": None,
        "fc_prior.bias": None,
        "CodecEnc.conv_blocks.0.weight_g": torch.ones(3, 1, 1),
        "fc_post_a.weight": torch.ones(60, 96),
        "generator.backbone.embed.weight": torch.tensor(1.0),
    }
    for name, value in broken.items():
        weights = {k: v for k, v in (whole | {name: value}).items() if v is not None}
        torch.save(weights, tmp_path / "pytorch_model.bin")
        assert "is not a complete" in refused(capsys, "import", tmp_path / "pytorch_model.bin", tmp_path / "out.ckpt")


def test_original_weights_beside_a_configuration_are_told_by_their_names(tmp_path):
    model = small_model("xcodec2", **HEADS, semantic_model_config=SIXTEEN)
    save_file(original_layout(model), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "bigcodec"}')
    block = import_codec(str(tmp_path), tmp_path / "codec.ckpt")
    assert block["init_args"]["decoder"]["init_args"]["hop_length"] == 320


def test_another_architecture_is_refused(copy, capsys):
    config = json.loads((copy / "config.json").read_text())
    config["hidden_act"], config["downsampling_ratios"] = "gelu", [2, 2, 4, 4, 4]
    (copy / "config.json").write_text(json.dumps(config))
    sentence = refused(capsys, "import", copy, copy / "out.ckpt")
    assert "hidden_act gelu (must be silu), product of downsampling_ratios 256 (must be 320)" in sentence
    config["model_type"] = "encodec"
    (copy / "config.json").write_text(json.dumps(config))
    assert "give one of neucodec or xcodec2" in refused(capsys, "import", copy, copy / "out.ckpt")
    (copy / "config.json").write_text("{")
    assert "config.json cannot be read" in refused(capsys, "import", copy, copy / "out.ckpt")


def test_what_transformers_models_do_not_have_is_not_exported(folder, tmp_path, capsys):
    block = import_codec(str(folder), tmp_path / "codec.safetensors")
    weights = read_checkpoint(tmp_path / "codec.safetensors")["state_dict"]
    block["init_args"]["decoder"]["init_args"]["backbone"]["init_args"]["positions"] = True
    write_safetensors(tmp_path / "timed.safetensors", weights, codec_config=block)
    sentence = refused(capsys, "export", tmp_path / "timed.safetensors", tmp_path / "out")
    assert "the decoder's positions (RoPE over time) is True, not False" in sentence
    assert "codec.hub" in sys.modules
