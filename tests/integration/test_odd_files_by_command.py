"""A folder of odd audio files by command: `fit`, `test`, `predict` and `data.prepare` use and refuse the same files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from data.sources.folder import AUDIO_EXTENSIONS
from tests.support.forked import Outcome, command_lines
from tests.support.odd_files import write_odd_files
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

COMMANDS = ("fit", "test", "predict")
BATCHES, BATCH = 30, 16  # crops of half of the folder's files at least
REFUSED = re.compile(r"bad audio file: (\S+): (.+)")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bool | None]]:
    folder = tmp_path_factory.mktemp("odd")
    return folder, write_odd_files(folder)


@pytest.fixture(scope="module")
def ended(
    odd: tuple[Path, dict[str, bool | None]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Outcome, Path]]:
    """How each command ended, and its working folder."""
    folder, place = odd[0], tmp_path_factory.mktemp("commands")
    tiny = place / "tiny.yaml"
    tiny.write_text((ROOT / "tests/support/tiny.yaml").read_text().replace("SPEECH", str(folder)))
    files = (ROOT / "configs/quickstart.yaml", ROOT / "configs/overlays/debug.yaml", tiny)
    words = [word for file in files for word in ("--config", str(file))]
    words += ["--trainer.num_sanity_val_steps", "0", "--data.val_clips", "null"]
    words += ["--trainer.max_steps", BATCHES, "--trainer.val_check_interval", BATCHES, "--data.batch_size", BATCH]
    outcomes = command_lines([[command, *map(str, words)] for command in COMMANDS], place)
    return {name: (outcome, place / str(n)) for n, (name, outcome) in enumerate(zip(COMMANDS, outcomes, strict=True))}


def refused(output: str) -> set[str]:
    """Names of the files that were left out; those used with zeros after them are not."""
    return {Path(path).name for path, reason in REFUSED.findall(output) if "used with zeros" not in reason}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_uses_or_refuses_each_file_in_a_sentence(
    command: str, odd: tuple[Path, dict[str, bool | None]], ended: dict[str, tuple[Outcome, Path]]
) -> None:
    outcome, _ = ended[command]
    assert outcome.status == 0, outcome.output[-3000:]
    assert "Traceback" not in outcome.output
    left_out, expected = refused(outcome.output), odd[1]
    assert {name for name, usable in expected.items() if usable is False} <= left_out
    assert not left_out & {name for name, usable in expected.items() if usable}
    named = [path for path, _ in REFUSED.findall(outcome.output)]
    assert len(named) == len(set(named))  # once each


def test_all_commands_and_preparing_refuse_the_same_files(
    odd: tuple[Path, dict[str, bool | None]], ended: dict[str, tuple[Outcome, Path]], tmp_path: Path
) -> None:
    folder, expected = odd
    words = [
        sys.executable,
        "-m",
        "data.prepare",
        folder,
        tmp_path / "shards",
        "--format",
        "flac",
        "--sample-rate",
        16000,
    ]
    done = subprocess.run(list(map(str, words)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-3000:]
    rows = (tmp_path / "shards/bad_files.tsv").read_text().splitlines()[1:]
    prepared = {Path(row.split("\t")[0]).name for row in rows}
    found = {name: refused(outcome.output) for name, (outcome, _) in ended.items()}
    assert found == dict.fromkeys(COMMANDS, prepared)
    written = list(ended["predict"][1].rglob("predictions/**/*.wav"))
    looked_for = {name for name in expected if Path(name).suffix in AUDIO_EXTENSIONS}
    assert prepared < looked_for and len(written) == len(looked_for - prepared)
    assert len(expected) - len(looked_for) < 10  # a line names them by their extensions
