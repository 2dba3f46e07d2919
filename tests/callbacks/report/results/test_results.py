"""RESULTS.md: the logged numbers to the third decimal, verdicts that the numbers decide, and what is missing stated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.metrics import SISDR, STOI
from callbacks.report.results.__main__ import main
from callbacks.report.results.claims import claims
from callbacks.report.results.controls import main as controls
from callbacks.report.results.logged import read_logged
from callbacks.report.results.markdown import Table, cells, figure
from callbacks.report.results.questions import questions
from codec.channels import FrameErasureChannel, Repetition
from codec.channels.link import Link
from codec.training.comparison_module import ComparisonModule, System
from tests.support.codec_fakes import clip, loader, tiny_codec, trainer
from tests.support.paths import ROOT
from tests.support.speech import speech_like

CLIPS = [
    clip(name, speech_like(n, 0.8)) | {"speaker": [name.split("_")[0]]} for n, name in enumerate(["a_1", "a_2", "lj_3"])
]
SENSITIVITY = """part,bits,flip_rate,metric,loss,low,high,displacement,pairs
bit 0,0,0.1,stoi,0.0123,-0.001,0.0202,0.4321,16
dimension 1,0 1,0.1,stoi,0.9,0.8,0.95,0.7,16
"""
CHOICES = """channel,rate_limit,delay_limit_ms,metric,best,mean,low,high,bit_rate,delay_ms,second,difference,as_good
bsc-0.1,820,500,stoi,FSQ expected,0.6543,0.64,0.66,800,40,FSQ repeat,0.02,
bsc-0.1,1600,500,stoi,FSQ conv,0.71,0.7,0.72,1587.2,199.6,FSQ expected,0.05,FSQ LDPC; FSQ unequal
"""


class Renamed(STOI):
    """STOI under PESQ's name: the tables want both, and PESQ takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.label, self.unit = "pesq_wb", "PESQ-WB", "MOS-LQO"


def evaluate(folder: Path, systems: list[System], **options: Any) -> None:
    metrics = [Renamed(), STOI(), SISDR()]
    settings = {"metrics": metrics, "num_workers": 0, "audio_clips": 0, "bootstrap": 50, **options}
    trainer(folder, [ChannelEvaluation(**settings)]).test(ComparisonModule(systems), loader(CLIPS), verbose=False)


def agreement(exact: float, gap: float) -> dict[str, Any]:
    figures = {"exact code": exact, "same level": 0.61, "within one level": 0.9, "cosine of quantizer outputs": 0.7}
    rows = [{"figure": name, "measured": value, "chance": 0.25} for name, value in figures.items()]
    difference = {
        "channel": "bsc-0",
        "metric": "stoi",
        "difference": gap,
        "low": gap - 0.01,
        "high": gap + 0.01,
        "draws": 3,
        "unpaired": 0,
        "withheld": "",
    }
    cost = {"encoder": "x", "parameters": 1000, "macs_per_second": 4e6, "real_time_factor": 0.2}
    small = cost | {"parameters": 100, "macs_per_second": 1e6, "real_time_factor": 0.1}
    clips = [{"id": batch["id"][0]} for batch in CLIPS]
    scores = [{"channel": "bsc-0", "metric": "stoi", "codec": name, "silent": 0, "unscorable": 0} for name in "ts"]
    return {"clips": clips, "agreement": rows, "scores": scores, "differences": [difference], "costs": [cost, small]}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("results")
    first, second, third = tiny_codec(), tiny_codec(), tiny_codec()
    evaluate(folder / "codecs", [System("FSQ", codec=first), System("FSQ aware", codec=second)],
             bit_error_rates=(0.0, 0.1))  # fmt: skip
    names = ["FSQ natural", *(f"FSQ permuted in halves seed {seed}" for seed in range(3)), "RVQ natural",
             "RVQ permuted seed 0", "RVQ permuted seed 1", "RVQ optimised"]  # fmt: skip
    maps = [System(name, codec=first if name.startswith("FSQ") else second) for name in names]
    evaluate(folder / "maps", maps, bit_error_rates=(0.0, 0.01, 0.1))
    coded = Link(code=Repetition(2), interleave=2)
    links = [System("FSQ", codec=first), System("FSQ twin", codec=first), System("FSQ prior", codec=third),
             System("FSQ conv 1/2 over 16 frames", codec=first, link=coded)]  # fmt: skip
    evaluate(folder / "links", links, bit_error_rates=(0.0, 0.1), channels=[FrameErasureChannel(0.2)])
    tuned = [System(name, codec=codec) for name, codec in
             (("FSQ", first), ("FSQ continued", second), ("FSQ through flips", third))]  # fmt: skip
    evaluate(folder / "fine_tuning", tuned, bit_error_rates=(0.0, 0.1))
    for name, exact, gap in (("student", 0.02, 0.01), ("student_from_0", 0.9, -0.5)):
        (folder / name).mkdir()
        (folder / name / "agreement.json").write_text(json.dumps(agreement(exact, gap)))
    (folder / "student_from_0" / "note.txt").write_text("Half the\nbatches.\n")
    (folder / "bits").mkdir()
    (folder / "bits" / "sensitivity.csv").write_text(SENSITIVITY)
    (folder / "operating_curve").mkdir()
    (folder / "operating_curve" / "operating_curve.csv").write_text(CHOICES)
    return folder


