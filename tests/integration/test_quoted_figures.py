"""Quoted scores: filled from the logged files, none typed by hand, and what the markers refuse."""

import re
import shutil
from pathlib import Path

import pytest

from callbacks.report.quoted import FILES, fill, main, without_quotes
from callbacks.report.quoted_figures import Figures
from callbacks.report.results.logged import read_logged
from callbacks.report.results.markdown import change
from codec.errors import InvalidValue, UnreadableFile, UserError
from tests.integration.test_documentation import config_table
from tests.support.paths import CONFIGS, ROOT

RESULTS = ROOT / "docs/results"
MARKDOWN = [path for pattern in (*FILES, "CONTRIBUTING.md") for path in sorted(ROOT.glob(pattern))]
YAML = sorted(CONFIGS.rglob("*.yaml"))
METRIC = r"\b(?:E?STOI|PESQ(?:-[WN]B)?|SI-SDR|mel distance)\b"
NUMBER = r"[-−+]?\d*\.\d+"
SCORES = re.compile(
    rf"(?<![\w.])[-−+]?0?\.\d{{3,}}\b|\d\s*±\s*\.?\d|\[{NUMBER}, ?{NUMBER}\]|{METRIC}[^.;|]{{0,60}}?[\s(]{NUMBER}"
    r"|[−+]0?\.\d+|\d % (?:equal codes|of (?:its|the|their) codes)"
)
NO_SCORES = re.compile(
    r"decay 0\.999|STOI[^.;|]* below (?:about )?0\.4"
)  # of the averaged weights; where PESQ says little


def typed_scores(text: str) -> list[str]:
    """What looks like a score in a text without quotes; a sentence may go over several lines."""
    text = re.sub(r"`[^`\n]*`", "", NO_SCORES.sub("", text))
    return [found[0] for found in SCORES.finditer(re.sub(r"\n(?!\n)", " ", text))]


def typed_in_markdown(text: str) -> list[str]:
    begin, end = config_table.BEGIN, config_table.END  # a table that config_table.py writes
    return typed_scores(without_quotes(re.sub(rf"{begin}.*?{end}", "", text, flags=re.S), name=""))


def typed_in_yaml(text: str) -> list[str]:
    comments = re.findall(r"(?:^|\s)#(.*)$", text, re.M)
    return typed_scores(re.sub(r"\{[^{}]*\}", "", "\n".join(comment.strip() for comment in comments)))


@pytest.fixture(scope="module")
def figures():
    return Figures(RESULTS)


