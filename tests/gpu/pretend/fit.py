"""`train.py fit` on the pretend GPU, on random audio, counting one step: `-m tests.gpu.pretend.fit TEACHER WORDS…`."""

import json
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

import train
from callbacks.training.preflight_memory import step_bytes
from codec import UserError
from codec.checkpoints.files import FORMAT_VERSION, SafeCheckpointIO
from codec.cli import CodecCLI
from data import DataError, SpeechDataModule
from tests.gpu.pretend import operations
from tests.gpu.pretend.device import Counts, Recorder

CLIPS = (16_000, 17_333, 18_666)  # lengths of the validation clips, in samples


class RandomSpeech(SpeechDataModule):
    """Noise in place of the corpora, in the batches that the configuration asks for."""

    def prepare_data(self) -> None:
        pass

    def setup(self, stage: str) -> None:
        pass

    def train_dataloader(self) -> DataLoader:
        return DataLoader(NoiseBatches(self), batch_size=None, pin_memory=self.pin_memory)

    def val_dataloader(self) -> DataLoader:
        clips = [{**noise(self, 1, length), "id": [f"{length}"], "path": [f"{length}"]} for length in CLIPS]
        return DataLoader(clips, batch_size=None)  # type: ignore[arg-type]


class NoiseBatches(IterableDataset):
    def __init__(self, owner: SpeechDataModule) -> None:
        self.owner = owner

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while True:
            yield noise(self.owner, self.owner.batch_size, self.owner.crop_samples)


def noise(owner: SpeechDataModule, size: int, samples: int) -> dict[str, Tensor]:
    """A batch as the data module gives it, of `[size, 1, samples]`."""
    rates = owner.audio_format.rates
    lengths = dict(zip(("audio", "target"), (samples * rate // rates[0] for rate in rates), strict=False))
    return {name: 0.1 * torch.randn(size, 1, length) for name, length in lengths.items()}


class Measured(Exception):
    """The step of `module` has been counted; the run ends here."""

    def __init__(self, counts: Counts, module: LightningModule) -> None:
        self.counts, self.module = counts, module


class OneStep(Callback):
    """Counts from the start of one batch to the start of the next, which ends the run.

    Args:
        recorder: counts.
        batch: number of the batch.
    """

    def __init__(self, recorder: Recorder, batch: int) -> None:
        self.recorder, self.batch = recorder, batch
        self.estimate: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Estimate the memory as `Preflight` does, so that it is measured together with what the step then takes."""
        start = time.process_time()
        try:
            self.estimate["estimate"] = step_bytes(trainer, pl_module)
        except Exception:
            self.estimate["estimate_failed"] = traceback.format_exc()
        self.estimate["estimate_seconds"] = time.process_time() - start

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.batch:
            self.recorder.start()
        elif trainer.global_step == self.batch + 1:
            raise Measured(self.recorder.stop(), pl_module)


class NoCheckpoints(TorchCheckpointIO):
    """Writes nothing."""

    def save_checkpoint(self, *_: Any, **__: Any) -> None:
        pass


class DryCLI(CodecCLI):
    """The project's command line; parts get random weights instead of pretrained ones, and no file is written."""

    step: OneStep

    def before_instantiate_classes(self) -> None:
        without_downloads(self.option("model"))
        super().before_instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = super().instantiate_trainer(**kwargs)
        trainer.callbacks.append(self.step)  # type: ignore[attr-defined]
        trainer.strategy.checkpoint_io = NoCheckpoints()
        return trainer


def without_downloads(block: Any) -> None:
    """Set every `pretrained` and `init_from` of a configuration to null."""
    if isinstance(block, list):
        for item in block:
            without_downloads(item)
    if not isinstance(block, (Namespace, dict)):
        return
    items = vars(block) if isinstance(block, Namespace) else block
    for name, value in items.items():
        if name in ("pretrained", "init_from"):
            items[name] = None
        else:
            without_downloads(value)


def save_teacher(config: Path, folder: Path) -> Path:
    """A checkpoint of a configuration's module with random weights, as a teacher needs to have it."""
    block = yaml.safe_load(config.read_text())["model"]
    without_downloads(block)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningModule, "module")
    parsed = parser.parse_object({"module": block})
    module = parser.instantiate_classes(parsed).module
    stated = json.loads(json.dumps(parsed.module.as_dict(), default=str))  # as the command line states it
    checkpoint = {"state_dict": module.state_dict(), "model_config": stated, "format_version": FORMAT_VERSION}
    path = folder / "teacher.ckpt"
    SafeCheckpointIO().save_checkpoint(checkpoint, path)
    return path


def count_step(words: list[str], batch: int) -> dict[str, Any]:
    """Run `fit` and count one batch; the words are those after `train.py fit`.

    Returns:
        the counts and the numbers of parameters, by name.
    """
    recorder = Recorder()
    DryCLI.step = OneStep(recorder, batch)
    sys.argv = ["train.py", "fit", *words]
    errors = (UserError, DataError)
    with recorder.listening():
        try:
            DryCLI(LightningModule, RandomSpeech, usual_callbacks=train.CALLBACKS, user_errors=errors)
        except Measured as measured:
            return measured.counts.as_dict() | DryCLI.step.estimate | {"parameters": parameters(measured.module)}
    raise RuntimeError(f"The run ended before batch {batch + 1}.")


def parameters(module: Any) -> dict[str, int]:
    """Numbers of parameters."""
    kinds = {"codec": module.codec, "discriminators": module.discriminators}
    found = {name: sum(p.numel() for p in part.parameters()) for name, part in kinds.items()}
    return {**found, "trained": sum(p.numel() for p in module.codec.parameters() if p.requires_grad)}


def main() -> None:
    """Print one line of JSON, the last."""
    teacher, batch, *words = sys.argv[1:]
    operations.install()
    torch.nn.init.trunc_normal_ = lambda tensor, *_, **__: tensor  # slow, and numbers do not matter
    with tempfile.TemporaryDirectory() as folder:
        words += ["--trainer.logger.init_args.save_dir", folder]
        if teacher:
            words += ["--model.init_args.teacher", str(save_teacher(Path(teacher), Path(folder)))]
        counts = count_step(words, int(batch))
    print(f"\n{json.dumps(counts)}")  # on a line of its own: the progress bar has left one open


if __name__ == "__main__":
    main()