@pytest.fixture
def text(logged: Path, tmp_path: Path) -> str:
    main([str(logged), "-o", str(tmp_path / "R.md"), "--leave-out", "lj_*"])
    return (tmp_path / "R.md").read_text()


def line(text: str, start: str) -> list[str]:
    """Cells of the first table row that starts so."""
    return next(row for row in text.splitlines() if row.startswith(f"| {start} |"))[2:-2].split(" | ")


def as_text(table: Table) -> str:
    return "\n".join(f"| {cells(row)} |" for row in table.rows)


def means(folder: Path, codec: str, channel: str, metric: str) -> list[float]:
    document = json.loads((folder / "channel.json").read_text())
    values = [c["channels"][channel]["scores"][metric][0] for c in document["clips"] if c["codec"] == codec]
    return values if metric == "si_sdr" else [max(0.0, value) for value in values]  # below 0 counts as silence does


def test_the_tables_hold_the_logged_scores(logged: Path, text: str) -> None:
    values = means(logged / "codecs", "FSQ", "bsc-0", "si_sdr")
    section, rest = text.split("## 2 Reconstruction")[1].split("The same without `lj_*` (2 clips)")
    assert line(section, "FSQ")[6].startswith(f"{figure(sum(values) / 3)} [")
    assert line(rest, "FSQ")[6] == figure(sum(values[:2]) / 2)  # of one speaker: no interval
    document = json.loads((logged / "codecs" / "channel.json").read_text())
    clips = [c for c in document["clips"] if c["codec"] == "FSQ"]
    coded = sum(c["coded_bit_rate"] * c["seconds"] for c in clips) / sum(c["seconds"] for c in clips)
    assert line(section, "FSQ")[2] == f"{coded / 1000:.3g}" and "Coded: behind an adaptive" in section
    flips = text.split("### Every codec behind flipped bits")[1]
    assert line(flips, "FSQ aware")[2] == figure(sum(means(logged / "codecs", "FSQ aware", "bsc-0.1", "stoi")) / 3)


def test_summary_and_claims_come_first(text: str) -> None:
    order = ["# Results", "- **Level.**", "- **FSQ against RVQ**", "## The paper's claims", "## Definitions"]
    order += ["## 1 FSQ", "## 2 ", "## 3 ", "## 5 ", "## 6 ", "## Appendix"]
    places = [text.index(start) for start in order]
    assert places == sorted(places)
    assert "of 2 speakers" in text and "bootstrap-t over speakers" in text


def test_fine_tuning_is_set_against_its_control(logged: Path, text: str) -> None:
    plain, control, tuned = (means(logged / "fine_tuning", f"FSQ{kind}", "bsc-0.1", "stoi")
                             for kind in ("", " continued", " through flips"))  # fmt: skip
    row = line(text.split("## 5 ")[1], "10 %")
    assert row[1] == figure(sum(plain) / 3)
    for cell, (one, other) in zip(row[2:], ((tuned, plain), (control, plain), (tuned, control)), strict=True):
        assert cell.startswith(f"{figure(sum(one) / 3 - sum(other) / 3, sign='+')} [")


