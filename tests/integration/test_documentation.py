"""README and manual: their commands parse, their Python runs, their tables are current, their links lead somewhere."""

import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

import callbacks
import codec
import codec.__main__ as link_commands
import data
import train
from codec.checkpoints.building import build_codec
from tests.integration.test_matched_configs import layered
from tests.support.paths import CONFIGS, ROOT
from tests.support.training import voice

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "RESULTS.md", CONFIGS / "README.md"]
OTHER_PROGRAMS = {
    "versa-score",
    "source",
    "pip",
    "sbatch",
    "srun",
    "torchrun",
    "until",
    "FUZZ_CASES=10000",
    "pre-commit",
}
NEED_FILES = {"import", "export", "pack"}  # subcommands of codec.hub


def load_config_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("config_table", ROOT / "docs/config_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


config_table = load_config_table()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def commands(*pages: Path) -> list[list[str]]:
    """Each command of the bash blocks as arguments, with continued lines joined, once."""
    text = "\n".join(block for page in pages for block in blocks(page, "bash")).replace("\\\n", " ")
    found = [tuple(shlex.split(line, comments=True)) for line in text.splitlines()]
    return [list(arguments) for arguments in dict.fromkeys(found) if arguments]


def parse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What `train.py` would run with these arguments, by `--print_config`."""
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments, "--print_config"])
    with pytest.raises(SystemExit) as ended:
        train.main()
    printed = capsys.readouterr()
    assert ended.value.code in (None, 0), f"{shlex.join(arguments)}: {printed.err}"
    return yaml.safe_load(printed.out)


@pytest.fixture(autouse=True)
def no_lasting_changes(monkeypatch):
    """A block may switch gradients off or draw random numbers: neither outlasts the test."""
    state, gradients = torch.get_rng_state(), torch.is_grad_enabled()
    yield
    torch.set_rng_state(state)
    torch.set_grad_enabled(gradients)


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 170


def test_every_command_parses(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    parsed = []
    for arguments in commands(README):
        if arguments[:2] == ["python", "train.py"] and arguments[2] != "sweep":
            parsed.append(parse(monkeypatch, capsys, *arguments[2:]))
    for arguments in commands(*TEXTS):
        program, *rest = arguments
        if program == "make":
            assert rest[0] in targets, arguments
        elif program == "python" and rest[0] == "-m":
            module = [word for word in rest[1:3] if word == rest[1] or word in NEED_FILES]
            monkeypatch.setattr(sys, "argv", [*module, "--help"])
            spec = importlib.util.find_spec(rest[1])
            assert spec is not None, arguments
            program_module = rest[1] if spec.submodule_search_locations is None else f"{rest[1]}.__main__"
            monkeypatch.delitem(sys.modules, program_module, raising=False)  # imported by another test of this process
            with pytest.raises(SystemExit) as ended:
                runpy.run_module(rest[1], run_name="__main__")
            assert ended.value.code == 0, arguments
        elif program == "python":
            assert (ROOT / rest[0]).is_file(), arguments
            files = [rest[i + 1] for i, word in enumerate(rest) if word == "--config"]
            assert all((ROOT / file).is_file() for file in files), arguments
        else:
            assert program in OTHER_PROGRAMS, arguments
    assert len(parsed) >= 5


def test_every_command_around_streams_parses():
    """`python -m codec …`, with its channels and links built."""
    found = [words[3:] for words in commands(*PAGES) if words[:3] == ["python", "-m", "codec"]]
    for words in found:
        function, options = link_commands.parse([word for word in words if word != "|"])
        assert function.__name__ == words[0] and options
    assert len(found) > 8


@pytest.mark.slow
def test_every_training_command_of_the_manual_and_the_headers_parses(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    headers = [shlex.split(command) for header in config_table.headers() for command in header.commands]
    unique = dict.fromkeys(map(tuple, [*commands(*PAGES[1:]), *headers]))
    found = [rest for program, *rest in unique if program == "python" and rest[0] == "train.py" and rest[1] != "sweep"]
    for arguments in found:
        parse(monkeypatch, capsys, *arguments[1:])
    assert len(found) > 40


def test_every_header_names_a_command_that_exists():
    for header in config_table.headers():
        for command in header.commands:
            program, *rest = shlex.split(command)
            assert program in ("python", "make"), command
            files = [rest[i + 1] for i, word in enumerate(rest) if word == "--config"]
            assert all((ROOT / file).is_file() for file in files), command
            assert program == "make" or f"configs/{header.name}.yaml" in files, command


def test_tables_of_configurations_and_quoted_scores_are_current():
    for path, text in config_table.written().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is not current: run python docs/config_table.py"


@pytest.mark.parametrize("header", config_table.headers(), ids=lambda header: header.name)
def test_stated_parameters_are_those_of_the_codec(header):
    files = re.findall(r"--config configs/(\S+)\.yaml", next(c for c in header.commands if "--config" in c))
    config = layered(files).get("model", {}).get("init_args", {}).get("codec")
    stated = re.fullmatch(r"([\d.]+) M", header.fields["Parameters"])
    if config is None or stated is None:
        pytest.skip("the codec comes from elsewhere, or has a semantic encoder")
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build_codec(config).parameters())
    assert f"{count / 1e6:.3g}" == stated[1]


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not re.match(r"https?:|#", link):
            assert (page.parent / link.split("#")[0]).exists(), f"{page}: {link}"


def test_every_page_is_in_the_site():
    listed = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]}
    assert listed == {page for page in pages if not page.startswith("results/")}  # tables that pages link to


@pytest.mark.parametrize("package", [codec, data, callbacks], ids=lambda package: package.__name__)
def test_api_pages_have_every_public_name(package):
    page = (ROOT / f"docs/api/{package.__name__}.md").read_text()
    listed = re.findall(rf"^::: {package.__name__}\.(\w+)$", page, re.M)
    assert sorted(listed) == sorted(package.__all__)


def test_python_sends_a_file_through_a_channel(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    soundfile.write("speech.wav", voice(3, size=1, samples=16_050)[0, 0].numpy(), 8_000)
    exec(blocks(ROOT / "docs/python.md", "python")[0], {})
    received, rate = soundfile.read("received.wav")
    assert rate == 16_000 and len(received) == 101 * 320 and np.ptp(received) > 0.01


def test_readme_adds_a_quantizer(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_parts.py").write_text(blocks(README, "python")[0])
    (tmp_path / "my.yaml").write_text(blocks(README, "yaml")[0])
    config = parse(monkeypatch, capsys, "fit", "--config", str(CONFIGS / "quickstart.yaml"), "--config", "my.yaml")
    monkeypatch.setenv("CODEC_PARTS", "my_parts")
    built = build_codec(config["model"]["init_args"]["codec"])
    audio = voice(1, size=2, samples=3_200)
    output = built.train()(audio)
    output.audio.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in built.quantizer.parameters())
    torch.testing.assert_close(built.quantizer.decode(output.codes), output.z_q)
    erased = torch.ones_like(output.codes, dtype=torch.bool)
    assert built.quantizer.decode(output.codes, erased).std(-1).max() == 0
    sys.modules.pop("my_parts")


def test_python_of_the_manual_runs(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for block in blocks(ROOT / "docs/streaming.md", "python")[:2]:
        exec(block, {})
    capsys.readouterr()
    encode, decode = blocks(ROOT / "docs/evaluation.md", "python")
    names: dict[str, Any] = {}
    exec(encode, names)
    (tmp_path / "out").mkdir()
    np.savez("out/NAME.codes.npz", codes=names["codes"][0].numpy(), output_length=16_000)
    exec(decode, names)
    assert names["audio"].shape == (1, 1, 16_000)
    exec(blocks(ROOT / "docs/link.md", "python")[0], names)
    assert sum(map(len, names["pieces"])) == 32_000
    extending = ROOT / "docs/extending.md"
    for module, block in zip(("my_parts", "my_losses"), blocks(extending, "python"), strict=True):
        (tmp_path / f"{module}.py").write_text(block)
    for number, block in enumerate(blocks(extending, "yaml")):
        (tmp_path / f"{number}.yaml").write_text(block)
        parse(monkeypatch, capsys, "fit", "--config", str(CONFIGS / "quickstart.yaml"), "--config", f"{number}.yaml")
    for module in ("my_parts", "my_losses"):
        sys.modules.pop(module)
