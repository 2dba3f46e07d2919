"""`SpeechDataModule`: the data module of all models, which turns corpora into batches of audio."""

import logging
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from data.audio.bad_files import BadFiles, shared_record
from data.audio.channels import MEAN, Channel, parse_channel
from data.audio.decoded import DecodedClips, available_bytes
from data.audio.lengths import crop_length, length_at
from data.audio.notices import NOTICES
from data.datasets import (
    NO_AUGMENTATION,
    AudioFormat,
    Augmentation,
    ClipDataset,
    CropDataset,
    PieceDataset,
    clip_sampler,
    evaluation_dataset,
    listed_clips,
)
from data.datasets.loading import GuardedDataset, guarded_loader
from data.errors import DataError, check_number
from data.sampling import DrawBatchSampler, EpochLength
from data.sources.base import AudioSource, Clip, as_list, joined, spread_clips, unique_clips
from data.sources.recognised import named_source

Sources = AudioSource | list[AudioSource] | None
STAGE_ROLES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
MEMORY_SHARE = 0.8  # of the available memory, for decoded clips; training needs the rest
logger = logging.getLogger(__name__)


class SpeechDataModule(LightningDataModule):
    """Random crops for training; whole clips for validation, test and predict.

    Training batches are {"audio": float32 [B, 1, T]} with T = crop_seconds * sample_rate, and if `output_sample_rate`
    differs also {"target": [B, 1, T']} of the same region. The training stream is a function of `seed` alone, split
    over the ranks. It is endless (`max_steps` ends it) and starts at the trainer's `global_step`, which has to count
    batches.

    All other batches hold one clip: {"audio": [1, 1, T], "id": [str], "path": [str], "speaker": [str], "text": [str]},
    "target" likewise. Speaker and text (what is said) are empty where not known, the text also of a clip that is cut.
    Ids are paths inside the corpus. The ranks share the clips; set the Trainer's `use_distributed_sampler: false`.
    Predict's long clips come in pieces, in order, with {"piece": [k], "pieces": [n], "samples": [of the clip]}.

    A file that cannot be used is named once in the log and counted (`bad_file_count`).

    Args:
        train: sources of the training crops.
        val: sources of the validation clips.
        test: sources of the test clips.
        predict_from: sources of the clips for predict; a text is the path of a file, folder or list.
        sample_rate: of the model's input, in Hz.
        output_sample_rate: of the target, in Hz; None for `sample_rate`.
        hop_length: samples in a frame at `sample_rate`; a crop is a whole number of frames.
        crop_seconds: length of a training crop.
        batch_size: training crops in a batch, on each rank.
        weights: how often each of the training sources is drawn from, relative to each other; equal by default.
        num_workers: processes that read audio, on each rank; with 0, the main process reads it.
        pin_memory: whether batches are in page-locked memory, for faster copies; by default if the trainer has a GPU.
        seed: of all random draws.
        strict: raise AudioReadError at the first file that cannot be used, or is shorter than a crop in training.
        val_clips: how many validation clips `fit` uses, at even distances in the list; None for all, as in `validate`.
        val_seconds: length that the validation clips of `fit` are cut to; None for whole clips.
        max_clip_seconds: length that the clips of `validate` and `test` are cut to, which bounds memory; a warning
            says how many.
        piece_seconds: length of the pieces in which predict gets longer clips.
        clips_per_batch: clips in a batch of validation, test and predict; several are padded, and "lengths" lists their
            samples. Those longer than `piece_seconds` stay alone.
        highpass_hz: cut-off of a high-pass filter for all audio, in evaluation too; None for no filter.
        channel: of files with several: their mean, the first, the loudest (of the whole file), or its number from 0 on.
            A warning names files where the mean is 6 dB or more below the loudest.
        loudness: target in LUFS (EBU R 128) to which clips are amplified as far as their peaks allow; None to leave
            their levels. Batches of evaluation then have "gain_db" [1]; crops get the gain of their clips, or where
            these are longer of the 60 s around (`data.datasets.levels`).
        augmentation: gain and noise of the training crops.
        in_memory: decode all training clips when `fit` begins (16 kHz: 0.23 GB an hour) and cut the crops from memory.
            The draws are the same, and so are the samples, as far as `DecodedClips` says. The workers share this
            memory; each rank has its own.

    Raises:
        DataError: Lengths or rates do not divide exactly; or, in `setup`, a stage has no source or no usable clip, or
            the decoded clips do not fit into memory.
    """

    def __init__(
        self,
        train: Sources = None,
        val: Sources = None,
        *,
        test: Sources = None,
        predict_from: str | AudioSource | None = None,
        sample_rate: int = 16000,
        output_sample_rate: int | None = None,
        hop_length: int = 320,
        crop_seconds: float = 1.0,
        batch_size: int = 8,
        weights: list[float] | None = None,
        num_workers: int = 2,
        pin_memory: bool | None = None,
        seed: int = 0,
        strict: bool = False,
        val_clips: int | None = None,
        val_seconds: float | None = None,
        max_clip_seconds: float = 1500.0,
        piece_seconds: float = 60.0,
        clips_per_batch: int = 1,
        highpass_hz: float | None = None,
        loudness: float | None = None,
        channel: Channel = MEAN,
        augmentation: Augmentation = NO_AUGMENTATION,
        in_memory: bool = False,
    ) -> None:
        super().__init__()
        counts = ("batch_size", batch_size, 1), ("clips_per_batch", clips_per_batch, 1), ("num_workers", num_workers, 0)
        for name, count, least in counts:
            check_number(name, count, least=least)
        check_number("val_clips", val_clips, least=1, remedy="give null for all; trainer.limit_val_batches 0 is none")
        check_number("val_seconds", val_seconds, above=0, unit=" s")
        check_number("max_clip_seconds", max_clip_seconds, above=0, unit=" s")
        check_number("piece_seconds", piece_seconds, least=1, unit=" s")
        if loudness is not None and not -70 < loudness <= 0:
            raise DataError("loudness", loudness, "must lie between -70 and 0 LUFS", "take -23, or null for none")
        self.crop_samples = crop_length(crop_seconds, sample_rate, hop_length)
        rates = (sample_rate,) if output_sample_rate in (None, sample_rate) else (sample_rate, output_sample_rate)
        for rate in rates:
            length_at(rate, self.crop_samples, sample_rate)
        self.audio_format = AudioFormat(rates, highpass_hz, loudness, parse_channel("channel", channel))
        self.sources = {"train": as_list(train), "val": as_list(val), "test": as_list(test)}
        self.sources["predict"] = as_list(named_source(predict_from) if isinstance(predict_from, str) else predict_from)
        self.batch_size, self.weights, self.seed, self.strict = batch_size, weights, seed, strict
        self.num_workers, self.pin_memory, self.in_memory = num_workers, pin_memory, in_memory
        self.val_clips, self.val_seconds, self.max_clip_seconds = val_clips, val_seconds, max_clip_seconds
        self.piece_seconds, self.clips_per_batch, self.augmentation = piece_seconds, clips_per_batch, augmentation
        self.bad_files: BadFiles | None = None
        self._train_seconds = 0.0
        self._datasets: dict[str, Dataset] = {}
        self._decoded: tuple[Sequence[Clip], DecodedClips] | None = None

    def prepare_data(self) -> None:
        """Download or make the corpora of the trainer's stage. Lightning calls this in one process on each machine."""
        stage = None if self.trainer is None else self.trainer.state.fn
        roles = STAGE_ROLES.get(str(getattr(stage, "value", stage)), tuple(self.sources))
        noise = as_list(self.augmentation.noise) if "train" in roles else []
        for source in chain(*(self.sources[role] for role in roles), noise):
            source.prepare()

    def setup(self, stage: str) -> None:
        """List the clips of `stage`: "fit", "validate", "test" or "predict". Raises DataError for an empty corpus."""
        if self.bad_files is None:
            self.bad_files = shared_record(self.trainer)
        NOTICES.folder = self.bad_files.folder
        if stage == "fit":
            self._datasets["train"] = self._train_dataset()
            module: Any = getattr(self.trainer, "lightning_module", None)
            if hasattr(module, "on_epochs_known"):  # before the callbacks' setup, which looks at the trainer's options
                module.on_epochs_known(self.epoch_length())
            if self.sources["val"]:
                self._datasets["val"] = self._clip_dataset("val", self.val_clips, self.val_seconds)
                overfit = getattr(self.trainer, "overfit_batches", 0)
                if self.trainer is not None and isinstance(overfit, float) and overfit:
                    self.trainer.limit_val_batches = self._clip_share("val", overfit)  # a clip at least
        else:
            role = {"validate": "val"}.get(stage, str(getattr(stage, "value", stage)))
            self._datasets[role] = self._clip_dataset(role)

    def teardown(self, stage: str) -> None:
        """Log how many files were unusable or too short; each was named when it was found."""
        if self.bad_file_count():
            logger.warning("%d bad audio files in all, each named above", self.bad_file_count())

    def bad_file_count(self) -> int:
        """How many files all processes of this machine have reported as unusable or too short so far."""
        return len(self.bad_files) if self.bad_files is not None else 0

    def bad_file_reasons(self) -> dict[str, str]:
        """{path: reason} of the files that `bad_file_count` counts."""
        return self.bad_files.reasons() if self.bad_files is not None else {}

    def epoch_length(self) -> EpochLength:
        """How many batches hold as many seconds as the training corpora, which `setup("fit")` has listed."""
        batch_seconds = self.batch_size * self._place()[1] * self.crop_samples / self.audio_format.rates[0]
        return EpochLength.of(self._train_seconds, batch_seconds)

    def train_dataloader(self) -> DataLoader:
        stream = DrawBatchSampler(
            self.batch_size,
            self._place()[0],
            world_size=self._place()[1],
            start_batch=lambda: self.trainer.global_step if self.trainer else 0,
            repeat=self.epoch_length().share(getattr(self.trainer, "overfit_batches", 0)),
        )
        return self._loader(self._datasets["train"], batch_sampler=stream)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        return self._clip_loader("val") if "val" in self._datasets else []

    def test_dataloader(self) -> DataLoader:
        return self._clip_loader("test")

    def predict_dataloader(self) -> DataLoader:
        return self._clip_loader("predict")

    def _train_dataset(self) -> CropDataset:
        if not self.sources["train"]:
            raise _missing_source("training", "train")
        corpora = [source.clips_without_text() for source in self.sources["train"]]
        speech = listed_clips(corpora, self._record(), weights=self.weights, strict=self.strict)
        self._train_seconds = speech.table.seconds
        noise = self.augmentation.noise
        return CropDataset(
            speech,
            samples=self.crop_samples,
            audio_format=self.audio_format,
            seed=self.seed,
            bad_files=self._record(),
            strict=self.strict,
            augmentation=self.augmentation,
            noise=listed_clips([noise.clips_without_text()], self._record(), strict=self.strict) if noise else None,
            decoded=self._decode(speech.clips) if self.in_memory else None,
        )

    def _decode(self, clips: Sequence[Clip]) -> DecodedClips:
        """The clips in memory; they are decoded again only where they differ from those of the last `fit`."""
        if self._decoded is None or self._decoded[0] != clips:
            free, ranks = available_bytes(), 1
            if self.trainer is not None:
                ranks = self.trainer.num_devices
                self.trainer.strategy.barrier()  # all ranks measure before any takes its share
            decoded = DecodedClips(
                [(clip.path, clip.segment) for clip in clips],
                self.crop_samples,
                rates=self.audio_format.rates,
                highpass_hz=self.audio_format.highpass_hz,
                channel=self.audio_format.channel,
                max_bytes=round(MEMORY_SHARE * free / ranks),
            )
            self._decoded = clips, decoded
        return self._decoded[1]

    def _clip_dataset(self, role: str, count: int | None = None, seconds: float | None = None) -> Dataset:
        if not self.sources[role]:
            raise _missing_source(role, "predict_from" if role == "predict" else role)
        listed = joined([source.clips() for source in self.sources[role]])
        clips = spread_clips(unique_clips(listed), count)
        return evaluation_dataset(
            clips,
            role,
            audio_format=self.audio_format,
            bad_files=self._record(),
            strict=self.strict,
            max_seconds=None if role == "predict" else min(seconds or math.inf, self.max_clip_seconds),
            warns=seconds is None or seconds > self.max_clip_seconds,
            piece_seconds=self.piece_seconds,
            place=self._place(),
        )

    def _clip_loader(self, role: str) -> DataLoader:
        dataset = self._datasets[role]
        assert isinstance(dataset, ClipDataset | PieceDataset)
        counted = role == "val" and bool(getattr(self.trainer, "overfit_batches", False))  # limits clips, in batches
        sampler = clip_sampler(dataset, *self._place())
        return self._loader(dataset, sampler=sampler, clips_per_batch=1 if counted else self.clips_per_batch)

    def _clip_share(self, role: str, share: float) -> int:
        dataset: Any = self._datasets[role]
        return max(1, int(share * (len(dataset) // self._place()[1])))

    def _loader(self, dataset: Dataset, **order: Any) -> DataLoader:
        return guarded_loader(
            GuardedDataset(dataset, self._record(), strict=self.strict),
            **order,
            num_workers=self.num_workers,
            pin_memory=self._uses_gpu() if self.pin_memory is None else self.pin_memory,
            forks=self.in_memory,  # clips are shared, not pickled
        )

    def _place(self) -> tuple[int, int]:
        """(rank, number of ranks); the modules refuse a trainer that would shard the clips a second time."""
        if self.trainer is None or self.trainer.world_size == 1:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _uses_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _record(self) -> BadFiles:
        assert self.bad_files is not None, "setup() comes first"
        return self.bad_files


def _missing_source(stage: str, option: str) -> DataError:
    return DataError(f"no data for {stage}", remedy=f"set `data.{option}` to a source, for example data.FolderSource")