def test_links_state_rate_and_delay_and_are_set_against_the_plain_system(logged: Path, text: str) -> None:
    section = text.split("### Lost frames")[1]
    assert line(section, "FSQ conv 1/2 over 16 frames")[1:3] == ["0.8", "40"]  # 2 frames of 20 ms
    assert line(section, "FSQ prior")[2] == "0"
    assert "| FSQ prior minus FSQ |" in section
    assert "| FSQ conv 1/2 over 16 frames minus FSQ prior |" in section


def test_systems_of_equal_scores_are_listed_once(text: str) -> None:
    section = text.split("### Lost frames")[1]
    assert "| FSQ twin |" not in section and "equal those of a system above: FSQ twin." in section


def test_students_and_bits(text: str) -> None:
    assert line(text, "exact code") == ["exact code", "2 % (25 %)", "90 % (25 %)", "2 %"]
    assert "- `student_from_0`: Half the batches." in text
    assert line(text, "Distilling from the first step diverges")[2] == "not tested"
    assert "| student | STOI | 0 | +0.010 [+0.000, +0.020] |" in text
    assert "100 (1 : 10.0) | 1.0 (1 : 4.0) | 2.0 times as fast" in text
    assert line(text, "bit 0") == ["bit 0", "0.432", "0.012 [−0.001, 0.020]"]
    assert "dimension 1" not in text


def test_the_operating_curve_names_the_best_and_what_is_as_good(text: str) -> None:
    section = text.split("## 8 ")[1].split("## Appendix")[0]
    assert "of at most 500 ms. Rates count every bit" in section
    first, second = (row for row in section.splitlines() if row.startswith("| bsc-0.1 |"))
    assert first == "| bsc-0.1 | 0.82 | FSQ expected | 0.8 | 40 | 0.654 [0.640, 0.660] | – |"
    assert second.endswith("| 1.6 | FSQ conv | 1.59 | 200 | 0.710 [0.700, 0.720] | FSQ LDPC; FSQ unequal |")


