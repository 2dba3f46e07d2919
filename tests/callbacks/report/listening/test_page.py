"""The blind page in Chromium: filled in by keys alone on a phone's width, saved, and read back with the key."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from callbacks.report.__main__ import main
from callbacks.report.listening.key import Condition, Key, read_key
from callbacks.report.listening.summary import read_listening
from tests.support.browser import CHROMIUM, Browser, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]
PHONE = {"width": 390, "height": 844}
HEARD = 1.15  # s, more than the second that the page asks for


def make(run: Path, folder: Path, *options: str) -> tuple[Path, Key]:
    main(["--listening-test", str(run), "-o", str(folder / "test.html"), *options])
    return folder / "test.html", read_key(folder / "test.key.json")


def downloaded(folder: Path) -> Path:
    def found() -> list[Path]:
        return [path for path in folder.glob("results-*.json") if path.stat().st_size]

    return until(lambda: found() if not list(folder.glob("*.crdownload")) else None, "a download")[0]


def heading(browser: Browser) -> str:
    return str(browser.value("document.querySelector('main > section:not([hidden]) h1').textContent"))


def begin(browser: Browser, page: Path, name: str, slots: Sequence[str]) -> None:
    """From the start screen through the training to the first trial."""
    browser.open(page)
    assert browser.value("document.activeElement.tagName") == "H1"
    browser.press("Tab", *name, "Enter")
    browser.wait("loaded")
    assert heading(browser) == "Training"
    browser.press("Enter")
    assert heading(browser) == "Training" and "Play" in browser.value("find('status').textContent")
    hear(browser, slots)
    browser.press("Enter")
    browser.wait("loaded && state.screen === 'trial'")


def hear(browser: Browser, keys: Sequence[str]) -> None:
    for key in keys:
        browser.press(key)
        time.sleep(HEARD)


def rate(browser: Browser, value: int) -> None:
    """Move the slider that has the focus, from anywhere: from the nearer end in tens, then in ones."""
    browser.press("Home", *["PageUp"] * round(value / 10))
    rest = value - 10 * round(value / 10)
    browser.press(*["ArrowRight" if rest > 0 else "ArrowLeft"] * abs(rest))


def fits(browser: Browser) -> bool:
    """No horizontal scrolling, not even a wider layout, and what has the focus can be seen."""
    return bool(
        browser.value("""(() => { const box = document.activeElement.getBoundingClientRect();
        return document.documentElement.scrollWidth <= 390 && innerWidth === 390
            && box.top >= 0 && box.bottom <= innerHeight; })()""")
    )


def test_a_mushra_test_is_filled_in_by_keyboard_alone_and_read_back(run: Path, tmp_path: Path) -> None:
    page, key = make(run, tmp_path, "--clips", "voice/a", "voice/b")
    signals = ["1", "2", "3", "4", "5", "6"]
    typed: dict[tuple[str, Condition], int] = {}
    with Browser(tmp_path, touch=True, **PHONE) as browser:
        begin(browser, page, "anna", ["r", *signals])
        for place in range(2):
            assert heading(browser) == f"Trial {place + 1} of 2"
            trial = next(t for t in key.trials if t.trial == browser.value("current().trial"))
            order = browser.value("current().order")
            hear(browser, ["r"])
            for number, signal in enumerate(signals):
                hear(browser, [signal])
                condition = trial.signals[order[number]]
                value = 100 if condition.role == "reference" else 7 + 13 * number + 3 * place
                rate(browser, value)
                typed[trial.clip, condition] = value
                assert fits(browser)
                if number == 4:
                    browser.press("Enter")  # one signal is missing
                    assert heading(browser) == f"Trial {place + 1} of 2"
                    assert browser.value("find('status').textContent").strip().endswith("Rate signal 6.")
                    assert fits(browser)
            browser.press("Enter")
            browser.wait("loaded || state.screen === 'end'")
        assert heading(browser) == "All trials are finished"
        browser.press("d")
        file = downloaded(tmp_path)
        assert not browser.errors
    document = json.loads(file.read_text())
    assert document["listener"] == "anna" and document["complete"] and document["test"] == key.test
    assert document["finished"] > document["started"]
    heard = [seconds for trial in document["trials"] for seconds in trial["heard_s"].values()]
    assert len(heard) == 2 * 7 and min(heard) >= 1
    summary = read_listening(page.with_suffix(".key.json"), [file])
    assert summary.listeners == ["anna"]
    for row in summary.ratings:
        condition = Condition(row.role, row.system, row.channel)
        assert row.mean == sum(typed[clip, condition] for clip in key.clips) / 2


def test_an_abx_test_is_filled_in_by_keyboard_alone_and_read_back(run: Path, tmp_path: Path) -> None:
    options = ["--method", "abx", "--clips", "voice/a", "--systems", "RVQ", "--channels", "bsc-0.1", "--repeats", "3"]
    page, _ = make(run, tmp_path, *options)
    with Browser(tmp_path, **PHONE) as browser:
        begin(browser, page, "bo", ["a", "b", "x"])
        for place in range(3):
            hear(browser, ["a", "b", "x"])
            if not place:
                browser.press("Enter")
                assert browser.value("find('status').textContent").strip() == "Say whether X is A or B."
            first, _, x = browser.value("current().order")
            right = "1" if x == first else "2"
            browser.press(right if place else {"1": "2", "2": "1"}[right])  # the first is wrong
            assert fits(browser)
            browser.press("Enter")
            browser.wait("loaded || state.screen === 'end'")
        browser.press("d")
        summary = read_listening(page.with_suffix(".key.json"), [downloaded(tmp_path)])
        assert not browser.errors
    assert {(row.listener, row.correct, row.trials) for row in summary.choices} == {("all", 2, 3), ("bo", 2, 3)}


def test_a_reload_loses_nothing_and_another_listener_starts_anew(run: Path, tmp_path: Path) -> None:
    page, _ = make(run, tmp_path, "--clips", "voice/a", "--channels", "bsc-0", "--systems", "FSQ")
    with Browser(tmp_path, **PHONE) as browser:
        begin(browser, page, "cy", ["r", "1", "2", "3"])
        browser.press("2")
        rate(browser, 33)
        before = browser.value("JSON.stringify([state.seed, current().order, current().ratings])")
        browser.open(page)
        browser.wait("loaded")
        assert heading(browser) == "Trial 1 of 1"
        assert browser.value("JSON.stringify([state.seed, current().order, current().ratings])") == before
        assert browser.value("[...document.querySelectorAll('#signals input')].map(s => s.value)")[1] == "33"
        browser.press("d")  # what there is so far
        file = downloaded(tmp_path)
        with pytest.raises(ValueError, match=r"No listener has finished .*cy .*1 of 1 trials"):
            read_listening(page.with_suffix(".key.json"), [file])
        for slot, value in (("r", None), ("1", 0), ("2", None), ("3", 100)):
            hear(browser, [slot])
            if value is not None:
                rate(browser, value)
        browser.press("Enter")
        browser.wait("state.screen === 'end'")
        browser.press("p")
        browser.wait("loaded")
        browser.press("Enter")
        browser.wait("state.screen === 'end'")
        seed = browser.value("state.seed")
        browser.press("Tab", *"Well", "Tab", "Tab", "Tab", "Enter")  # comment, back, download, anew
        assert browser.value("state.comment") == "Well" and browser.value("!find('sure').hidden")
        browser.press("Tab", "Enter")
        assert heading(browser) == "Listening test" and browser.value("state.listener") == ""
        assert browser.value("state.seed") != seed
        assert not browser.errors


def test_switching_keeps_the_place_and_a_region_repeats(run: Path, tmp_path: Path) -> None:
    page, _ = make(run, tmp_path, "--clips", "voice/c", "--channels", "bsc-0")
    with Browser(tmp_path, **PHONE) as browser:
        begin(browser, page, "di", ["r", "1", "2", "3", "4"])
        browser.press("r")
        browser.wait("player.position > 0.3")
        places: list[Any] = browser.value("""(() => { const before = player.position; player.play(2);
            return [before, player.position, player.slot, player.sources.size]; })()""")
        assert places[1] - places[0] == pytest.approx(0, abs=0.02) and places[2:] == [2, 5]
        browser.press("s")
        browser.wait("player.position > player.region[0] + 0.3")
        browser.press("e")
        start, end = browser.value("player.region")
        assert 0.25 < end - start < 1
        for _ in range(20):
            assert start - 0.05 <= browser.value("player.position") <= end + 0.05
            time.sleep(0.05)
        browser.press(" ")
        place = browser.value("player.position")
        time.sleep(0.2)
        assert browser.value("player.position") == place and not browser.value("player.running")
        browser.press("l")
        assert browser.value("player.region") is None and not browser.value("player.looping")
        browser.press(" ")
        browser.wait("!player.running")  # at the end
        assert not browser.errors


@pytest.mark.parametrize("method", ["mushra", "abx"])
def test_orders_are_a_function_of_the_seed_and_evenly_drawn(run: Path, tmp_path: Path, method: str) -> None:
    page, _ = make(run, tmp_path, "--method", method, "--channels", "bsc-0", "--systems", "RVQ", "--clips", "voice/a")
    with Browser(tmp_path, **PHONE) as browser:
        browser.open(page)
        assert browser.value("JSON.stringify(draw(7)) === JSON.stringify(draw(7))")
        orders = browser.value("[...Array(3000).keys()].map(seed => draw(seed * 7919)[0].order)")
    count = len(set(orders[0]))
    last = [order[-1] for order in orders]
    for name in set(last):  # in ABX the last is X
        share = last.count(name) / 3000
        assert abs(share - 1 / count) < 5 * (1 / count / 3000) ** 0.5
    assert len({tuple(order) for order in orders}) == (4 if method == "abx" else 6)


def test_touch_plays_and_rates(run: Path, tmp_path: Path) -> None:
    page, _ = make(run, tmp_path, "--clips", "voice/a", "--channels", "bsc-0")
    with Browser(tmp_path, touch=True, dark=True, **PHONE) as browser:
        begin(browser, page, "ed", ["r", "1", "2", "3", "4"])
        browser.tap("#signals li:nth-child(2) button")
        assert browser.value("player.slot") == 1 and browser.value("player.running")
        browser.tap("#signals li:nth-child(2) input")
        value = browser.wait("current().ratings[current().order[1]]")
        assert 45 <= value <= 55
        browser.tap("#next")
        assert "Rate signals 1, 3, 4" in browser.value("find('status').textContent")
        assert not browser.errors
