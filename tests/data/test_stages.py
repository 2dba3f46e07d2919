"""Each stage prepares only the sources it needs, and a download that fails is one sentence."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from data import AudioSource, Augmentation, Clip, DataError, FolderSource, LibriTTSSource, SpeechDataModule
from tests.support.training import quiet_trainer


class Recorded(FolderSource):
    """A corpus that writes down that it was prepared."""

    def __init__(self, folder: Path, role: str, prepared: list[str]) -> None:
        super().__init__(str(folder))
        self.role, self.prepared = role, prepared

    def prepare(self) -> None:
        self.prepared.append(self.role)

    def clips(self) -> list[Clip]:
        assert self.role in self.prepared
        return super().clips()


class Still(L.LightningModule):
    """Trains nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, *_: Any) -> None: ...

    def validation_step(self, *_: Any) -> None: ...

    def test_step(self, *_: Any) -> None: ...

    def predict_step(self, *_: Any) -> int:
        return 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


@pytest.mark.parametrize(("stage", "needed"), [
    ("fit", {"train", "val", "noise"}), ("validate", {"val"}), ("test", {"test"}), ("predict", {"predict"}),
    (None, {"train", "val", "test", "predict", "noise"}),
])  # fmt: skip
def test_a_stage_prepares_the_sources_it_needs(speech: Path, stage: str | None, needed: set[str]) -> None:
    prepared: list[str] = []
    train, val, test, predict, noise = (
        Recorded(speech, role, prepared) for role in ("train", "val", "test", "predict", "noise")
    )
    augmentation = Augmentation(noise=noise, noise_probability=0.5)
    module = SpeechDataModule(train, val, test=test, predict_from=predict, num_workers=0, augmentation=augmentation)
    if stage is None:
        module.prepare_data()  # from Python, without a trainer
    else:
        trainer = quiet_trainer(limit_train_batches=1, max_epochs=1, limit_val_batches=1)
        getattr(trainer, stage)(Still(), datamodule=module)
    assert set(prepared) == needed and len(prepared) == len(needed)


def test_a_test_corpus_that_cannot_be_downloaded_does_not_stop_a_fit(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("<urlopen error [Errno -2] Name or service not known>\nmore")

    monkeypatch.setattr("data.sources.corpora.LIBRITTS", offline)
    remote: AudioSource = LibriTTSSource(str(tmp_path / "new"), ["test-clean"], download=True)
    module = SpeechDataModule(FolderSource(str(speech)), test=remote, num_workers=0)
    quiet_trainer(limit_train_batches=1, max_epochs=1).fit(Still(), datamodule=module)
    with pytest.raises(DataError) as caught:
        quiet_trainer().test(Still(), datamodule=module, verbose=False)
    assert str(caught.value).count("\n") == 0 and caught.value.value == "test-clean"
    assert "Name or service not known" in caught.value.problem and "LibriTTS yourself" in caught.value.remedy