def test_bsq_has_a_column_where_it_was_scored(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "| index assignment, STOI | FSQ | RVQ | FSQ minus RVQ |" in text
    codec = tiny_codec()
    names = ["FSQ natural", "FSQ permuted in halves", "FSQ permuted whole", "RVQ natural", "RVQ permuted",
             "BSQ natural", "BSQ permuted in halves"]  # fmt: skip
    evaluate(tmp_path / "maps", [System(name, codec=codec) for name in names], bit_error_rates=(0.0, 0.1))
    for number, name in enumerate(names):
        set_scores(tmp_path / "maps", name, lambda _, value=0.3 + 0.1 * number: value)  # type: ignore[misc]
    controls([str(tmp_path / "maps")])
    shown = capsys.readouterr().out
    assert line(shown, "index assignment, STOI")[1:] == ["FSQ", "RVQ", "BSQ", "FSQ minus RVQ"]
    starts = [cell.split()[0] for cell in line(shown, "natural binary")[1:]]
    assert starts == ["0.301", "0.601", "0.801", "−0.300"]
    assert [cell.split()[0] for cell in line(shown, "permuted, blocks of 8 bits")[1:4]] == ["0.401", "0.701", "0.901"]
    assert line(shown, "permuted, whole codewords of 16 bits")[2:4] == ["–", "–"], "BSQ permuted whole was not scored"


def test_intervals_of_older_students_are_left_out(logged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    document = agreement(0.02, 0.01)
    del document["differences"][0]["withheld"]
    (folder / "student" / "agreement.json").write_text(json.dumps(document))
    main([str(folder), "-o", str(tmp_path / "R.md")])
    text = (tmp_path / "R.md").read_text()
    assert "| student | STOI | 0 | +0.010 |" in text
    assert line(text, "They reconstruct equally well through the same quantizer and decoder")[2] == "not tested"


def set_scores(folder: Path, codec: str, score: Callable[[str], float | None]) -> None:
    """Give a system the score that a function of the channel's name says, clips a little apart; None: none."""
    path = folder / "channel.json"
    document = json.loads(path.read_text())
    for number, entry in enumerate(c for c in document["clips"] if c["codec"] == codec):
        for channel, draw in entry["channels"].items():
            value = score(channel)
            found = value + 0.001 * number if value else value
            draw["scores"] = {metric: [found] for metric in draw["scores"]}
            draw["unscorable"] = {metric: ["no"] for metric in draw["scores"]} if value is None else {}
    path.write_text(json.dumps(document))


CLAIMS = ("FSQ codes survive bit errors far better than RVQ codes", "RVQ drops sharply above 1 %",
          "FSQ stays fairly stable up to 10 %")  # fmt: skip


@pytest.mark.parametrize(("rvq", "fsq_loss", "marks"), [
    ((0.8, 0.7, 0.3), 0.08, ["reproduced", "reproduced", "reproduced"]),
    ((0.8, 0.8, 0.75), 0.08, ["not reproduced", "not reproduced", "reproduced"]),
    ((0.8, 0.79, 0.5), 0.2, ["partly reproduced", "reproduced", "not reproduced"]),  # at 10 % alone
    ((0.8, 0.7, 0.65), 0.08, ["partly reproduced", "not reproduced", "reproduced"]),  # more, but not far more
    ((0.77, 0.76, 0.7), 0.08, ["not reproduced", "not reproduced", "reproduced"]),  # lower, but tougher
])  # fmt: skip
def test_verdicts_follow_the_numbers(
    logged: Path, tmp_path: Path, rvq: tuple[float, ...], fsq_loss: float, marks: list[str]
) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    channels = ("bsc-0", "bsc-0.01", "bsc-0.1")
    fsq = dict(zip(channels, (0.8, 0.78, 0.8 - fsq_loss), strict=True))
    set_scores(folder / "maps", "FSQ natural", fsq.__getitem__)
    set_scores(folder / "maps", "RVQ natural", dict(zip(channels, rvq, strict=True)).__getitem__)
    text = as_text(claims(read_logged(folder)))
    assert [line(text, start)[2] for start in CLAIMS] == marks
    for untested in ("Speech stays intelligible up to 10 % of flipped bits", "Distilling from the first step diverges",
                     "0.8 kbit/s reach STOI 0.90 and PESQ 2.06 (the paper's teacher at 16 kHz)"):  # fmt: skip
        assert line(text, untested)[2] == "not tested"


def spread(folder: Path, codec: str, channel: str, values: list[float]) -> None:
    edit(folder, lambda document: [
        entry["channels"][channel]["scores"].update(stoi=[value]) for entry, value in
        zip((c for c in document["clips"] if c["codec"] == codec), values, strict=True)
    ])  # fmt: skip


def test_a_mean_whose_interval_reaches_beyond_the_bound_is_reproduced_in_part(logged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    for codec in ("FSQ natural", "RVQ natural"):
        set_scores(folder / "maps", codec, {"bsc-0": 0.8, "bsc-0.01": 0.8, "bsc-0.1": 0.7}.__getitem__)
    spread(folder / "maps", "FSQ natural", "bsc-0.1", [0.85, 0.65, 0.65])
    spread(folder / "maps", "RVQ natural", "bsc-0.1", [0.8, 0.6, 0.6])
    text = as_text(claims(read_logged(folder)))
    assert [line(text, start)[2] for start in CLAIMS[1:]] == ["partly reproduced", "partly reproduced"]


@pytest.mark.parametrize(("clean", "rvq_clean"), [(0.45, 0.45), (0.05, 0.05), (0.8, 0.7)])
def test_what_is_not_speech_or_starts_elsewhere_is_not_tested(
    logged: Path, tmp_path: Path, clean: float, rvq_clean: float
) -> None:
    """A codec that is not intelligible without errors cannot lose much."""
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    set_scores(folder / "maps", "FSQ natural", lambda channel: clean)
    set_scores(folder / "maps", "RVQ natural", lambda channel: rvq_clean if channel == "bsc-0" else 0.01)
    text = as_text(claims(read_logged(folder)))
    assert line(text, CLAIMS[0])[2] == "not tested"
    assert line(text, CLAIMS[2])[2] == ("reproduced" if clean == 0.8 else "not tested")


@pytest.mark.parametrize("change", [{"silent": 1}, {"unscorable": 1}])
def test_a_silent_student_or_teacher_reproduces_nothing(logged: Path, tmp_path: Path, change: dict[str, int]) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    document = agreement(0.02, 0.0)
    document["scores"][0].update(change)
    (folder / "student" / "agreement.json").write_text(json.dumps(document))
    text = as_text(claims(read_logged(folder)))
    assert line(text, "They reconstruct equally well through the same quantizer and decoder")[2] == "not tested"


@pytest.mark.parametrize("failed", [None, 0.0, -0.01])
@pytest.mark.parametrize("where", [("bsc-0",), ("bsc-0.1",), ("bsc-0", "bsc-0.01", "bsc-0.1")])
def test_what_failed_or_is_silent_reproduces_nothing(
    logged: Path, tmp_path: Path, failed: float | None, where: tuple[str, ...]
) -> None:
    """A silent output counts as 0 without errors too, so that it loses nothing: it must not decide a claim."""
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    for codec in ("FSQ natural", "RVQ natural"):
        set_scores(folder / "maps", codec, {"bsc-0": 0.8, "bsc-0.01": 0.7, "bsc-0.1": 0.3}.__getitem__)
    before = read_logged(folder)

    def fail(document: dict[str, Any]) -> None:
        for codec in ("FSQ natural", "RVQ natural"):
            entry = next(c for c in document["clips"] if c["codec"] == codec)
            for channel in where:
                entry["channels"][channel]["scores"]["stoi"] = [failed]
                entry["channels"][channel]["unscorable"] = {} if failed is not None else {"stoi": ["no"]}

    edit(folder / "maps", fail)
    after = read_logged(folder)
    text = as_text(claims(after))
    affected = CLAIMS if "bsc-0.1" in where else (CLAIMS[0], CLAIMS[2])
    assert {line(text, start)[2] for start in affected} == {"not tested"}
    assert before.maps is not None and after.maps is not None
    for channel in where:
        levels = [run.level("FSQ natural", channel=channel).mean for run in (before.maps, after.maps)]
        assert levels[1] < levels[0]


@pytest.mark.parametrize(("codes", "mark"), [
    ({}, "reproduced"), ({"same level": 0.82, "cosine of quantizer outputs": 0.94}, "partly reproduced"),
    ({"exact code": 0.6}, "not reproduced"),
])  # fmt: skip
def test_vastly_different_is_nearer_to_the_paper_than_to_identity(
    logged: Path, tmp_path: Path, codes: dict[str, float], mark: str
) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    document = agreement(0.2, 0.0)
    for row in document["agreement"]:
        row["measured"] = codes.get(row["figure"], row["measured"])
    (folder / "student" / "agreement.json").write_text(json.dumps(document))
    found = line(as_text(claims(read_logged(folder))), "Two encoders learn vastly different codes for the same audio")
    assert found[2] == mark


@pytest.mark.parametrize(("gap", "mark"), [(0.0, "reproduced"), (0.011, "not reproduced"), (-0.011, "not reproduced"),
                                           (float("nan"), "not tested")])  # fmt: skip
def test_equally_well_is_neither_worse_nor_better(logged: Path, tmp_path: Path, gap: float, mark: str) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    text = json.dumps(agreement(0.02, gap)).replace("NaN", "null")
    (folder / "student" / "agreement.json").write_text(text)
    found = line(as_text(claims(read_logged(folder))), "They reconstruct equally well through the same quantizer and "
                 "decoder")  # fmt: skip
    assert found[2] == mark


def unscore(folder: Path, codec: str, channel: str, *, clips: int) -> None:
    """Take a system's scores behind a channel away, in its first clips."""
    document = json.loads((folder / "channel.json").read_text())
    for entry in [c for c in document["clips"] if c["codec"] == codec][:clips]:
        draw = entry["channels"][channel]
        draw["unscorable"] = {metric: ["silent"] for metric in draw["scores"]}
        draw["scores"] = {metric: [None] for metric in draw["scores"]}
    (folder / "channel.json").write_text(json.dumps(document))


def test_what_could_not_be_scored_is_stated_beside_every_mean(logged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    unscore(folder / "codecs", "FSQ", "bsc-0", clips=1)
    unscore(folder / "fine_tuning", "FSQ through flips", "bsc-0.1", clips=1)
    main([str(folder), "-o", str(tmp_path / "R.md")])
    text = (tmp_path / "R.md").read_text()
    clean = line(text.split("## 2 Reconstruction")[1], "FSQ")
    assert ", 1 of 3 imputed" in clean[5]
    assert clean[6] == "not comparable [1 of 3 unscored]"  # SI-SDR has no worst value
    assert line(text.split("## 5 ")[1], "10 %")[2].endswith(", 1 of 3 imputed]")
    assert "nan" not in text


def test_pesq_is_not_shown_where_speech_is_gone(logged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))

    def state(document: dict[str, Any]) -> None:
        pesq = next(m for m in document["metrics"] if m["name"] == "pesq_wb")
        pesq["needs"] = {"metric": "stoi", "least": 0.4, "why": "gone"}

    edit(folder / "codecs", state)
    set_scores(folder / "codecs", "FSQ", {"bsc-0": 0.8, "bsc-0.1": 0.3}.__getitem__)
    main([str(folder), "-o", str(tmp_path / "R.md")])
    table = (tmp_path / "R.md").read_text().split("| PESQ-WB | 0 |")[1]
    assert line(table, "FSQ")[1:] == ["0.801", "†"]


def test_the_parts_of_the_advantage_add_up(logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    behind = {"FSQ natural": 0.8, "FSQ permuted in halves seed 0": 0.58, "FSQ permuted in halves seed 1": 0.62,
              "FSQ permuted in halves seed 2": 0.6,
              "RVQ natural": 0.51, "RVQ permuted seed 0": 0.49, "RVQ permuted seed 1": 0.51,
              "RVQ optimised": 0.7}  # fmt: skip
    for codec, value in behind.items():
        set_scores(folder / "maps", codec, lambda c, value=value: 0.9 if c == "bsc-0" else value)  # type: ignore[misc]
    main([str(folder), "-o", str(tmp_path / "R.md")])
    text = (tmp_path / "R.md").read_text()
    capsys.readouterr()
    controls([str(folder / "maps")])
    for found in (text, capsys.readouterr().out):
        assert line(found, "FSQ natural minus RVQ natural")[2].startswith("+0.290 [")
        assert line(found, "FSQ natural minus RVQ permuted")[2].startswith("+0.300 [")
        assert line(found, "— from the index assignment: FSQ natural minus FSQ permuted in halves")[2].startswith(
            "+0.200 ["
        )
        assert line(found, "— from the quantizer: FSQ permuted in halves minus RVQ permuted")[2].startswith("+0.100 [")
        assert line(found, "share of the index assignment by this control")[1:] == ["66.7 %", "66.7 %"]
        assert line(found, "what RVQ's optimised assignment recovers of the first line")[1:] == ["65.5 %", "65.5 %"]
    assert line(text, "permuted, blocks of 8 bits")[1].startswith("0.601 [")  # the mean of both seeds
    with pytest.raises(SystemExit) as stopped:
        controls([str(folder / "codecs")])
    assert stopped.value.code == 2 and "has no scores of FSQ natural" in capsys.readouterr().err


def answers(folder: Path) -> str:
    return "\n".join(as_text(table) for _, table in questions(read_logged(folder)))


BEST = "Does FSQ or RVQ lose less to flips, with their best index assignments?"


@pytest.mark.parametrize(("rvq", "answer"), [
    ((0.8, 0.6), "FSQ"), ((0.8, 0.8), "RVQ"), ((0.8, 0.7), "no difference shown"),
    ((0.74, 0.5), "not tested"), ((0.45, 0.1), "not tested"), ((0.8, 0.0), "not tested"), ((0.8, None), "not tested"),
])  # fmt: skip
def test_what_loses_less_is_answered_by_the_interval_between_equals(
    logged: Path, tmp_path: Path, rvq: tuple[float, float | None], answer: str
) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    both = ("FSQ natural", (0.8, 0.7)), ("RVQ optimised", rvq)
    for system, (clean, harsh) in both:
        scores = {"bsc-0": clean, "bsc-0.01": clean, "bsc-0.1": harsh}
        set_scores(folder / "maps", system, scores.__getitem__)
    spread(folder / "maps", "FSQ natural", "bsc-0.1", [0.69, 0.7, 0.71])
    assert line(answers(folder), BEST)[1] == answer


SEEDS = "Does FSQ or RVQ lose less to flips in every training run of quickstart size, natural binary codewords?"


@pytest.mark.parametrize(("losses", "answer"), [
    ({"FSQ": (0.10, 0.11, 0.12), "RVQ": (0.30, 0.31, 0.33)}, "FSQ"),
    ({"FSQ": (0.30, 0.29, 0.28), "RVQ": (0.10, 0.11, 0.12)}, "RVQ"),
    ({"FSQ": (0.10, 0.10, 0.22), "RVQ": (0.21, 0.21, 0.21)}, "no difference shown"),  # by chance of training
    ({"FSQ": (0.1, 0.1, 0.1, 0.1, 0.16), "RVQ": (0.15, 0.3, 0.3, 0.3, 0.3)}, "no difference shown"),  # one pair differs
    ({"FSQ": (0.10, 0.11), "RVQ": (0.30, 0.31)}, "not tested"),
])  # fmt: skip
def test_an_advantage_holds_if_every_training_run_has_it(
    logged: Path, tmp_path: Path, losses: dict[str, tuple[float, ...]], answer: str
) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    names = {f"{name} seed {seed}": loss for name in losses for seed, loss in enumerate(losses[name])}
    evaluate(folder / "seeds", [System(name, codec=tiny_codec()) for name in names], bit_error_rates=(0.0, 0.1))
    for name, loss in names.items():
        set_scores(folder / "seeds", name, {"bsc-0": 0.8, "bsc-0.1": 0.8 - loss}.__getitem__)
    assert line(answers(folder), SEEDS)[1] == answer


@pytest.mark.parametrize(("causal", "tuned", "expected"), [
    (0.9, 0.75, ("yes", "yes")), (0.6, 0.65, ("no", "no")), (0.7815, 0.7, ("no difference shown",) * 2),
])  # fmt: skip
def test_causality_and_fine_tuning_are_answered_by_their_margins(
    logged: Path, tmp_path: Path, causal: float, tuned: float, expected: tuple[str, str]
) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    evaluate(folder / "codecs", [System(name, codec=tiny_codec()) for name in ("FSQ", "Streaming")],
             bit_error_rates=(0.0, 0.1))  # fmt: skip
    for system, run, value in (
        ("FSQ", "codecs", 0.8),
        ("Streaming", "codecs", causal),
        ("FSQ continued", "fine_tuning", 0.7),
        ("FSQ through flips", "fine_tuning", tuned),
    ):
        set_scores(folder / run, system, lambda _, value=value: value)  # type: ignore[misc]
    spread(folder / "codecs", "Streaming", "bsc-0", [causal - 0.004, causal + 0.002, causal + 0.004])
    spread(folder / "fine_tuning", "FSQ through flips", "bsc-0.1", [tuned - 0.001, tuned + 0.001, tuned + 0.002])
    text = answers(folder)
    found = (line(text, "Is the causal codec as good as the FSQ codec without errors?")[1],
             line(text, "FSQ: does fine-tuning through flips help at 10 % of bits flipped?")[1])  # fmt: skip
    assert found == expected
    assert line(text, "BSQ: does fine-tuning through flips help at 10 % of bits flipped?")[1:] == [
        "not tested", "no run of it in this folder"]  # fmt: skip


def test_what_is_not_there_is_not_tested(logged: Path, tmp_path: Path) -> None:
    shutil.copytree(logged / "codecs", tmp_path / "codecs")
    main([str(tmp_path), "-o", str(tmp_path / "R.md")])
    text = (tmp_path / "R.md").read_text()
    assert line(text, "FSQ codes survive bit errors far better than RVQ codes")[2:] == [
        "not tested", "no run of it in this folder"]  # fmt: skip
    assert "## 1 " not in text and "## 3 " not in text
    assert (tmp_path / "codecs.svg").is_file()


def test_the_same_runs_give_the_same_bytes(logged: Path, tmp_path: Path) -> None:
    written = []
    for name in "ab":
        main([str(logged), "-o", str(tmp_path / name)])
        written.append(((tmp_path / name).read_bytes(), (logged / "maps.svg").read_bytes()))
    assert written[0] == written[1]


@pytest.mark.parametrize(("damage", "message"), [
    (lambda f: shutil.rmtree(f / "codecs"), "codecs has no channel.json: run `make results` first"),
    (lambda f: (f / "codecs" / "channel.json").write_text("{}"), "is incomplete or not of an evaluation"),
    (lambda f: (f / "student" / "agreement.json").write_text("{"), "test the student again"),
    (lambda f: (f / "student" / "agreement.json").write_text("[]"), "test the student again"),
    (lambda f: (f / "student" / "agreement.json").write_text(json.dumps(agreement(0.1, 0.0) | {"clips": []})),
     "is of 0 clips, codecs of 3 clips (a_1, ...), 1 draw"),
    (lambda f: (f / "bits" / "sensitivity.csv").write_text("part,loss\nbit 0,x\n"), "test sensitivity again"),
    (lambda f: (f / "bits" / "sensitivity.csv").write_text(""), "it has no bits"),
    (lambda f: (f / "operating_curve" / "operating_curve.csv").write_text("channel,best\nbsc-0,FSQ\n"),
     "test the operating curve again"),
    (lambda f: edit(f / "links", lambda d: d["settings"].update(seed=1)), "test both on the same"),
    (lambda f: edit(f / "links", lambda d: d.update(clips=[c for c in d["clips"] if c["id"] != "a_1"])),
     "links on 2 clips (a_2, ...)"),
    (lambda f: edit(f / "codecs", lambda d: d.update(rows=[r for r in d["rows"] if r["channel"] != "bsc-0"])),
     "it needs clips, a channel without errors"),
    (lambda f: edit(f / "codecs", lambda d: d.update(metrics=d["metrics"][1:])), "the metrics stoi and pesq_wb"),
])  # fmt: skip
def test_broken_folders_are_named(
    logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], message: str
) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    damage(folder)
    with pytest.raises(SystemExit) as stopped:
        main([str(folder), "-o", str(tmp_path / "R.md")])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((folder / "channel.json").read_text())
    change(document)
    (folder / "channel.json").write_text(json.dumps(document))


@pytest.mark.parametrize(("patterns", "message"), [
    (["lj_*", "mls_*"], "--leave-out mls_* fits none of 3 clips, such as a_1"),
    (["*"], "--leave-out * leaves none of 3 clips"),
])  # fmt: skip
def test_patterns_that_leave_out_nothing_or_all_are_refused(
    logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], patterns: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(logged), "-o", str(tmp_path / "R.md"), "--leave-out", *patterns])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_results_of_this_project_are_up_to_date(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs" / "results", tmp_path / "docs" / "results")
    why = "which come from LibriVox, as some of the training data does"
    folder, out = str(tmp_path / "docs" / "results"), str(tmp_path / "RESULTS.md")
    main([folder, "-o", out, "--leave-out", "lj_*", "mls_*", "--why", why])
    assert (tmp_path / "RESULTS.md").read_text() == (ROOT / "RESULTS.md").read_text()


def test_runs_without_coded_rates_have_no_column_for_them(logged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    path = folder / "codecs" / "channel.json"
    document = json.loads(path.read_text())
    for entry in document["clips"]:
        if entry["codec"] == "FSQ aware":
            del entry["coded_bit_rate"]
    path.write_text(json.dumps(document))
    main([str(folder), "-o", str(tmp_path / "R.md")])
    section = (tmp_path / "R.md").read_text().split("## 2 Reconstruction")[1]
    assert line(section, "FSQ aware")[2] == "–" and line(section, "FSQ")[2] != "–"
    for entry in document["clips"]:
        entry.pop("coded_bit_rate", None)
    path.write_text(json.dumps(document))
    main([str(folder), "-o", str(tmp_path / "R.md")])
    assert "oded" not in (tmp_path / "R.md").read_text().split("## 2 Reconstruction")[1].split("###")[0]


def test_the_figure_of_flipped_bits_is_drawn_where_its_run_is_logged(logged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(logged, tmp_path / "copy"))
    main([str(folder), "-o", str(tmp_path / "R.md")])
    assert not (folder / "rate.svg").exists()
    shutil.copytree(folder / "codecs", folder / "rate")
    head = "codec,bit_rate,clips,flips,wrong_codes,frames,mean,low,high,longest\n"
    (folder / "rate" / "flips.csv").write_text(
        head + "FSQ,800,3,30,0.1,1,20,,,20\nFSQ aware,600,3,30,0.5,9,180,90,240,400\n"
    )
    main([str(folder), "-o", str(tmp_path / "R.md")])
    text = (folder / "rate.svg").read_text()
    assert "180 ms" in text and "FSQ aware, 0.6 kbit/s" in text
    main([str(folder), "-o", str(tmp_path / "R.md")])
    assert (folder / "rate.svg").read_text() == text
