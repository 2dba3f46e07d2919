"""The page in Chromium from a file, without a network: from load to sound, its codes and audio beside Python's."""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from callbacks.report.demo.build import build
from callbacks.report.demo.clips import read_clips
from callbacks.report.demo.command import PRETRAINED
from callbacks.report.demo.runtime import UnreachableRegistry, read_runtime
from codec.checkpoints.reading import load_codec
from tests.support.browser import CHROMIUM, Browser, until
from tests.support.speech import speech_like

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
NAME = "(({ ariaLabel, labels, innerText }) => ariaLabel || labels?.[0]?.innerText || innerText)"
SOUNDS_AS_DECODED = """(() => { const { samples } = player.buffers.get("channel");
    const sounding = player.sources.get("channel").source.buffer.getChannelData(0);
    return sounding.length === samples.length && sounding.every((value, n) => value === samples[n]); })()"""
SECONDS = (5.003, 2.0)  # no whole number of frames, and one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three pretrained codecs and two clips."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("demo")
    try:
        runtime = read_runtime()
    except UnreachableRegistry as error:
        pytest.skip(str(error))
    for number, seconds in enumerate(SECONDS):
        soundfile.write(folder / f"{number}.wav", speech_like(number, seconds), 16_000)
    clips = read_clips([folder / f"{number}.wav" for number in range(len(SECONDS))], 16_000)
    codecs = {name: load_codec(path) for name, path in PRETRAINED.items()}
    (folder / "demo.html").write_text(build(codecs, clips, runtime))
    return folder / "demo.html"


@pytest.fixture
def desktop(page: Path) -> Iterator[Browser]:
    with Browser(page.parent, **DESKTOP) as browser:
        browser.open(page)
        ready(browser)
        yield browser
        assert not browser.errors  # requests to a network are among them


def ready(browser: Browser) -> None:
    """Wait until what is chosen is decoded, with and without errors."""
    browser.wait("firstSound !== null && !latest.running && player.buffers.size === 3")


def choose(browser: Browser, name: str, value: str | int) -> None:
    """Click on a radio button."""
    browser.value(f"document.querySelector('[name={name}][value=\"{value}\"]').click()")
    ready(browser)


def change(browser: Browser, name: str, value: str | int, *, event: str = "change") -> None:
    """Set a control, as a user does."""
    browser.value(f"find('{name}').value = '{value}'; find('{name}').dispatchEvent(new Event('{event}'))")


def samples(browser: Browser, signal: str) -> np.ndarray:
    """A signal of the player."""
    text = browser.value(
        f"(() => {{ const bytes = new Uint8Array(player.buffers.get('{signal}').samples.slice().buffer);"
        "let text = ''; for (const byte of bytes) text += String.fromCharCode(byte); return btoa(text); })()"
    )
    return np.frombuffer(base64.b64decode(text), "<f4")


class Reference:
    """The models and clips in the page, run by onnxruntime; and the codecs of PyTorch."""

    def __init__(self, page: Path) -> None:
        self.text = page.read_text()
        self.content: dict[str, Any] = json.loads(re.search(r'id="content">(.*?)</script>', self.text)[1])
        self.codecs = {codec["name"]: codec for codec in self.content["codecs"]}

    def asset(self, name: str) -> bytes:
        return gzip.decompress(base64.b64decode(re.search(rf'id="asset-{name}">(.*?)</script>', self.text)[1]))

    def clip(self, number: int) -> np.ndarray:
        return np.frombuffer(self.asset(self.content["clips"][number]["asset"]), "<i2").astype(np.float32) / 2**15

    def run(self, name: str, part: str, **inputs: np.ndarray) -> np.ndarray:
        import onnxruntime

        session = onnxruntime.InferenceSession(self.asset(self.codecs[name][part]), providers=["CPUExecutionProvider"])
        return session.run(None, inputs)[0]


@pytest.fixture(scope="module")
def reference(page: Path) -> Reference:
    return Reference(page)


