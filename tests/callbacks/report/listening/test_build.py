"""A listening test holds the run's signals, lossless and equally long, and tells no listener which is which."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import freqz

from callbacks.report.__main__ import main
from callbacks.report.listening import build as building
from callbacks.report.listening.build import build
from callbacks.report.listening.design import Options
from callbacks.report.listening.key import Condition, Key, read_key
from callbacks.report.listening.sounds import fit, flac, headroom, low_pass
from callbacks.report.runs import read_runs

SYSTEMS = [Condition("system", name, channel) for channel in ("bsc-0", "bsc-0.1") for name in ("FSQ", "RVQ")]


def content(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="test">(.*?)</script>', html, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def decoded(text: str) -> tuple[np.ndarray, int]:
    signal, rate = soundfile.read(io.BytesIO(base64.b64decode(text)), dtype="int16")
    return signal, rate


def made(run: Path, **options: Any) -> tuple[str, Key]:
    test = build(read_runs([run]), Options(seed=3, **options))
    return test.html, test.key


def test_every_trial_holds_the_files_of_the_run_bit_by_bit(run: Path) -> None:
    html, key = made(run)
    page = content(html)
    runs = read_runs([run])
    assert {trial.clip for trial in key.trials} == set(runs.audio_clips) and len(page["trials"]) == 3
    for shown in page["trials"]:
        trial = next(trial for trial in key.trials if trial.trial == shown["trial"])
        assert sorted(shown["signals"]) == sorted(trial.signals) and shown["reference"] not in trial.signals
        assert set(trial.signals.values()) == {Condition("reference"), Condition("anchor", "3.5 kHz"), *SYSTEMS}
        original, _ = soundfile.read(runs.originals[trial.clip], dtype="int16")
        assert np.array_equal(decoded(page["sounds"][shown["reference"]])[0], original)
        for name, condition in trial.signals.items():
            signal, rate = decoded(page["sounds"][name])
            assert len(signal) == len(original) and rate == 16_000
            if condition.role == "system":
                system = next(system for system in runs.systems if system.name == condition.system)
                file, _ = soundfile.read(system.audio[trial.clip][condition.channel], dtype="int16")
                assert np.array_equal(signal, file)
            if condition.role == "reference":
                assert np.array_equal(signal, original)


def test_the_page_names_no_system_channel_clip_or_role(run: Path) -> None:
    html, key = made(run)
    page = content(html)
    assert page.keys() == {"test", "method", "title", "trials", "sounds"} and page["test"] == key.test
    rest = html.replace(json.dumps(page), "")
    assert len(rest) < len(html) / 10  # the sounds are gone
    for told in ("FSQ", "RVQ", "bsc", "voice/", "anchor", "3.5 kHz", run.name):
        assert told not in rest
    names = [name for trial in key.trials for name in trial.signals]
    assert all(re.fullmatch("[0-9a-f]{8}", name) for name in [*names, *page["sounds"]])
    for trial in page["trials"]:
        assert trial.keys() == {"trial", "signals", "reference"} and trial["signals"] == sorted(trial["signals"])
    assert list(page["sounds"]) == sorted(page["sounds"])


def test_names_come_from_the_seed_which_is_drawn_unless_given(run: Path) -> None:
    runs = read_runs([run])
    same = [build(runs, Options(seed=5)) for _ in range(2)]
    assert same[0].html == same[1].html and same[0].key == same[1].key
    drawn = [build(runs, Options()).key for _ in range(2)]
    assert drawn[0].seed != drawn[1].seed and drawn[0].test != drawn[1].test
    assert not set(drawn[0].trials[0].signals) & set(drawn[1].trials[0].signals)


def test_the_page_loads_nothing_and_runs_only_its_own_script(run: Path) -> None:
    html, _ = made(run, title='</script><script>alert("x")</script>')
    assert html.count("<script") == 2 and "<script>alert" not in html
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy and "default-src 'none'" in policy[1] and "unsafe" not in policy[1]
    assert not re.search(r"""(?:src|href)=["']?(?!data:)|https?://|@import|fetch\(|XMLHttpRequest""", html)


@pytest.mark.parametrize(("cut_off", "rate"), [(3500.0, 16_000), (3500.0, 24_000), (7000.0, 16_000), (7000.0, 48_000)])
def test_anchors_keep_what_is_below_the_cut_off_and_meet_the_template(cut_off: float, rate: int) -> None:
    impulse = np.zeros(4001)
    impulse[2000] = 1.0
    response = low_pass(impulse, rate, cut_off)
    assert np.argmax(np.abs(response)) == 2000  # no delay
    frequency, gain = freqz(response, worN=8192, fs=rate)
    level = 20 * np.log10(np.abs(gain) + 1e-12)
    assert np.abs(level[frequency <= cut_off]).max() <= 0.1
    assert level[frequency >= cut_off * 8 / 7].max(initial=-99) <= -50


def test_anchors_are_those_asked_for(run: Path) -> None:
    _, key = made(run, anchors=[3500, 7000], channels=["bsc-0.1"], systems=["RVQ"], clips=["voice/b"])
    labels = [condition.label for condition in key.conditions]
    assert labels == ["hidden reference", "anchor, 3.5 kHz low-pass", "anchor, 7 kHz low-pass", "RVQ, bsc-0.1"]
    assert [trial.clip for trial in key.trials] == ["voice/b"]
    assert [c.role for c in made(run, anchors=[])[1].conditions].count("anchor") == 0


