"""Files that break after they were checked: an evaluation goes on without them, and `strict` raises what is wrong."""

import logging
from collections.abc import Callable
from pathlib import Path

import lightning
import pytest
import torch

from data import AudioReadError, DataError, FolderSource, ManifestSource, SpeechDataModule

Write = Callable[..., Path]


@pytest.fixture
def corpus(write: Write, tmp_path: Path) -> FolderSource:
    for number in range(5):
        write(f"corpus/{number}.wav", 0.5)
    return FolderSource(str(tmp_path / "corpus"))


def break_files(corpus: FolderSource) -> None:
    (corpus.root / "1.wav").unlink()
    (corpus.root / "3.wav").write_bytes(b"no sound any more")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stage", ["test", "predict"])
def test_an_evaluation_goes_on_without_them(
    corpus: FolderSource, workers: int, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = SpeechDataModule(test=corpus, predict_from=corpus, num_workers=workers)
    module.setup(stage)
    loader = getattr(module, f"{stage}_dataloader")()
    assert len(loader) == 5
    break_files(corpus)
    for _ in range(2):
        assert [batch["id"][0] for batch in loader] == ["0.wav", "2.wav", "4.wav"]
    assert module.bad_file_count() == 2
    assert [Path(path).name for path in module.bad_file_reasons()] == ["1.wav", "3.wav"]
    with caplog.at_level(logging.WARNING):
        module.teardown(stage)
    assert "2 bad audio files in all" in caplog.text


@pytest.mark.parametrize("workers", [0, 1])
def test_strict_raises_what_is_wrong(corpus: FolderSource, workers: int) -> None:
    module = SpeechDataModule(corpus, test=corpus, num_workers=workers, strict=True, crop_seconds=0.5)
    module.setup("test")
    module.setup("fit")
    break_files(corpus)
    for loader in (module.test_dataloader(), module.train_dataloader()):
        with pytest.raises(AudioReadError, match=r"^[^\n]*(1|3)\.wav: (does not exist|not audio)[^\n]*$"):
            list(loader)


def test_the_sentence_of_a_worker_reaches_the_user(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("path\tseconds\na.wav\t3.0\n")
    (tmp_path / "a.wav").write_text("no sound")
    module = SpeechDataModule(ManifestSource(str(tmp_path / "list.tsv")), num_workers=1)
    module.setup("fit")
    with pytest.raises(DataError, match=r"^100 clips drawn in a row cannot be read: [^\n]*$"):
        next(iter(module.train_dataloader()))


class Counter(lightning.LightningModule):
    """Counts what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.ended = 0

    def test_step(self, batch: dict, index: int) -> None:
        self.seen += batch["id"]
        self.log("level", batch["audio"].square().mean(), batch_size=1)

    def on_test_epoch_end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("left", [3, 0])
def test_a_trainer_ends_the_test_with_what_is_left(corpus: FolderSource, left: int, tmp_path: Path) -> None:
    module = SpeechDataModule(test=corpus, num_workers=1)
    counter = Counter()
    options = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer = lightning.Trainer(default_root_dir=str(tmp_path), use_distributed_sampler=False, **options)
    real = module.test_dataloader

    def broken() -> torch.utils.data.DataLoader:
        break_files(corpus)
        if not left:
            for path in corpus.root.glob("*.wav"):
                path.unlink()
        return real()

    module.test_dataloader = broken
    trainer.test(counter, module, verbose=False)
    assert len(counter.seen) == left and counter.ended == 1
