"""The page as text: what it embeds, its security policy, and what the command refuses."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from callbacks.report.__main__ import main
from callbacks.report.demo import build as building
from callbacks.report.demo import clips as sounds
from callbacks.report.demo.build import Models, build
from callbacks.report.demo.clips import Clip, read_clips
from callbacks.report.demo.runtime import Runtime
from codec import FSQ, RVQ, ConvNeXtBackbone, EMACodebook, NeuralCodec, SpectralEncoder, VocosDecoder
from codec.errors import InvalidValue, MissingDependency, UnreadableFile
from tests.support.small_codec import small_codec
from tests.support.speech import UNUSABLE, speech_like, write_unusable

RUNTIME = Runtime(b"export const one = 1;", b"\0asm", "9.8.7")
CLIP = Clip("one", np.arange(-3200, 3200, dtype="<i2"))


@pytest.fixture(autouse=True)
def exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are named by what they hold, without ONNX."""

    def export(codec: NeuralCodec) -> Models:
        return Models(*(repr(part).encode() for part in (codec.encoder, codec.decoder)))

    monkeypatch.setattr(building, "export", export)


def content(page: str) -> dict:
    return json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])


def asset(page: str, name: str) -> bytes:
    (text,) = re.findall(rf'id="asset-{name}">(.*?)</script>', page, re.DOTALL)
    return gzip.decompress(base64.b64decode(text))


def test_the_page_holds_each_model_and_clip_once() -> None:
    codecs = {"FSQ": small_codec(), "Student": small_codec()}
    codecs["Student"].encoder = SpectralEncoder(16, 160, width=32, depth=2)
    page = build(codecs, [CLIP], RUNTIME)
    found = content(page)
    first, second = found["codecs"]
    assert first["decoder"] == second["decoder"] and first["encoder"] != second["encoder"]
    assert page.count('id="asset-') == 2 + 3 + 1  # the runtime, two encoders and a decoder, a clip
    assert asset(page, first["decoder"]) == repr(codecs["FSQ"].decoder).encode()
    assert (np.frombuffer(asset(page, found["clips"][0]["asset"]), "<i2") == CLIP.samples).all()
    assert asset(page, "runtime") == RUNTIME.script and asset(page, "wasm") == RUNTIME.wasm
    assert page == build(codecs, [CLIP], RUNTIME)


def test_codecs_are_described_by_their_own_numbers() -> None:
    torch.manual_seed(0)
    rvq = NeuralCodec(
        SpectralEncoder(16, 320, width=32, depth=1), RVQ(16, [EMACodebook(size, 16) for size in (256, 100)]),
        VocosDecoder(ConvNeXtBackbone(16, 32, depth=1), 480),
    )  # fmt: skip
    (found,) = content(build({"R": rvq}, [CLIP], RUNTIME))["codecs"]
    assert (found["sizes"], found["widths"], found["frame_rate"]) == ([256, 100], [8, 7], 50)
    assert found["output_rate"] == rvq.output_sample_rate == 24_000
    assert "2 codebooks of 256 and 100 entries" in found["about"]


def test_the_policy_admits_the_page_itself_and_no_network() -> None:
    page = build({"FSQ": small_codec()}, [CLIP], RUNTIME)
    policy = re.search(r'Security-Policy" content="([^"]*)"', page)[1]
    for kind in ("script", "style"):
        text = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)[1]
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'") and "connect-src" not in policy and "http" not in policy
    assert not re.findall(r"""(?:src|href)=|url\(|@import|https?://""", page)


def test_no_name_ends_an_element() -> None:
    name = "</script><b>&amp;"
    page = build({name: small_codec()}, [Clip(name, CLIP.samples)], RUNTIME, notes=[name])
    assert name not in page
    assert content(page)["codecs"][0]["name"] == content(page)["clips"][0]["name"] == name


def test_codecs_of_two_sample_rates_are_refused() -> None:
    wide = NeuralCodec(
        SpectralEncoder(16, 160, width=32, depth=1), FSQ(16), VocosDecoder(ConvNeXtBackbone(16, 32, depth=1), 160),
        sample_rate=24_000,
    )  # fmt: skip
    with pytest.raises(InvalidValue, match="FSQ 16000 Hz, Wide 24000 Hz"):
        build({"FSQ": small_codec(), "Wide": wide}, [CLIP], RUNTIME)


def test_clips_are_mixed_down_and_resampled(tmp_path: Path) -> None:
    speech = speech_like(1, 1.0)
    soundfile.write(tmp_path / "same.wav", speech, 16_000, subtype="PCM_16")
    soundfile.write(tmp_path / "two.wav", np.stack([speech, -speech / 2], 1), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "other.wav", np.sin(np.arange(8000) * 0.1), 8_000)
    same, two, other = read_clips([tmp_path / f"{name}.wav" for name in ("same", "two", "other")], 16_000)
    assert same.name == "same" and (same.samples == soundfile.read(tmp_path / "same.wav", dtype="int16")[0]).all()
    assert np.abs(two.samples / 2**15 - speech / 4).max() < 2**-15
    expected = np.sin(np.arange(16_000) * 0.05)
    assert len(other.samples) == 16_000
    assert np.abs(other.samples / 2**15 - expected)[500:-500].max() < 2e-3