def test_levels_are_matched_on_request_and_stated(run: Path) -> None:
    for matched in (False, True):
        html, key = made(run, match_levels=matched)
        sounds = content(html)["sounds"]
        for trial in key.trials:
            powers = {c: np.square(decoded(sounds[n])[0].astype(float)).mean() for n, c in trial.signals.items()}
            gaps = {10 * np.log10(powers[c] / powers[Condition("reference")]) for c in SYSTEMS}
            assert (max(map(abs, gaps)) < 0.1) == matched
        assert key.facts["levels"] == ("matched to the original" if matched else "as decoded")


def test_a_length_or_a_peak_does_not_leave_its_range() -> None:
    ramp = np.arange(8.0)
    assert np.array_equal(fit(ramp, 8, new_rate=8, length=5), ramp[:5])
    assert np.array_equal(fit(ramp, 8, new_rate=8, length=10), [*ramp, 0, 0])
    assert len(fit(np.zeros(1000), 16_000, new_rate=24_000, length=1500)) == 1500
    assert headroom([np.array([0.2, -1.0])]) == 1
    loud = np.array([0.5, -1.6])
    assert np.abs(decoded(flac(headroom([loud]) * loud, 16_000))[0]).max() == 2**15 - 1


def test_an_abx_test_repeats_each_pair(run: Path) -> None:
    html, key = made(run, method="abx", repeats=3, channels=["bsc-0.1"], clips=["voice/a", "voice/b"])
    page = content(html)
    assert len(page["trials"]) == len(key.trials) == 2 * 2 * 3
    assert all(trial.keys() == {"trial", "signals"} and len(trial["signals"]) == 2 for trial in page["trials"])
    assert {tuple(trial.signals.values()) for trial in key.trials} == {
        (Condition("system", name, "bsc-0.1"), Condition("reference")) for name in ("FSQ", "RVQ")
    }
    _, against = made(run, method="abx", baseline="FSQ", repeats=1)
    assert {tuple(trial.signals.values()) for trial in against.trials} == {
        (Condition("system", "RVQ", channel), Condition("system", "FSQ", channel)) for channel in ("bsc-0", "bsc-0.1")
    }


def test_the_command_writes_page_and_key_and_says_what_is_in_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--listening-test", str(run), "-o", str(tmp_path / "test.html"), "--seed", "3"])
    html, key = made(run)
    assert (tmp_path / "test.html").read_text() == html and read_key(tmp_path / "test.key.json") == key
    told = capsys.readouterr().out
    size = (tmp_path / "test.html").stat().st_size / 1e6
    assert f"{size:.2f} MB" in told and "MUSHRA: 3 trials of 6 signals on 3 clips, levels as decoded" in told
    assert all(condition.label in told for condition in key.conditions)


def test_the_key_of_another_test_is_not_lost(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--listening-test", str(run), "-o", str(tmp_path / "test.html")]
    main([*command, "--seed", "3"])
    before = (tmp_path / "test.html").read_text()
    with pytest.raises(SystemExit):
        main(command)
    assert "test.key.json is the key of another test: name another file" in capsys.readouterr().err
    assert (tmp_path / "test.html").read_text() == before and read_key(tmp_path / "test.key.json").seed == 3
    main([*command, "--seed", "3"])


def test_an_abbreviated_flag_makes_no_page_of_another_kind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main([str(run), "--listening"])
    assert "in full" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "match"), [
    (["--channels", "bsc-0.2"], "channel 'bsc-0.2' has no audio in the runs: have: bsc-0, bsc-0.1"),
    (["--systems", "Opus"], "system 'Opus' has no audio in the runs: have: FSQ, RVQ"),
    (["--clips", "voice/a", "voice/a"], "clips voice/a voice/a are named twice"),
    (["--anchors", *map(str, range(1000, 1800, 100))], "13 signals a trial .* more than the 12 .*--channels"),
    (["--anchors", "8000"], "cut-off 8000 Hz must be above 0 and at most 7000 Hz"),
    (["--baseline", "FSQ"], "baseline FSQ is for --method abx"),
    (["--method", "abx", "--baseline", "Opus"], "baseline 'Opus' must be one of FSQ, RVQ"),
    (["--method", "abx", "--baseline", "FSQ", "--systems", "FSQ"], "baseline 'FSQ' shares no channel"),
    (["--method", "abx", "--repeats", "0"], "repeats 0 must be at least 1"),
])  # fmt: skip
def test_what_cannot_be_made_is_one_sentence(
    run: Path, tmp_path: Path, options: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--listening-test", str(run), "-o", str(tmp_path / "test.html"), *options])
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1 and re.search(match, error), error
    assert not list(tmp_path.iterdir())


def test_a_page_that_is_too_large_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "LARGEST", 1e5)
    with pytest.raises(ValueError, match=r"larger than 0 MB with 3 clips and 4 systems .*: choose fewer with --clips"):
        made(run)


def test_audio_of_two_channels_is_refused(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    soundfile.write(copy / "channel" / "audio_1_original.wav", np.zeros((1000, 2)), 16_000)
    with pytest.raises(ValueError, match=r"audio_1_original\.wav has 2 channels"):
        made(copy)


def test_a_system_without_audio_behind_a_channel_is_named(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    document = json.loads((copy / "channel.json").read_text())
    del document["audio"][0]["files"]["RVQ, bsc-0.1"]
    (copy / "channel.json").write_text(json.dumps(document))
    test = build(read_runs([copy]), Options(seed=0))
    assert [c.label for c in test.key.conditions if c.role == "system"] == ["FSQ, bsc-0", "RVQ, bsc-0", "FSQ, bsc-0.1"]
    assert test.notes == ["RVQ has no audio behind bsc-0.1, and is left out there."]
