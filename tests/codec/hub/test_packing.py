"""`python -m codec.hub pack`: weights alone, in half precision, and what comes out of them."""

import pytest
import torch
from safetensors.torch import load_file

from codec.checkpoints.building import build_codec
from codec.checkpoints.reading import load_codec
from codec.hub.__main__ import main
from codec.hub.packing import pack_codec, to_half

PARTS = {
    "sample_rate": 16_000,
    "encoder": {"class_path": "codec.SpectralEncoder", "init_args": {"dim": 16, "width": 16, "depth": 1}},
    "quantizer": {"class_path": "codec.FSQ", "init_args": {"dim": 16, "levels": [4, 4, 4]}},
    "decoder": {
        "class_path": "codec.VocosDecoder",
        "init_args": {"backbone": {"class_path": "codec.ConvNeXtBackbone", "init_args": {"dim": 16, "width": 16}}},
    },
}
RVQ = {
    "class_path": "codec.RVQ",
    "init_args": {"dim": 16, "codebooks": [{"class_path": "codec.EMACodebook", "init_args": {"size": 8, "dim": 4}}]},
}


@pytest.fixture(params=[PARTS["quantizer"], RVQ], ids=["fsq", "rvq"])
def checkpoint(tmp_path, request):
    """A run's file: codec, discriminators, optimizer state."""
    torch.manual_seed(0)
    config = {"class_path": "codec.NeuralCodec", "init_args": PARTS | {"quantizer": request.param}}
    weights = {f"codec.{k}": v for k, v in build_codec(config).state_dict().items()}
    content = {
        "state_dict": weights | {"discriminators.0.weight": torch.zeros(50_000)},
        "optimizer_states": [{"state": {0: torch.zeros(50_000)}}],
        "model_config": {"init_args": {"codec": config}},
    }
    torch.save(content, tmp_path / "run.ckpt")
    return tmp_path / "run.ckpt"


def test_a_packed_codec_is_the_run_s_in_half_precision(checkpoint, tmp_path, capsys):
    main(["pack", str(checkpoint), str(tmp_path / "out" / "small.safetensors")])
    assert "MB" in capsys.readouterr().out
    stored = load_file(tmp_path / "out" / "small.safetensors")
    before, after = load_codec(checkpoint), load_codec(tmp_path / "out" / "small.safetensors")
    for name, value in before.state_dict().items():
        kept = stored[f"codec.{name}"]
        if name.startswith("quantizer.") or not value.is_floating_point():
            assert kept.dtype == value.dtype
            assert torch.equal(kept, value)
        else:
            assert kept.dtype == torch.float16
            assert torch.equal(after.state_dict()[name], value.half().float())
    assert set(stored) == {f"codec.{name}" for name in before.state_dict()}, "weights of the codec alone"
    audio = 0.1 * torch.randn(1, 1, 16_000)
    error = (after(audio).audio - before(audio).audio).norm() / before(audio).audio.norm()
    assert error < 0.2, "of random weights, a code may cross a threshold"


def test_discriminators_go_with_the_codec_where_they_are_asked_for(checkpoint, tmp_path, capsys):
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["discriminators.0.weight"] = torch.linspace(-1, 1, 50)
    content["state_dict"]["losses.0.weight"] = torch.ones(3)
    torch.save(content, checkpoint)
    out = tmp_path / "both.safetensors"
    main(["pack", str(checkpoint), str(out), "--discriminators"])
    stored = load_file(out)
    before, after = load_codec(checkpoint), load_codec(out)
    assert set(stored) == {f"codec.{name}" for name in before.state_dict()} | {"discriminators.0.weight"}
    assert torch.equal(stored["discriminators.0.weight"], torch.linspace(-1, 1, 50).half())
    assert after.state_dict().keys() == before.state_dict().keys(), "load_codec takes the codec alone"
    content["state_dict"]["discriminators.0.weight"][0] = float("nan")
    torch.save(content, checkpoint)
    with pytest.raises(SystemExit):
        main(["pack", str(checkpoint), str(tmp_path / "broken.safetensors"), "--discriminators"])
    assert "holds NaN or infinite numbers, in discriminators.0.weight" in capsys.readouterr().err
    main(["pack", str(out), str(tmp_path / "again.safetensors"), "--discriminators", "--full"])
    assert load_file(tmp_path / "again.safetensors")["discriminators.0.weight"].dtype == torch.float32


def test_discriminators_that_are_not_there_are_refused_in_a_sentence(checkpoint, tmp_path, capsys):
    main(["pack", str(checkpoint), str(tmp_path / "codec.safetensors")])
    with pytest.raises(SystemExit) as stopped:
        main(["pack", str(tmp_path / "codec.safetensors"), str(tmp_path / "both.safetensors"), "--discriminators"])
    assert stopped.value.code == 2
    message = f"checkpoint {tmp_path}/codec.safetensors has no discriminators: leave out --discriminators"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "both.safetensors").exists()


def test_full_precision_changes_nothing(checkpoint, tmp_path):
    size = pack_codec(checkpoint, tmp_path / "full.safetensors", full=True)
    assert size == (tmp_path / "full.safetensors").stat().st_size
    before, after = load_codec(checkpoint), load_codec(tmp_path / "full.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    )


def test_what_half_precision_cannot_hold_stays_as_it_is():
    large = torch.tensor([1.0, 70_000.0])
    assert to_half("decoder.weight", large) is large
    assert to_half("decoder.weight", torch.tensor([1.0, 60_000.0])).dtype == torch.float16


@pytest.mark.parametrize("name", ["taken.safetensors", "small.bin"])
def test_existing_files_and_other_suffixes_are_refused(checkpoint, tmp_path, capsys, name):
    (tmp_path / "taken.safetensors").write_bytes(b"mine")
    with pytest.raises(SystemExit) as stopped:
        main(["pack", str(checkpoint), str(tmp_path / name)])
    assert stopped.value.code == 2
    assert "must be a new file that ends in .safetensors" in capsys.readouterr().err
    assert (tmp_path / "taken.safetensors").read_bytes() == b"mine"


def test_a_file_in_the_place_of_a_folder_is_refused_in_a_sentence(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["pack", str(checkpoint), str(checkpoint / "sub" / "small.safetensors")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(
        f"{checkpoint}/sub cannot be made (Not a directory): give another folder.\n"
    )
