"""Well over sixty odd files: each is used, or refused in one sentence, and the same in every stage and in prepare."""

import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data import AudioSource, Clip, DataError, SpeechDataModule
from data.prepare import FLAC, Recipe, pack
from tests.support.odd_files import write_odd_files

SECONDS, KILOBYTES = 2.0, 1_000_000
RATES = dict(sample_rate=16000, output_sample_rate=24000)


class One(AudioSource):
    """A corpus of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def clips(self) -> list[Clip]:
        return [Clip(str(self.path), self.path.name)]


def refusal(use: Callable[[], dict[str, str]], path: Path) -> str | None:
    """Why a file was refused; None where it was used. Anything but one sentence fails."""
    try:
        reasons = use()
    except DataError as error:
        assert "\n" not in str(error)
        return str(error)
    left_out = {name: reason for name, reason in reasons.items() if "used with zeros after it" not in reason}
    assert all("\n" not in reason and len(reason) > 5 for reason in left_out.values())
    return left_out.get(str(path))


def crops(path: Path) -> dict[str, str]:
    module = SpeechDataModule(One(path), crop_seconds=3.0, batch_size=1, num_workers=0, **RATES)  # all of the file
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert all(torch.isfinite(wave).all() and wave.abs().max() <= 1 for wave in batch.values())
    return module.bad_file_reasons()


def whole(path: Path, stage: str) -> dict[str, str]:
    module = SpeechDataModule(test=One(path), predict_from=One(path), num_workers=0, **RATES)
    module.setup(stage)
    (batch,) = getattr(module, f"{stage}_dataloader")()
    assert torch.isfinite(batch["audio"]).all() and batch["audio"].abs().max() <= 1 and batch["audio"].shape[-1] > 0
    return module.bad_file_reasons()


def packed(path: Path, out: Path, recipe: Recipe) -> dict[str, str]:
    return pack(One(path), out, recipe=recipe).bad


@pytest.mark.slow
def test_odd_files_are_used_or_refused_the_same_everywhere(tmp_path: Path) -> None:
    expected = write_odd_files(tmp_path / "odd")
    assert len(expected) > 150
    slowest, wrong, used = (0.0, ""), [], 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of whatever ran in this process
    for number, name in enumerate(expected):
        path, out = tmp_path / "odd" / name, tmp_path / str(number)
        started = time.process_time()
        refused = {
            "fit": refusal(lambda path=path: crops(path), path),
            "test": refusal(lambda path=path: whole(path, "test"), path),
            "predict": refusal(lambda path=path: whole(path, "predict"), path),
            "as is": refusal(lambda path=path, out=out: packed(path, out / "as-is", Recipe()), path),
            "flac": refusal(lambda path=path, out=out: packed(path, out / "flac", Recipe(FLAC, 16000)), path),
        }
        slowest = max(slowest, (time.process_time() - started, name))
        verdicts = {stage: reason is None for stage, reason in refused.items()}
        used += verdicts["test"]
        if len(set(verdicts.values())) > 1 or expected[name] not in (None, verdicts["test"]):
            wrong.append((name, refused))
    assert not wrong, wrong
    assert slowest[0] < 5 * SECONDS, slowest  # five times through, on a busy machine
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KILOBYTES // 2
    print(f"{len(expected)} files, {used} used, slowest {slowest[0]:.2f} s of five passes ({slowest[1]})")
