"""What users pass to a codec from Python: wrong types, scales, shapes and places are one sentence with the remedy."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from codec import CodecModule, DistillationModule, InvalidValue, NeuralCodec, load_codec
from codec.layers.inputs import shaped
from tests.support.small_codec import small_codec
from tests.support.training import VoiceData, quiet_trainer, tiny_module, voice

CODEC = small_codec().eval()
AUDIO = voice(1, size=2)
WRONG_AUDIO: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "int16": (lambda a: (a * 32768).short(), r"torch\.int16 .* audio\.float\(\) / 32768"),
    "int32": (lambda a: (a * 2**31).int(), r"2 \*\* 31"),
    "uint8": (lambda a: (a * 128 + 128).byte(), "- 128"),
    "int64": (lambda a: (a * 32768).long(), "real numbers"),
    "bool": (lambda a: a > 0, "real numbers"),
    "complex": (lambda a: a.to(torch.complex64), "real numbers"),
    "NumPy": (lambda a: a.numpy(), "numpy.ndarray.*torch.as_tensor"),
    "list": (lambda a: a.tolist(), "list.*torch.as_tensor"),
    "nothing": (lambda a: None, "must be a tensor"),
    "[T]": (lambda a: a[0, 0], r"\[None, None\]"),
    "[B, T]": (lambda a: a[:, 0], r"unsqueeze\(1\)"),
    "stereo": (lambda a: a.expand(2, 2, -1), r"mean\(1, keepdim=True\)"),
    "channels of one clip": (lambda a: a[0].expand(2, -1), r"of one clip's channels their mean, audio\.mean\(0\)"),
    "time first": (lambda a: a[0].expand(2, -1).T, r"put time last, and average .*audio\.mean\(1\)\[None, None\]"),
    "time before channels": (lambda a: a.transpose(1, 2), r"put time last, .*audio\.mean\(2\)\.unsqueeze\(1\)"),
    "four axes": (lambda a: a[None], r"\[B, 1, T\]"),
    "no sample": (lambda a: a[..., :0], "at least 1"),
    "no clip": (lambda a: a[:0], "at least 1"),
}
WRONG_VALUES = {
    "16-bit scale": (lambda a: a * 32768, "divide by its full scale"),
    "8-bit scale": (lambda a: a * 128, "divide by its full scale"),
    "NaN": (lambda a: a.index_fill(2, torch.tensor([7]), float("nan")), "NaN or infinite"),
    "infinite": (lambda a: a.index_fill(2, torch.tensor([7]), -float("inf")), "NaN or infinite"),
    "another device": (lambda a: a.to("meta"), r"audio\.to\('cpu'\)"),
}


def test_the_remedy_for_another_shape_gives_the_shape() -> None:
    for shape in ([9_000], [1, 9_000], [9_000, 2], [3, 2, 9_000], [3, 9_000, 2], [1, 9_000, 1]):
        audio = torch.zeros(shape)
        remedy = shaped(shape)
        (expression,) = re.findall(r"audio(?:\.\w+\([^()]*\)|\[[^]]*\])+", remedy)
        made = eval(expression, {"audio": audio, "None": None})
        assert made.ndim == 3 and made.shape[1] == 1 and made.shape[2] == 9_000, (shape, remedy)


def check_sentence(caught: pytest.ExceptionInfo) -> None:
    assert "\n" not in str(caught.value) and (caught.value.remedy or caught.value.allowed)


@pytest.mark.parametrize("case", sorted({**WRONG_AUDIO, **WRONG_VALUES}))
def test_wrong_audio_is_refused(case: str) -> None:
    change, message = {**WRONG_AUDIO, **WRONG_VALUES}[case]
    uses = [CODEC.encode, CODEC.encode_latents, lambda audio: list(CODEC.encode_stream(audio))]
    if case == "no sample":
        uses.pop()  # a stream may have empty pieces
    if case in WRONG_AUDIO:
        uses.append(CODEC.forward)
    for use in uses:
        with pytest.raises(InvalidValue, match=message if case != "list" or use in uses[:2] else "tensor") as caught:
            use(change(AUDIO))
        check_sentence(caught)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_float_types_are_converted(dtype: torch.dtype) -> None:
    audio = AUDIO.to(dtype)
    with torch.no_grad():
        assert torch.equal(CODEC.encode(audio), CODEC.encode(audio.float()))
        assert CODEC(audio).audio.dtype == torch.float32


def test_lossy_codecs_overshoot_and_may() -> None:
    assert CODEC.encode(AUDIO / AUDIO.abs().max() * 3).dtype == torch.int64


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c.numpy(), "as_tensor"), (lambda c: None, "must be a tensor"), (lambda c: c.to("meta"), r"to\('cpu'\)"),
    (lambda c: c.float(), "integers"), (lambda c: c[0], "shape"), (lambda c: c + 10**6, "within codebooks"),
    (lambda c: -c - 1, "within codebooks"),
])  # fmt: skip
def test_wrong_codes_are_refused(change: Callable[[Tensor], Any], message: str) -> None:
    codes = CODEC.encode(AUDIO)
    for use in (CODEC.decode, lambda codes: list(CODEC.decode_stream(codes))):
        with pytest.raises(InvalidValue, match=message) as caught:
            use(change(codes))
        check_sentence(caught)


def test_wrong_latents_and_lengths_are_refused() -> None:
    codes = CODEC.encode(AUDIO)
    for length in (0, -5, codes.shape[-1] * 160 + 1):
        with pytest.raises(InvalidValue, match="length"):
            CODEC.decode(codes, length=length)
    for latents in (torch.zeros(1, 3, 4), torch.zeros(16, 4), None):
        with pytest.raises(InvalidValue, match="latents"):
            CODEC.decode_latents(latents)  # type: ignore[arg-type]


@pytest.mark.parametrize("checkpoint", [None, 3, "", CODEC, AUDIO])
def test_what_is_no_checkpoint_is_refused(checkpoint: Any) -> None:
    with pytest.raises(InvalidValue, match="small_fsq") as caught:
        load_codec(checkpoint)
    check_sentence(caught)


CONVERSIONS: list[Callable[[Any], Any]] = [
    lambda module: module.half(), lambda module: module.double(), lambda module: module.bfloat16(),
    lambda module: module.to(torch.float16), lambda module: module.to("cpu", torch.float64),
]  # fmt: skip


@pytest.mark.parametrize("convert", CONVERSIONS)
@pytest.mark.parametrize("make", [small_codec, tiny_module], ids=["codec", "module"])
def test_conversion_to_another_type_is_refused(make: Callable[[], Any], convert: Callable[[Any], Any]) -> None:
    module = make()
    with pytest.raises(InvalidValue, match=r"float32.*autocast") as caught:
        convert(module)
    check_sentence(caught)
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert module.float() is module and module.to("cpu") is module


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_part_of_another_type_is_refused_where_it_is_used(dtype: torch.dtype) -> None:
    codec, codes = small_codec(), CODEC.encode(AUDIO)
    codec.encoder.to(dtype)
    with pytest.raises(InvalidValue, match="SpectralEncoder cannot compute in"):
        codec.encode(AUDIO)
    codec.decoder.to(dtype)
    with pytest.raises(InvalidValue, match="VocosDecoder cannot compute in"):
        codec.decode(codes)


def test_training_reads_no_values(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tiny_module()
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(module, VoiceData())
    trainer.save_checkpoint(tmp_path / "teacher.ckpt")
    student = DistillationModule(str(tmp_path / "teacher.ckpt"), small_codec().encoder, distillation_start=0)

    def refuse(audio: Tensor) -> None:
        raise AssertionError("a training step waits for the device")

    monkeypatch.setattr("codec.layers.inputs.check_level", refuse)
    for trained in (CodecModule(small_codec()), student):
        quiet_trainer(max_steps=2).fit(trained, VoiceData())
    with pytest.raises(AssertionError):
        module.codec.encode(AUDIO)


class Latents(torch.nn.Module):
    """What an export takes of a codec."""

    def __init__(self, codec: NeuralCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, audio: Tensor) -> Tensor:
        return self.codec.encode_latents(audio)


def test_an_export_has_no_check_of_values() -> None:
    exported = torch.export.export(Latents(CODEC), (AUDIO,))
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(AUDIO), CODEC.encode_latents(AUDIO))