@pytest.mark.parametrize("kind", sorted(set(UNUSABLE) - {"truncated.wav"}))  # the rest of a WAV plays
def test_clips_that_cannot_be_used_are_refused(tmp_path: Path, kind: str) -> None:
    file = write_unusable(tmp_path, kind)
    with pytest.raises(UnreadableFile, match=re.escape(file.name)):
        read_clips([file], 16_000)


def test_long_clips_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(8000 * 21), 8_000)
    with pytest.raises(InvalidValue, match=r"long\.wav lasts 21 s.*20 s"):
        read_clips([tmp_path / "long.wav"], 16_000)


def test_impossible_rates_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "fast.wav", np.zeros(100), 999_999_937)
    with pytest.raises(InvalidValue, match=r"fast\.wav states 999,999,937 Hz.*1,000,000 Hz at most"):
        read_clips([tmp_path / "fast.wav"], 16_000)


def test_without_clips_sentences_are_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    clips = read_clips([], 16_000)
    assert [clip.name for clip in clips] == [f"{name} (espeak-ng)" for name, *_ in sounds.SPOKEN]
    for clip in clips:
        assert 2 < len(clip.samples) / 16_000 < 8 and np.abs(clip.samples).max() == 2**14
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"--clips FILE.*\.\[demo\]"):
        read_clips([], 16_000)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--codec", "small_fsq"], "--codec small_fsq must be NAME=CHECKPOINT"),
        (["--codec", "A=small_fsq", "--codec", "A=small_rvq"], "--codec A=small_rvq"),
        (["--codec", "A=nothing.ckpt"], "nothing.ckpt"),
        (["--clips", "nothing.wav"], "There is no clip nothing.wav"),
        (["--onnxruntime-web", "nothing.tgz"], "nothing.tgz"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    if "--onnxruntime-web" not in options:
        monkeypatch.setattr("callbacks.report.demo.command.read_runtime", lambda given: RUNTIME)
    with pytest.raises(SystemExit) as ended:
        main(["--demo", "-o", str(tmp_path / "demo.html"), *options])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and said in error and error.count("\n") == 1
    assert not (tmp_path / "demo.html").exists()


def test_the_command_writes_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callbacks.report.demo.command.read_runtime", lambda given: RUNTIME)
    soundfile.write(tmp_path / "a.wav", speech_like(1, 1.0), 16_000)
    page = tmp_path / "demo.html"
    main(["--demo", "-o", str(page), "--clips", str(tmp_path / "a.wav"), "--notes", "Read by A & B."])
    found = content(page.read_text())
    assert [codec["name"] for codec in found["codecs"]] == ["FSQ", "RVQ", "Student"]
    assert [clip["name"] for clip in found["clips"]] == ["a"]
    assert "Read by A &amp; B." in page.read_text()
    licences = re.findall(r"<li>Licence of the weights: (.*?)</li>", page.read_text())
    assert len(licences) == len(set(licences)) > 0  # those of the cards, which a page passes on
    assert all("CC BY 4.0" in text and "Vassil Panayotov" in text and "*" not in text for text in licences)
    assert "3 codecs, 1 clip, ONNX Runtime Web 9.8.7" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["no folder/demo.html", "."])
def test_an_output_that_cannot_be_written_is_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setattr("callbacks.report.demo.command.read_runtime", lambda given: pytest.fail("too late"))
    with pytest.raises(SystemExit) as ended:
        main(["--demo", "-o", str(tmp_path / output)])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1 and "with -o" in error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_page_appears_whole_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr("callbacks.report.demo.command.read_runtime", lambda given: RUNTIME)
    soundfile.write(tmp_path / "a.wav", speech_like(1, 1.0), 16_000)
    (tmp_path / "demo.html").write_text("an earlier page")

    def write(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:9])
        raise error

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(SystemExit):
        main(["--demo", "-o", str(tmp_path / "demo.html"), "--clips", str(tmp_path / "a.wav")])
    said = capsys.readouterr().err
    assert ("No space left on device" in said or "interrupted" in said) and said.count("\n") == 1
    assert (tmp_path / "demo.html").read_text() == "an earlier page"
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "demo.html"}


def test_the_usage_needs_no_run_for_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    usage = capsys.readouterr().out.split("\n\n")[0]
    (line,) = [line for line in usage.splitlines() if "--demo" in line]
    assert "RUN" not in line
