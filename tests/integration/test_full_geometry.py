"""NeuCodec's configurations: a batch at full size without the semantic encoder, narrowed ones with it."""

import resource

import pytest
import torch

from codec import load_codec
from tests.support.command_line import run, small
from tests.support.paths import CONFIGS

SMALL = """
model:
  init_args:
    codec:
      init_args:
        encoder:
          init_args:
            dim: 96
            acoustic: {init_args: {dim: 64, width: 2}}
            semantic:
              init_args:
                pretrained: null
                layers: 1
                config: {hidden_size: 32, num_attention_heads: 2, intermediate_size: 48, output_hidden_size: 32}
        quantizer: {init_args: {dim: 96}}
        decoder: {init_args: {backbone: {init_args: {dim: 96, width: 64, depth: 1}}}}
    losses: [{class_path: codec.SemanticReconstruction, init_args: {dim: 96, width: 32}}]
    compiled: false
    adversary: {discriminators: []}
"""


@pytest.fixture
def narrow(tmp_path):
    """Options that narrow a configuration with a semantic encoder."""
    pytest.importorskip("transformers")
    (tmp_path / "small.yaml").write_text(SMALL)
    return ["--config", tmp_path / "small.yaml"]


@pytest.mark.slow
def test_a_training_step_of_the_full_geometry(monkeypatch, tmp_path, speech, record_property):
    """224 M parameters and the full discriminators, a batch of one second, on the CPU."""
    words = [
        "--config",
        CONFIGS / "paper/neucodec.yaml",
        "--config",
        CONFIGS / "paper/no_semantic.yaml",
        *small(speech, tmp_path),
    ]
    words += ["--data.crop_seconds", "1.0", "--data.batch_size", "1", "--model.init_args.compiled", "false"]
    run(monkeypatch, "fit", *words, "--trainer.fast_dev_run", "1", "--trainer.limit_val_batches", "0")
    record_property("peak_gigabytes", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


@pytest.mark.parametrize("config", ["paper/neucodec.yaml", "paper/xcodec2.yaml"])
def test_with_a_semantic_encoder(monkeypatch, tmp_path, speech, narrow, config):
    words = ["--config", CONFIGS / config, *narrow, *small(speech, tmp_path)]
    words += ["--data.crop_seconds", "1.0", "--trainer.fast_dev_run", "1"]
    run(monkeypatch, "fit", *words)


@pytest.mark.slow
def test_released_weights_are_fine_tuned_and_distilled(monkeypatch, tmp_path, speech, narrow):
    """Import, fine-tune with the overlay, export; the imported file teaches a student."""
    from codec.hub import export_codec, import_codec
    from tests.support.transformers_models import small_model

    semantic = dict(model_type="wav2vec2-bert", hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    semantic |= dict(intermediate_size=48)
    sizes = dict(encoder_hidden_size=2, num_hidden_layers=1, num_attention_heads=16, num_key_value_heads=16, head_dim=4)
    model = small_model("neucodec", **sizes, intermediate_size=256, semantic_model_config=semantic)
    model.save_pretrained(tmp_path / "released")
    import_codec(str(tmp_path / "released"), tmp_path / "neucodec.safetensors")
    words = ["--config", CONFIGS / "paper/neucodec.yaml", "--config", CONFIGS / "paper/neucodec_released.yaml", *narrow]
    words += [*small(speech, tmp_path), "--data.crop_seconds", "0.5"]
    words += ["--trainer.limit_val_batches", "0", "--trainer.max_steps", "2", "--preflight.enabled", "false"]
    run(monkeypatch, "fit", *words)
    last = tmp_path / "neucodec" / "checkpoints" / "last.ckpt"
    before, after = load_codec(tmp_path / "neucodec.safetensors"), load_codec(last)
    frozen = after.encoder.semantic.frozen.state_dict()
    assert all(torch.equal(v, frozen[k]) for k, v in before.encoder.semantic.frozen.state_dict().items())
    assert not torch.equal(before.decoder.head.weight, after.decoder.head.weight)
    assert export_codec(last, tmp_path / "finetuned") == "NeuCodecModel"
    encoder = "--model.init_args.encoder.init_args"
    student = {
        f"{encoder}.dim": "96",
        f"{encoder}.acoustic": "{class_path: codec.MelEncoder, init_args: {dim: 8, bands: 20, width: 8}}",
        f"{encoder}.semantic": "{class_path: codec.MelEncoder, init_args: {dim: 8, bands: 20, width: 8}}",
        "--model.init_args.teacher": str(tmp_path / "neucodec.safetensors"),
        "--model.init_args.distillation_start": "0",
        "--model.init_args.adversary.discriminators": "[]",
    }
    words = ["--config", CONFIGS / "paper/distill_neucodec.yaml", *small(speech, tmp_path)]
    words += [word for item in student.items() for word in item]
    run(monkeypatch, "fit", *words, "--data.crop_seconds", "0.5", "--trainer.fast_dev_run", "1")
