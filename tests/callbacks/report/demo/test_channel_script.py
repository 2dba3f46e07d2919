"""The page's channels and transforms in Chromium: bits as Python packs them, rates two-sided, errors that nest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch

from codec.channels.bit_errors import markov_states
from codec.channels.bitstream import bits_to_codes, codes_to_bits
from codec.quantizers.codes import code_bits
from tests.support.browser import CHROMIUM, Browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]
SETTINGS = {"seed": 5, "burst": 20, "packet": 2, "concealment": "zero"}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A page with nothing but the two scripts that need no document."""
    folder = tmp_path_factory.mktemp("scripts")
    pages = files("callbacks.report.demo").joinpath("page")
    shared = files("callbacks.report").joinpath("generator.js").read_text()
    code = "\n".join([shared, *(pages.joinpath(name).read_text() for name in ("channel.js", "spectrum.js"))])
    (folder / "page.html").write_text(f"<meta charset=utf-8><script>{code}</script>")
    with Browser(folder, width=400, height=300) as browser:
        browser.open(folder / "page.html")
        yield browser
        assert not browser.errors


def call(browser: Browser, name: str, *arguments: Any) -> Any:
    """What a function of the page gives; arrays of every type come back as lists."""
    given = ", ".join(map(json.dumps, arguments))
    return json.loads(
        browser.value(f"JSON.stringify({name}({given}), (_, v) => ArrayBuffer.isView(v) ? Array.from(v) : v)")
    )


@pytest.mark.parametrize("sizes", [(65536,), (256, 256), (5, 3, 1000)])
def test_bits_are_those_of_python(scripts: Browser, sizes: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(len(sizes))
    codes = torch.stack([torch.randint(size, (50,), generator=generator) for size in sizes])[None]  # [1, K, F]
    widths = list(code_bits(sizes))
    bits = codes_to_bits(codes, sizes)
    assert call(scripts, "codesToBits", codes.flatten().tolist(), widths) == bits.flatten().tolist()
    received = torch.randint(2, bits.shape, generator=generator, dtype=torch.uint8)
    expected = bits_to_codes(received, sizes)
    found = call(scripts, "bitsToCodes", received.flatten().tolist(), widths, list(sizes))
    assert found["codes"] == expected.codes.flatten().tolist()
    assert found["erased"] == expected.erased.flatten().tolist()
    assert call(scripts, "packed", bits.flatten().tolist()) == np.packbits(bits.numpy().ravel()).tolist()


def test_bursts_are_those_of_python_for_the_same_draws(scripts: Browser) -> None:
    for share, length in ((0.0, 20), (0.1, 20), (0.5, 10), (0.8, 5), (1.0, 20)):
        draws = torch.rand(2000, generator=torch.Generator().manual_seed(3), dtype=torch.float64).tolist()
        expected = markov_states(2000, share, length, torch.Generator().manual_seed(3))
        assert call(scripts, "badStates", draws, share, length) == expected.tolist()


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("channel", ["flips", "bursts", "packets"])
def test_error_rates_are_what_the_slider_says(scripts: Browser, channel: str, rate: float) -> None:
    given = {**SETTINGS, "rate": rate, "frames": 20_000, "width": 16}
    found = call(scripts, f"channels.{channel}", given)
    kind = "lost" if channel == "packets" else "flipped"
    wrong = np.array(found[kind], dtype=float)
    assert not any(found["flipped" if kind == "lost" else "lost"])
    together = {"flips": 1, "bursts": 2 * 20, "packets": 2}[channel]  # errors that come together, about
    assert abs(wrong.mean() - rate) < 5 * (rate * (1 - rate) * together / len(wrong)) ** 0.5
    if channel == "packets":
        assert (wrong[::2] == wrong[1::2]).all()
    if channel == "bursts" and rate < 0.4:
        after = wrong[1:][wrong[:-1] == 1].mean()  # an error is followed by another with h (1 - 1 / L) + small
        assert 0.4 < after < 0.6


@pytest.mark.parametrize("channel", ["flips", "bursts", "packets"])
def test_errors_nest_and_the_ends_are_sure(scripts: Browser, channel: str) -> None:
    rates = [0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.4, *([] if channel == "bursts" else [0.5, 1])]
    before = np.zeros(0, dtype=bool)
    for rate in rates:
        found = call(scripts, f"channels.{channel}", {**SETTINGS, "rate": rate, "frames": 1000, "width": 16})
        wrong = np.array([*found["flipped"], *found["lost"]], dtype=bool)
        if rate == 0:
            assert not wrong.any()
        else:
            assert (wrong >= before).all() and wrong.sum() > before.sum()
        before = wrong
    given = {**SETTINGS, "rate": 0.1, "frames": 1000, "width": 16}
    assert call(scripts, f"channels.{channel}", given) == call(scripts, f"channels.{channel}", given)
    assert call(scripts, f"channels.{channel}", given) != call(scripts, f"channels.{channel}", {**given, "seed": 6})


@pytest.mark.parametrize("concealment", ["zero", "repeat"])
def test_lost_frames_are_left_out_or_repeated(scripts: Browser, concealment: str) -> None:
    sizes, frames = (256, 16), 40
    generator = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.randint(size, (frames,), generator=generator) for size in sizes])  # [K, F]
    settings = {**SETTINGS, "channel": "packets", "rate": 0.5, "concealment": concealment, "seed": 2}
    about = {"widths": [8, 4], "sizes": list(sizes)}
    found = call(scripts, "transmit", codes.flatten().tolist(), about, settings)
    lost = found["lost"]
    assert lost[0] and 0 < sum(lost) < frames  # the first frame has none before it
    received = torch.tensor(found["codes"]).view(2, frames)
    erased = torch.tensor(found["erased"]).view(2, frames)
    last = None
    for frame in range(frames):
        last = last if lost[frame] else frame
        if lost[frame] and (concealment == "zero" or last is None):
            assert erased[:, frame].all()
        else:
            assert not erased[:, frame].any() and (received[:, frame] == codes[:, last]).all()
    assert call(scripts, "counts", found) == {"bits": 0, "hit": 0, "lost": sum(lost)}


def test_flips_are_counted(scripts: Browser) -> None:
    settings = {**SETTINGS, "channel": "flips", "rate": 0.1}
    found = call(scripts, "transmit", [1, 2, 3, 4] * 50, {"widths": [16], "sizes": [65536]}, settings)
    flipped = np.array(found["flipped"]).reshape(200, 16)
    assert (np.array(found["sent"]) ^ np.array(found["received"]) == flipped.ravel()).all()
    assert call(scripts, "counts", found) == {"bits": flipped.sum(), "hit": flipped.any(1).sum(), "lost": 0}


def test_spectra_are_those_of_numpy(scripts: Browser) -> None:
    signal = np.random.default_rng(0).uniform(-0.5, 0.5, 512)
    expected = 20 * np.log10(np.abs(np.fft.rfft(signal * np.hanning(513)[:-1])) * 4 / 512)[:256]
    found = np.array(call(scripts, "spectrogram", signal.tolist(), 1))
    assert np.abs(found[0] - expected).max() < 0.01
    sine = np.sin(2 * np.pi * 64 / 512 * np.arange(4096))
    columns = np.array(call(scripts, "spectrogram", sine.tolist(), 8))
    assert columns.shape == (8, 256) and (columns.argmax(1) == 64).all()
    assert np.abs(columns[:, 64]).max() < 0.1  # dB of full scale