def test_quoted_scores_are_current(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["--check"]) == 0, capsys.readouterr().out + "run python docs/config_table.py"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_score_is_typed_in_markdown(path):
    assert typed_in_markdown(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_score_is_typed_in_a_configuration(path):
    text = path.read_text(encoding="utf-8")
    assert typed_in_yaml(text) == []
    for published in re.findall(r"\{published ([^{}]*)\}", text):
        assert re.match(r"[^:]*\([^:)]+\): ", published), f"no source in parentheses before the colon: {published}"


@pytest.mark.parametrize(
    "typed",
    [
        "reaches STOI 0.7 here",
        "reaches PESQ 1.2",
        "PESQ-WB 1.24",
        "STOI .804",
        "STOI\n0.73 without errors",
        "STOI of FSQ at 10 % of bits flipped is 0.68",
        "| FSQ | 0.779 |",
        "2.43 ± 0.1",
        "[0.76, 0.80]",
        "gains +0.02",
        "−0.37 of it",
        "22 % equal codes",
        "shares 21.7 % of its codes",
    ],
)
def test_a_typed_score_is_found(typed):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert typed_in_markdown(readme.replace("## Install", f"{typed}\n\n## Install"))
    assert typed_in_yaml("# Title\n#   make quickstart\n" + "".join(f"# {line}\n" for line in typed.split("\n")))


def test_what_is_no_score_may_be_typed():
    text = (
        "0.86 of the time, 1.05 of it; ±1, within ±30 ms; [−1, 1]; 2e-3; 2 % of bits flipped; PESQ and STOI, 44 clips"
    )
    assert typed_in_markdown(text + "\n\n```\nSTOI 0.779\n```\n`--ema.decay 0.999`") == []


def test_changed_scores_make_the_texts_stale(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    results = Path(shutil.copytree(RESULTS, tmp_path / "results"))
    lines = (results / "codecs/channel.csv").read_text().splitlines()
    changed = [re.sub(r"(?<=,stoi,,)0\.\d+", "0.1234", line) if "bsc-0.1," in line else line for line in lines]
    assert changed != lines
    (results / "codecs/channel.csv").write_text("\n".join(changed))
    readme = tmp_path / "README.md"
    readme.write_text((ROOT / "README.md").read_text())
    assert main(["README.md", "docs/gpu.md", "--check", "--results", str(results)]) == 1
    assert capsys.readouterr().out == "README.md is not current\n"
    assert main([str(readme), "--results", str(results)]) == 0
    assert "0.123 ±" in readme.read_text() and main([str(readme), "--results", str(results), "--check"]) == 0


def logged(folder: Path) -> Figures:
    """Two codecs and one channel: A with unscored draws, B without a score."""
    (folder / "run").mkdir(parents=True)
    (folder / "run/channel.csv").write_text(
        "channel,metric,mean,low,high,scored,unscorable,codec,bit_error_rate,curve,imputed,withheld\n"
        "bsc-0.1,stoi,0.21739,0.1,0.3,40,4,A,0.1,bsc,4,\nbsc-0.1,stoi,,,,0,44,B,0.1,bsc,0,\n"
    )
    (folder / "alone").mkdir()
    (folder / "alone/channel.csv").write_text(
        "channel,metric,mean,low,high,codec,bit_error_rate,curve,imputed,withheld\nbsc-0,stoi,0.5,0.4,0.6,,0,bsc,0,\n"
    )
    (folder / "facts.json").write_text('{"batches": 3149, "list": [{"name": "a b", "value": -0.5}, {"value": null}]}')
    return Figures(folder)


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("run A stoi bsc-0.1", "0.217 (4 of 44 unscored)"),
        ("run A stoi bsc-0.1 ±", "0.217 ± 0.100 (4 of 44 unscored)"),
        ("run A stoi bsc-0.1 .2 []", "0.22 [0.10, 0.30, 4 of 44 unscored]"),
        ("run A stoi bsc-0.1 % .0", "22 % (4 of 44 unscored)"),
        ("run A stoi bsc-0.1 scored", "40"),
        ("run B stoi bsc-0.1 ±", "–"),
        ("alone stoi bsc-0 ±", "0.500 ± 0.100"),
        ("alone stoi bsc-0 % .0 []", "50 % [40 %, 60 %]"),
        ("alone stoi bsc-0 else not measured", "0.500"),
        ("absent stoi bsc-0 else not measured", "not measured"),
        ("facts.json batches", "3,149"),
        ('facts.json list "a b" value .1', "−0.5"),
        ("facts.json list 1 value", "–"),
    ],
)
def test_forms(tmp_path, reference, text):
    assert logged(tmp_path).text(reference) == text


def test_a_table_has_names_in_its_head_and_figures_in_its_cells(tmp_path):
    assert logged(tmp_path).table("run rows A B columns bsc-0.1 of stoi .2").splitlines() == [
        "| STOI, bits flipped | 10 % |",
        "| --- | --- |",
        "| A | 0.22 (4 of 44 unscored) |",
        "| B | – |",
    ]