def test_codes_and_audio_are_those_of_python(desktop: Browser, reference: Reference) -> None:
    """Against the same models in onnxruntime, and against PyTorch in float32."""
    frames = equal = equal_to_torch = 0
    choose(desktop, "channel", "packets")
    for place, name in enumerate(PRETRAINED):
        choose(desktop, "codec", place)
        sizes = reference.codecs[name]["sizes"]
        audio = reference.clip(0)
        codes = np.array(desktop.value(f"coded.get('{name}, 0').codes")).reshape(1, len(sizes), -1)
        expected = reference.run(name, "encoder", audio=audio[None, None])
        frames += codes.shape[-1]
        equal += (codes == expected).all(1).sum()
        codec = load_codec(PRETRAINED[name])
        with torch.no_grad():
            heard = codec.decode(torch.from_numpy(codes), length=len(audio)).flatten().numpy()
            equal_to_torch += (codec.encode(torch.from_numpy(audio)[None, None]).numpy() == codes).all(1).sum()
        clean = samples(desktop, "codec")
        decoded = reference.run(name, "decoder", codes=codes, erased=np.zeros(codes.shape, dtype=bool)).ravel()
        peak = np.abs(decoded).max()
        assert peak > 0.01 and clean.shape == audio.shape
        assert np.abs(clean - decoded[: len(audio)]).max() < 1e-4 * peak
        assert np.abs(clean - heard).max() < 1e-3 * peak
        for concealment in ("zero", "repeat"):
            change(desktop, "concealment", concealment)
            ready(desktop)
            sent = desktop.value("({ codes: shown.sent.codes, erased: shown.sent.erased, lost: shown.sent.lost })")
            assert any(sent["lost"]) and any(sent["erased"]) == (concealment == "zero" or sent["lost"][0])
            received = {key: np.array(sent[key]).reshape(codes.shape) for key in ("codes", "erased")}
            decoded = reference.run(name, "decoder", **received).ravel()[: len(audio)]
            assert np.abs(samples(desktop, "channel") - decoded).max() < 1e-4 * np.abs(decoded).max()
    assert equal >= 0.999 * frames and equal_to_torch >= 0.99 * frames


def test_the_slider_changes_what_is_heard(desktop: Browser) -> None:
    heard = {}
    for step in (0, 9, 19):
        change(desktop, "rate", step, event="input")
        ready(desktop)
        heard[step] = samples(desktop, "channel")
        said = desktop.value("find('errors').textContent")
        flipped, total = (int(number.replace(",", "")) for number in re.findall(r"[\d,]+", said))
        assert total == 251 * 16 and abs(flipped / total - desktop.value(f"RATES[{step}]")) < 0.04
    assert (heard[0] == samples(desktop, "codec")).all()
    assert 0 < np.abs(heard[9] - heard[0]).mean() < np.abs(heard[19] - heard[0]).mean()
    assert desktop.value("find('bit-rate').textContent") == "0.80 kbit/s"
    assert desktop.value("find('bytes').textContent") == "502 bytes"


def test_keys_play_switch_and_move_the_slider(desktop: Browser) -> None:
    assert not desktop.value("player.running")
    desktop.press(" ")
    desktop.wait("player.position > 0.1 && player.context.state === 'running'")
    assert desktop.value("player.heard") == "channel"
    for key, name in (("1", "original"), ("2", "codec"), ("3", "channel")):
        places = desktop.value("player.position"), desktop.press(key), desktop.value("player.position")
        assert desktop.value("player.heard") == name and 0 <= places[2] - places[0] < 0.5
    step = desktop.value("chosen.step")
    desktop.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert desktop.value("chosen.step") == step + 1
    before = desktop.value("find('errors').textContent")
    desktop.press("n")
    ready(desktop)
    assert desktop.value("find('errors').textContent") != before
    assert desktop.value("player.running && player.sources.size === 3")
    assert desktop.value(SOUNDS_AS_DECODED)
    desktop.wait("[...player.sources].every(([name, { gain }]) => gain.gain.value > 0.9 === (name === 'channel'))")
    desktop.press(" ")
    assert not desktop.value("player.running")
    place = desktop.value("player.position")
    assert place > 0.1
    time.sleep(0.1)
    assert desktop.value("player.position") == place
    desktop.press("Tab")  # every control has a name, and a place in the order
    names = set()
    for _ in range(14):
        name = desktop.value(f"{NAME}(document.activeElement)")
        assert name
        names.add(name.split("\n")[0].strip())
        desktop.press("Tab")
    assert {"Clip", "Open a file", "Bits flipped"} <= names


