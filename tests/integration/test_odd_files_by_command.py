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


def run_commands(folder: Path, place: Path) -> dict[str, Outcome]:
    """How each command ended over the files of a folder; the n-th worked in `place`/n."""
    place.mkdir()
    tiny = place / "tiny.yaml"
    tiny.write_text((ROOT / "tests/support/tiny.yaml").read_text().replace("SPEECH", str(folder)))
    files = (ROOT / "configs/quickstart.yaml", ROOT / "configs/overlays/debug.yaml", tiny)
    words = [word for file in files for word in ("--config", str(file))]
    words += ["--trainer.num_sanity_val_steps", "0", "--data.val_clips", "null"]
    words += ["--trainer.max_steps", BATCHES, "--trainer.val_check_interval", BATCHES, "--data.batch_size", BATCH]
    outcomes = command_lines([[command, *map(str, words)] for command in COMMANDS], place)
    return dict(zip(COMMANDS, outcomes, strict=True))


def refused(output: str) -> set[str]:
    """Names of the files that were left out; those used with zeros after them are not."""
    return {Path(path).name for path, reason in REFUSED.findall(output) if "used with zeros" not in reason}


def test_every_command_uses_or_refuses_the_same_files_in_a_sentence_each(tmp_path: Path) -> None:
    expected = write_odd_files(tmp_path / "odd")
    words = [sys.executable, "-m", "data.prepare", str(tmp_path / "odd"), str(tmp_path / "shards")]
    words += ["--format", "flac", "--sample-rate", "16000"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-3000:]
    rows = (tmp_path / "shards/bad_files.tsv").read_text().splitlines()[1:]
    left_out = {Path(row.split("\t")[0]).name for row in rows}
    looked_for = {name for name in expected if Path(name).suffix in AUDIO_EXTENSIONS}
    assert len(expected) - len(looked_for) < 10  # a line names them by their extensions
    assert {name for name in looked_for if expected[name] is False} <= left_out < looked_for
    assert not left_out & {name for name, usable in expected.items() if usable}
    for command, outcome in run_commands(tmp_path / "odd", tmp_path / "commands").items():
        assert outcome.status == 0 and "Traceback" not in outcome.output, outcome.output[-3000:]
        assert refused(outcome.output) == left_out, command
        named = [path for path, _ in REFUSED.findall(outcome.output)]
        assert len(named) == len(set(named))  # once each
    predicted = tmp_path / "commands" / str(COMMANDS.index("predict"))
    assert len(list(predicted.rglob("predictions/**/*.wav"))) == len(looked_for - left_out)