def test_a_run_of_an_older_format_is_refused(tmp_path):
    """Its intervals cover too little, and its PESQ may be of noise."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/channel.csv").write_text("channel,metric,mean,low,high,codec\nbsc-0,stoi,0.5,0.4,0.6,A\n")
    with pytest.raises(UnreadableFile, match=r"lacks the columns .*imputed, withheld.*test the run again"):
        Figures(tmp_path).text("run A stoi bsc-0")


def test_differences_are_those_of_the_results(figures):
    maps = read_logged(RESULTS).maps
    assert maps is not None
    pair, names = '"RVQ natural - FSQ natural"', ("RVQ natural", "FSQ natural")
    gap = maps.gap(*names, channel="bsc-0.1", metric="stoi")
    loss = maps.fragility(*names, channel="bsc-0.1", metric="stoi")
    assert figures.text(f"maps {pair} stoi bsc-0.1 []") == change(gap)
    assert figures.text(f'maps {pair} stoi "bsc-0.1 - bsc-0" []') == change(loss) != change(gap)


def test_sentences_and_tables_of_the_results_are_quoted_whole(figures):
    results = (ROOT / "RESULTS.md").read_text()
    for name in ("level", "assignment", "optimised", "coding", "receivers", "fine_tuning"):
        sentence = figures.sentence(name)
        assert f"- {sentence}\n" in results
        text = f"Measured: <!-- sentence {name} -->old<!-- / -->"
        assert fill(text, figures, name="page") == text.replace("old", sentence)
        assert without_quotes(text, name="page").strip() == "Measured: <!-- / -->"
    for name in ("parts", "lost", "10 %"):
        assert f"{figures.table(f'results {name}')}\n" in results
    with pytest.raises(InvalidValue, match=r"assigment is no sentence of the summary.*assignment"):
        figures.sentence("assigment")
    with pytest.raises(InvalidValue, match=r"3 % is no table of RESULTS\.md's first section"):
        figures.table("results 3 %")


@pytest.mark.parametrize(
    ("reference", "value", "nearest"),
    [
        ("codec FSQ stoi bsc-0", "codec", "codecs"),
        ("codecs FSK stoi bsc-0", "FSK", "FSQ"),
        ("codecs FSQ stio bsc-0", "stio", "stoi"),
        ("codecs FSQ stoi bsc-0.11", "bsc-0.11", "bsc-0.1"),
        ("codecs FSQ stoi", "codecs FSQ stoi", "bsc-0.01"),
        ("codecs stoi bsc-0", "codecs stoi bsc-0", "RVQ"),
        ('codecs "FSQ - RVK" stoi bsc-0', "RVK", "RVQ"),
        ('codecs "FSQ - RVQ" bsc-0', 'codecs "FSQ - RVQ" bsc-0', "METRIC"),
        ('codecs FSQ stoi "bsc-0.1 - bsc-0"', "codecs FSQ", "SYSTEM - SYSTEM"),
        ('codecs "FSQ - RVQ" stoi "bsc-0.1 - bsc-0.2"', "bsc-0.2", "bsc-0"),
        ('student/agreement.csv "exact code"', "exact code", "measured"),
        ("student/agreement.csv exact measured", "exact", "exact code"),
        ('student/agreement.csv "exact code" measured []', "[]", "interval"),
        ('bits/sensitivity.csv "bit 0" stoi displacement ±', "±", "interval"),  # that beside it is of the loss
        ("gpu/small_gpu_piece_2.json score", "score", "scores"),
        ('codecs "FSQ', '"FSQ', "quotation"),
        ("", "reference", "RUN"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused_with_the_nearest_names(figures, reference, value, nearest):
    with pytest.raises(InvalidValue) as refused:
        figures.text(reference)
    sentence = str(refused.value)
    assert value.replace('"', "") in sentence.replace("'", "").replace('"', "") and nearest in sentence
    assert "\n" not in sentence and len(sentence) < 300


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("<!-- score codecs FSQ stoi bsc-0 --><!-- / --> begins its line", "begin"),
        ("STOI <!-- score codecs FSQ stoi bsc-0 -->0.779 has no end", "<!-- / -->"),
        ("STOI <!-- score codecs FSQ stoi bsc-0 -->\n0.779<!-- / -->", "<!-- / -->"),
        ("a <!-- table codecs rows FSQ columns bsc-0 of stoi -->\n<!-- /table -->", "begin"),
        ("<!-- table codecs rows FSQ columns bsc-0 of stoi -->\n| |", "<!-- /table -->"),
        ("<!-- table codecs FSQ -->\n<!-- /table -->", "columns"),
        ("STOI <!-- published -->0.92<!-- / -->", "source"),
        ("STOI <!-- score codecs FSQ stoi bsc-7 --><!-- / -->", "bsc-0"),
    ],
)
def test_a_marker_out_of_place_is_refused_with_its_line(figures, text, word):
    with pytest.raises(UserError, match=r"^page, line 3: ") as refused:
        fill(f"# Title\n\n{text}\n", figures, name="page")
    assert word in str(refused.value)


def test_code_and_published_figures_stay(figures):
    text = "```\nSTOI <!-- score nothing -->1<!-- / -->\n```\n\nSTOI <!-- published Llasa -->0.92<!-- / -->\n"
    assert fill(text, figures, name="page") == text


def test_the_command_line_refuses_in_one_sentence(capsys, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("STOI <!-- score codecs FSK stoi bsc-0 --><!-- / -->\n")
    for arguments in ([str(page)], [str(tmp_path / "absent.md")]):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--results", str(RESULTS)])
        assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_difference_needs_the_scores_of_every_clip(tmp_path):
    with pytest.raises(UnreadableFile, match=r"channel\.json"):
        logged(tmp_path).text('run "A - B" stoi bsc-0.1')


def test_a_wrong_reference_in_a_header_is_refused_with_its_file(figures):
    fields = {"Expected": "STOI {codecs FSK stoi bsc-0}"}
    with pytest.raises(InvalidValue, match=r"^configs/fsq\.yaml, Expected: FSK"):
        config_table.resolved(config_table.Header("fsq", "", [], fields), "Expected", figures)
