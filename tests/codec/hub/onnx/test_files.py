"""ONNX files and exported programs give PyTorch's codes and audio, for any batch and length."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from codec import NeuralCodec, load_codec
from codec.hub.onnx import export_onnx, export_program
from tests.codec.hub.onnx.kinds import BACKBONES, ENCODERS, HOP, QUANTIZERS, random_codec
from tests.support.small_codec import small_codec
from tests.support.speech import speech_like

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def run(path: Path, **inputs: torch.Tensor) -> torch.Tensor:
    """The only output of a file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(output)


def check(codec: NeuralCodec, encode, decode, *, clips: list[torch.Tensor], equal: float = 1.0) -> None:
    """Codes equal in a share of frames, audio of the codec's own codes, some erased, to 1e-4 of its peak."""
    same, frames = 0, 0
    for audio in clips:
        with torch.no_grad():
            codes, found = codec.encode(audio), encode(audio)
            erased = torch.rand(codes.shape) < 0.2
            wanted, decoded = codec.decode(codes, erased), decode(codes, erased)
        assert found.dtype == codes.dtype and found.shape == codes.shape
        assert decoded.dtype == wanted.dtype and decoded.shape == wanted.shape
        assert (decoded - wanted).abs().max() <= 1e-4 * wanted.abs().max()
        same, frames = same + int((found == codes).all(1).sum()), frames + codes[:, 0].numel()
    assert same >= equal * frames


def check_files(codec: NeuralCodec, folder: Path, **options) -> None:
    files = export_onnx(codec, folder)
    check(
        codec,
        lambda audio: run(files.encode, audio=audio),
        lambda codes, erased: run(files.decode, codes=codes, erased=erased),
        **options,
    )


def clips_of_any_length(hop: int = HOP) -> list[torch.Tensor]:
    torch.manual_seed(1)
    sizes = [(1, 1), (2, hop - 1), (1, hop), (3, hop + 1), (1, 33 * hop + 7)]
    return [0.3 * torch.randn(batch, 1, length) for batch, length in sizes]


def test_a_small_codec(tmp_path):
    check_files(small_codec(hop=HOP).eval(), tmp_path, clips=clips_of_any_length())


KINDS = [
    *((encoder, "fsq", "convnext") for encoder in sorted(ENCODERS)),
    *(("spectral", quantizer, "convnext") for quantizer in sorted(QUANTIZERS)),
    *(("spectral", "fsq", backbone) for backbone in sorted(BACKBONES)),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=", ".join)
def test_every_kind_of_codec(tmp_path, kind):
    check_files(random_codec(*kind), tmp_path, clips=clips_of_any_length(), equal=0.99)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_fsq", "small_rvq", "small_student"])
def test_pretrained_codecs_on_speech(tmp_path, name):
    clips = [torch.from_numpy(speech_like(seed, 4.0))[None, None] for seed in range(5)]
    check_files(load_codec(name), tmp_path, clips=clips, equal=0.999)


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory):
    """A codec that raises the sample rate, and its files with those of its parts."""
    codec = small_codec(hop=HOP, output_hop=60).eval()
    return codec, export_onnx(codec, tmp_path_factory.mktemp("onnx") / "new", parts=True)


@pytest.mark.slow
def test_the_description_says_how_to_use_the_files(in_parts):
    _, files = in_parts
    folder = files.config.parent
    content = json.loads(files.config.read_text())
    assert (content["sample_rate"], content["output_sample_rate"], content["hop_length"]) == (16_000, 24_000, HOP)
    assert content["codebook_sizes"] == [256] and content["bits_per_frame"] == 8
    assert content["precision"] == "float32" and content["opset"] == 20
    assert {name: (folder / file).is_file() for name, file in content["files"].items()} == dict.fromkeys(
        ["encode", "decode", "encoder", "quantizer", "dequantizer", "decoder"], True
    )
    assert files.size == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.slow
def test_the_parts_in_turn_are_the_whole(in_parts):
    codec, files = in_parts
    parts, audio = files.parts, 0.3 * torch.randn(2, 1, 5 * HOP + 3)
    codes = run(parts["quantizer"], latents=run(parts["encoder"], audio=audio))
    assert torch.equal(codes, run(files.encode, audio=audio))
    erased = torch.rand(codes.shape) < 0.5
    latents = run(parts["dequantizer"], codes=codes, erased=erased)
    with torch.no_grad():
        assert torch.equal(latents, codec.quantizer.decode(codes, erased))
    whole = run(files.decode, codes=codes, erased=erased)
    np.testing.assert_allclose(run(parts["decoder"], latents=latents), whole, atol=1e-6 * float(whole.abs().max()))


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch.export.load, of its own buffers
def test_programs_of_torch(tmp_path):
    codec = small_codec(hop=HOP).eval()
    files = export_program(codec, tmp_path)
    encode, decode = (torch.export.load(files[name]).module(check_guards=False) for name in ("encode", "decode"))
    check(codec, encode, decode, clips=clips_of_any_length())
    guarded = torch.export.load(files["encode"]).module()
    assert guarded(torch.zeros(1, 1, HOP + 1)).shape == (1, 1, 2), "a batch of one passes the guards"
    assert json.loads((tmp_path / "codec.json").read_text())["files"] == {
        "encode": "encode.pt2",
        "decode": "decode.pt2",
    }