def test_moves_while_it_decodes_end_with_the_last(desktop: Browser) -> None:
    count = desktop.value("engine.count")
    desktop.value("for (let step = 0; step < 20; step++) chooseStep(step)")
    ready(desktop)
    assert desktop.value("engine.count") - count <= 3
    assert desktop.value("counts(shown.sent).bits") > 1700  # of 4,016 at 50 %


def test_another_clip_and_a_file_of_the_user(desktop: Browser, tmp_path: Path) -> None:
    change(desktop, "clip", 1)
    desktop.wait("chosen.clip === clips[1] && player.duration === 2")
    ready(desktop)
    assert len(samples(desktop, "channel")) == 32_000
    stereo = np.stack([speech_like(7, 21.0, rate=44_100), np.zeros(21 * 44_100, dtype=np.float32)], 1) * 0.1
    soundfile.write(tmp_path / "mine <b>.wav", stereo, 44_100)
    desktop.choose_file("#file", tmp_path / "mine <b>.wav")
    desktop.wait("clips.length === 3 && chosen.clip === clips[2]")
    ready(desktop)
    original = samples(desktop, "original")
    assert len(original) == 20 * 16_000 and abs(np.abs(original).max() - 0.5) < 1e-3
    assert desktop.value("find('clip').selectedOptions[0].textContent") == "mine <b>.wav"
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    for name, said in (("text.wav", "cannot read"), ("silent.wav", "no sound")):
        desktop.choose_file("#file", tmp_path / name)
        desktop.wait(f"find('status').textContent.includes('{said}')")
        assert desktop.value("clips.length === 3 && find('status').classList.contains('failed')")


def test_the_microphone_becomes_a_clip(page: Path, tmp_path: Path) -> None:
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with Browser(tmp_path, **DESKTOP, flags=flags) as browser:
        browser.open(page)
        ready(browser)
        browser.press("m")
        browser.wait("recorder.running && find('record').getAttribute('aria-pressed') === 'true'")
        time.sleep(1.5)
        browser.press("m")
        browser.wait("clips.length === 3")
        ready(browser)
        assert browser.value("find('clip').selectedOptions[0].textContent") == "Recording 1"
        assert 0.8 < browser.value("player.duration") < 4 and browser.value("player.running")
        assert browser.value("find('record-text').textContent") == "Record"
        assert not browser.errors
    with Browser(tmp_path, **DESKTOP) as browser:  # without a device, or without leave
        browser.open(page)
        ready(browser)
        browser.press("m")
        browser.wait("find('status').classList.contains('failed')")
        said = browser.value("find('status').textContent")
        assert "open a file" in said and ("There is no microphone" in said or "not allowed" in said)
        assert not browser.errors


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_draws_in_its_colours(page: Path, tmp_path: Path, dark: bool) -> None:
    with Browser(tmp_path, **PHONE, dark=dark, touch=True) as browser:
        browser.open(page)
        ready(browser)
        for channel in ("bursts", "packets", "flips"):
            choose(browser, "channel", channel)
            assert browser.value("document.documentElement.scrollWidth <= 390 && innerWidth === 390")
        browser.tap("#play")
        browser.wait("player.running && player.position > 0")
        paper = browser.value("colour('paper')")
        assert (sum(paper) < 200) == dark
        for canvas in ("original-wave", "original-spectrum", "bits", "received-wave", "received-spectrum"):
            pixels = browser.value(
                f"(() => {{ const c = find('{canvas}');"
                "const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
                "return [c.width, new Set(new Uint32Array(data.buffer)).size]; })()"
            )
            assert pixels[0] >= 360 and pixels[1] > 1, canvas
        red = browser.value(
            "(() => { const c = find('bits'); const [r, g, b] = colour('alarm'); let n = 0;"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "for (let i = 0; i < d.length; i += 4) n += d[i] === r && d[i + 1] === g && d[i + 2] === b;"
            "return n / (c.width * c.height); })()"
        )
        assert abs(red - 0.05) < 0.02  # the share of bits that are flipped
        assert not browser.errors


def test_a_runtime_that_does_not_start_is_said(page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(re.sub(r'(id="asset-wasm">).*?(</script>)', r"\1AAAA\2", page.read_text()))
    with Browser(tmp_path, **DESKTOP) as browser:
        browser.open(broken)
        until(lambda: browser.value("find('status').classList.contains('failed')"), "an error")
        assert "does not run in this browser" in browser.value("find('status').textContent")
        browser.press(" ")
        browser.wait("player.running && player.heard === 'original'")  # which can still be heard
