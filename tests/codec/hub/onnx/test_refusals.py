"""What cannot be exported is refused in one sentence, before anything is written; and the command line."""

import errno
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from codec import FSQ, RVQ, ConvNeXtBackbone, EMACodebook, NeuralCodec, VocosDecoder, save_codec
from codec.errors import InvalidValue
from codec.hub.__main__ import main
from codec.hub.onnx import export_onnx, export_program
from tests.codec.hub.onnx.kinds import random_codec
from tests.support.small_codec import small_codec


class OtherEncoder(type(small_codec().encoder)):  # type: ignore[misc]
    """One of a user."""


class OtherQuantizer(FSQ):
    """One of a user."""


class OtherCodebook(EMACodebook):
    """One of a user."""


class OtherBackbone(ConvNeXtBackbone):
    """One of a user."""


class OtherDecoder(VocosDecoder):
    """One of a user."""

    def forward(self, latents: Tensor, extents: object = None) -> Tensor:
        return 2 * super().forward(latents)


def of_parts(**parts) -> NeuralCodec:
    codec = small_codec()
    kept = {name: getattr(codec, name) for name in ("encoder", "quantizer", "decoder")}
    return NeuralCodec(**(kept | parts))


OTHERS = {
    "encoder OtherEncoder": lambda: of_parts(encoder=OtherEncoder(16, 160, width=32, depth=1)),
    "quantizer OtherQuantizer": lambda: of_parts(quantizer=OtherQuantizer(16, (4, 4))),
    "codebook OtherCodebook": lambda: of_parts(quantizer=RVQ(16, [OtherCodebook(8, 4)])),
    "decoder OtherDecoder": lambda: of_parts(decoder=OtherDecoder(ConvNeXtBackbone(16, 32, depth=1), 160)),
    "backbone OtherBackbone": lambda: of_parts(decoder=VocosDecoder(OtherBackbone(16, 32, depth=1), 160)),
}


@pytest.mark.parametrize("name", sorted(OTHERS))
@pytest.mark.parametrize("export", [export_onnx, export_program])
def test_parts_without_a_form_for_export(tmp_path, name, export):
    with pytest.raises(InvalidValue, match=f"^{name} cannot be exported"):
        export(OTHERS[name](), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_precision(tmp_path):
    with pytest.raises(InvalidValue, match="precision int4 must be one of float32, float16, int8"):
        export_onnx(random_codec(), tmp_path / "out", precision="int4")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_what_the_exporter_does_not_convert(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")

    def export(*args: object, **kwargs: object) -> None:
        raise torch.onnx.OnnxExporterError("Failed to convert the program.\nNext steps:\n...")

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(InvalidValue) as stopped:
        export_onnx(random_codec(), tmp_path / "out")
    assert str(stopped.value).startswith("encode cannot be converted") and "\n" not in str(stopped.value)


@pytest.mark.parametrize("kind", ["a file", "a folder with a file"])
@pytest.mark.parametrize("export", [export_onnx, export_program])
def test_what_is_there_stays(tmp_path, kind, export):
    out = tmp_path / "out"
    mine = out if kind == "a file" else out / "mine"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(InvalidValue, match="is not an empty folder"):
        export(random_codec(), out)
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "files"),
    [
        (["--torch-export"], {"encode.pt2", "decode.pt2"}),
        pytest.param([], {"encode.onnx", "decode.onnx"}, marks=pytest.mark.slow),
        pytest.param(
            ["--precision", "int8", "--parts"],
            {f"{name}.onnx" for name in ("encode", "decode", "encoder", "quantizer", "dequantizer", "decoder")},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_command(tmp_path, capsys, options, files):
    save_codec(small_codec(hop=40), tmp_path / "codec.safetensors")
    main(["export-onnx", str(tmp_path / "codec.safetensors"), f"{tmp_path}/out/", *options])
    first, *calls = capsys.readouterr().out.splitlines()
    assert f"is now in {tmp_path}/out/, " in first and "open its files with" in first
    assert calls[:2] == [
        "  encode: audio float32 [B, 1, T] -> codes int64 [B, 1, ceil(T / 40)]",
        "  decode: codes int64 [B, 1, F], erased bool [B, 1, F] -> audio float32 [B, 1, F * 40]",
    ]
    described = json.loads((tmp_path / "out" / "codec.json").read_text())["signatures"]
    assert set(described) == {Path(file).stem for file in files}
    assert described["encode"]["inputs"] == {"audio": {"type": "float32", "shape": ["B", 1, "T"]}}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files | {"codec.json"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["small_fsq", "{tmp}/file/out"], "cannot be made or written"),
        (["nothing", "{tmp}/out"], "There is no checkpoint nothing"),
        (["small_fsq", "{tmp}/out", "--torch-export", "--precision", "int8"], "leave it or --torch-export out"),
        (["small_fsq", "{tmp}/out", "--precision", "int4"], "invalid choice"),
    ],
)
def test_mistakes_give_one_sentence(tmp_path, capsys, arguments, sentence):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        main(["export-onnx", *(argument.format(tmp=tmp_path) for argument in arguments)])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class FullDisk:
    """A disk that takes the first file and a part of the second."""

    def __init__(self, monkeypatch, error: BaseException) -> None:
        self.error, self.write, self.written = error, Path.write_bytes, []
        monkeypatch.setattr(Path, "write_bytes", lambda path, content: self.take(path, content))

    def take(self, path: Path, content: bytes) -> None:
        self.written.append(path.name)
        self.write(path, content[: len(content) // len(self.written)])
        if len(self.written) > 1:
            raise self.error


@pytest.mark.parametrize("there", [False, True], ids=["a new folder", "an empty one"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_nothing_stays_of_an_export_that_ends_early(tmp_path, monkeypatch, capsys, error, there):
    save_codec(small_codec(hop=40), tmp_path / "codec.safetensors")
    out = tmp_path / "new" / "out"
    if there:
        out.mkdir(parents=True)
    disk = FullDisk(monkeypatch, error)
    with pytest.raises(SystemExit) as stopped:
        main(["export-onnx", str(tmp_path / "codec.safetensors"), str(out), "--torch-export"])
    said = capsys.readouterr().err
    assert disk.written == ["encode.pt2", "decode.pt2"] and said.count("\n") == 1
    if isinstance(error, OSError):
        assert stopped.value.code == 2
        assert f"folder {out} cannot be made or written (No space left on device): free space on its disk" in said
    else:
        assert stopped.value.code == 130 and said.endswith("interrupted: run it again.\n")
    assert {*tmp_path.rglob("*")} == {tmp_path / "codec.safetensors", *([out.parent, out] if there else [])}


def test_training_goes_on_after_an_export(tmp_path):
    codec = small_codec(hop=40).train()
    export_program(codec, tmp_path / "out")
    codec(0.1 * torch.randn(1, 1, 400)).audio.sum().backward()
    assert codec.training and all(weight.grad is not None for weight in codec.parameters())
