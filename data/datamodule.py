"""`SpeechDataModule`: the one data module of all models; any mix of corpora in, plain dictionaries out."""

import logging
import os
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from data.audio.bad_files import BadFiles
from data.audio.decoded import DecodedClips, available_bytes
from data.audio.lengths import crop_length, length_at
from data.audio.worker_signals import leave_stop_signals_to_parent
from data.datasets import AudioFormat, Augmentation, ClipDataset, CropDataset, clip_seconds, readable_clips
from data.sampling import ClipTable, DrawBatchSampler, ShardSampler, UnsizedSampler
from data.sources.listed import AudioSource, Clip, FolderSource, as_list, spread_clips, unique_clips

Sources = AudioSource | list[AudioSource] | None
MEMORY_SHARE = 0.8  # of the available memory, for decoded clips; the rest is for the training
logger = logging.getLogger(__name__)


class SpeechDataModule(LightningDataModule):
    """Random crops for training, whole clips for validation, test and predict.

    Training batches are {"audio": float32 [B, 1, T]} at `sample_rate`, T = crop_seconds * sample_rate, and
    where `output_sample_rate` differs also {"target": [B, 1, T']} of the same region. The other batches hold
    one clip: {"audio": [1, 1, T], "id": [str], "path": [str]} and "target" likewise. Ids are stable, paths
    relative to the corpus. The training stream is endless (`max_steps` ends it), a function of `seed` alone,
    split over ranks, and starts at the trainer's `global_step`, which must count batches. Every rank sees
    each evaluation clip of its share once; set the Trainer's `use_distributed_sampler: false`.

    `weights`: one for each of the training sources, equal by default. `val_clips`, `val_seconds`: validation
    during `fit` uses that many clips, spread over the list, cut to that length; `validate` and `test` use
    all. `max_clip_seconds` cuts every evaluation clip, to bound memory. `noise` is mixed into
    `noise_probability` of the crops at `snr_db`, then `gain_db` is drawn. `highpass_hz` filters all audio,
    evaluation too. Unusable files are named once and counted (`bad_file_count`), or raise with `strict`.
    `in_memory` decodes all training clips when `fit` begins (16 kHz: 0.23 GB an hour) and cuts the crops there, the
    same draws and, as `DecodedClips` says, the same samples. The data workers share this memory; each rank has its
    own. Noise is still read from its files.

    Raises ValueError, naming the values, for lengths or rates that do not divide exactly, and in `setup` where decoded
    clips do not fit into memory.
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
        pin_memory: bool = False,
        seed: int = 0,
        strict: bool = False,
        val_clips: int | None = None,
        val_seconds: float | None = None,
        max_clip_seconds: float = 1500.0,
        highpass_hz: float | None = None,
        gain_db: tuple[float, float] | None = None,
        noise: AudioSource | None = None,
        snr_db: tuple[float, float] = (5.0, 30.0),
        noise_probability: float = 0.5,
        in_memory: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size} must be at least 1.")
        self.crop_samples = crop_length(crop_seconds, sample_rate, hop_length)
        rates = (sample_rate,) if output_sample_rate in (None, sample_rate) else (sample_rate, output_sample_rate)
        for rate in rates:
            length_at(rate, self.crop_samples, sample_rate)
        self.audio_format = AudioFormat(rates, highpass_hz)
        self.sources = {"train": as_list(train), "val": as_list(val), "test": as_list(test)}
        self.sources["predict"] = as_list(FolderSource(predict_from) if isinstance(predict_from, str) else predict_from)
        self.batch_size, self.weights, self.seed, self.strict = batch_size, weights, seed, strict
        self.num_workers, self.pin_memory, self.in_memory = num_workers, pin_memory, in_memory
        self.val_clips, self.val_seconds, self.max_clip_seconds = val_clips, val_seconds, max_clip_seconds
        self.noise, self.gain_db, self.snr_db, self.noise_probability = (
            noise,
            gain_db,
            snr_db,
            noise_probability,
        )
        self.bad_files: BadFiles | None = None
        self._datasets: dict[str, Dataset] = {}
        self._decoded: tuple[list[Clip], DecodedClips] | None = None

    def prepare_data(self) -> None:
        """Download or make what the sources need; in one process a machine."""
        for source in chain(*self.sources.values(), as_list(self.noise)):
            source.prepare()

    def setup(self, stage: str) -> None:
        """List the clips of `stage`: "fit", "validate", "test" or "predict". Raises ValueError for an empty corpus."""
        if self.bad_files is None:
            self.bad_files = self._shared_record()
        if stage == "fit":
            self._datasets["train"] = self._train_dataset()
            if self.sources["val"]:
                self._datasets["val"] = self._clip_dataset("val", self.val_clips, self.val_seconds)
        else:
            role = {"validate": "val"}.get(stage, str(getattr(stage, "value", stage)))
            self._datasets[role] = self._clip_dataset(role)

    def teardown(self, stage: str) -> None:
        """Say how many files were unusable or too short; each has been named when it was met."""
        if self.bad_file_count():
            logger.warning("%d bad audio files in all, each named above", self.bad_file_count())

    def bad_file_count(self) -> int:
        """How many files all processes of this machine have reported as unusable or too short so far."""
        return len(self.bad_files) if self.bad_files is not None else 0

    def bad_file_reasons(self) -> dict[str, str]:
        """{path: reason} of the files that `bad_file_count` counts."""
        return self.bad_files.reasons() if self.bad_files is not None else {}

    def train_dataloader(self) -> DataLoader:
        rank, world_size = self._place()
        stream = DrawBatchSampler(
            self.batch_size,
            rank,
            world_size=world_size,
            start_batch=lambda: self.trainer.global_step if self.trainer else 0,
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
            raise ValueError("no training data: set `data.train` to a source, for example data.FolderSource")
        corpora = [source.clips() for source in self.sources["train"]]
        table = self._table(corpora, self.weights)
        noise_clips = self.noise.clips() if self.noise else []
        clips = list(chain(*corpora))
        return CropDataset(
            clips,
            table,
            samples=self.crop_samples,
            audio_format=self.audio_format,
            seed=self.seed,
            bad_files=self._record(),
            strict=self.strict,
            augmentation=Augmentation(
                self.gain_db,
                noise_clips,
                self._table([noise_clips]) if self.noise else None,
                self.snr_db,
                self.noise_probability,
            ),
            decoded=self._decode(clips) if self.in_memory else None,
        )

    def _decode(self, clips: list[Clip]) -> DecodedClips:
        """The clips in memory; those of an earlier `fit` where they are the same."""
        if self._decoded is None or self._decoded[0] != clips:
            free, ranks = available_bytes(), 1
            if self.trainer is not None:
                ranks = self.trainer.num_devices
                self.trainer.strategy.barrier()  # all ranks look before any takes its share
            decoded = DecodedClips(
                clips,
                self.crop_samples,
                rates=self.audio_format.rates,
                highpass_hz=self.audio_format.highpass_hz,
                max_bytes=round(MEMORY_SHARE * free / ranks),
            )
            self._decoded = clips, decoded
        return self._decoded[1]

    def _table(self, corpora: Sequence[Sequence[Clip]], weights: list[float] | None = None) -> ClipTable:
        seconds = [clip_seconds(clips, self._record(), strict=self.strict) for clips in corpora]
        for clips, lengths in zip(corpora, seconds, strict=True):
            logger.info("%d clips, %.2f h, from %s on", len(clips), sum(lengths) / 3600, clips[0].path)
        return ClipTable(seconds, weights)

    def _clip_dataset(self, role: str, count: int | None = None, seconds: float | None = None) -> ClipDataset:
        if not self.sources[role]:
            option = "predict_from" if role == "predict" else role
            raise ValueError(f"no data for {role}: set `data.{option}` to a source, for example data.FolderSource")
        clips = spread_clips(
            unique_clips(list(chain.from_iterable(source.clips() for source in self.sources[role]))), count
        )
        longest = min(seconds or self.max_clip_seconds, self.max_clip_seconds)
        usable = readable_clips(clips, self._record(), strict=self.strict, max_seconds=longest)
        if not usable:
            raise ValueError(f"none of the {len(clips)} clips for {role} can be read; see the warnings above")
        if len(usable) < len(clips):
            left_out = len(clips) - len(usable)
            logger.warning("%s: %d of %d clips cannot be read and are left out", role, left_out, len(clips))
        return ClipDataset(usable, self.audio_format, max_seconds=longest)

    def _clip_loader(self, role: str) -> DataLoader:
        rank, world_size = self._place()
        dataset = self._datasets[role]
        assert isinstance(dataset, ClipDataset)
        shard = ShardSampler(len(dataset), rank, world_size=world_size)
        # A rank whose loader has length 0 skips the hooks at the end of an evaluation, and with them the reductions
        # that the other ranks wait in. Without a length, on every rank alike, Lightning calls them everywhere.
        return self._loader(dataset, sampler=UnsizedSampler(shard) if len(dataset) < world_size else shard)

    def _loader(
        self, dataset: Dataset, *, sampler: Sampler | None = None, batch_sampler: Sampler | None = None
    ) -> DataLoader:
        order: dict[str, Any] = (
            {"batch_sampler": batch_sampler} if batch_sampler else {"sampler": sampler, "batch_size": 1}
        )
        return DataLoader(
            dataset,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.num_workers > 0,
            multiprocessing_context="fork" if self.in_memory and self.num_workers else None,  # shared, not pickled
            worker_init_fn=start_worker,
            **order,
        )

    def _place(self) -> tuple[int, int]:
        """(rank, number of ranks). Raises ValueError when Lightning would shard the clips a second time."""
        if self.trainer is None or self.trainer.world_size == 1:
            return 0, 1
        if self.trainer._accelerator_connector.use_distributed_sampler:
            raise ValueError("set the Trainer's `use_distributed_sampler: false`: SpeechDataModule shards by itself")
        return self.trainer.global_rank, self.trainer.world_size

    def _shared_record(self) -> BadFiles:
        """One record for all ranks of a machine: rank 0 names the folder."""
        if self.trainer is None or self.trainer.world_size == 1:
            return BadFiles()
        mine = BadFiles() if self.trainer.is_global_zero else None
        folder = self.trainer.strategy.broadcast(None if mine is None else mine.folder)
        return BadFiles(folder) if mine is None else mine

    def _record(self) -> BadFiles:
        assert self.bad_files is not None, "setup() comes first"
        return self.bad_files


def start_worker(worker: int) -> None:
    """Data workers compute on one thread each: more would fight over the cores, or hang after a fork."""
    leave_stop_signals_to_parent()
    torch.set_num_threads(1)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
