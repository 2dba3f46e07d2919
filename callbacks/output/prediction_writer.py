"""Writes the predictions for a folder of files: reconstructed audio and codes, in the same subfolders."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from callbacks.metrics.checks import require
from callbacks.output.files import AUDIO_SUFFIXES
from callbacks.output.predicted_files import (
    Counts,
    GrowingFiles,
    at_input_level,
    smallest,
    write_audio,
    write_codes,
    writing,
)
from codec.errors import InvalidValue, counted
from codec.layers.ranks import gather_objects
from codec.training.comparison_module import ComparisonModule


class PredictionWriter(Callback):
    """Writes `<id>.wav` (16-bit PCM) and `<id>.codes.npz` under `output_dir` for each prediction.

    `predict_step` returns `audio` [B, 1, T], `codes` [B, K, F], `id` [B strings] and `length`, the samples of the input
    at the codec's input rate, or `lengths` of several clips; audio and codes are cut to these. An id is a relative path
    with "/" between folders; an audio extension is removed, unless another clip of this process already has the name
    (`a.wav` and `a.flac`). Earlier predictions are replaced, other files never are.

    A comparison's `predict_step` returns `id` and, under `systems` by name, the rest for each codec. Each codec has a
    folder, named after the first system with this codec; no channel takes part here, so the other systems with it would
    have the same files, and the log names them.

    The archive holds `codes` [K, F] in the smallest unsigned type, `sample_rate` (Hz, of the encoder's input),
    `output_sample_rate` (Hz), `hop_length` (input samples per frame), `length` (input samples),
    `output_length` (output samples) and `codebook_sizes` [K].

    A long clip comes in pieces (`SpeechDataModule`): outputs with `piece`, `pieces` and `samples`, each with the audio
    and the codes that follow. They are written as they come; above 4 GB the WAV file is an RF64 one. Of a clip whose
    last piece does not come, nothing stays. Where the data module has amplified a clip (`gain_db`), the audio is
    written without that gain, at the level of its input.

    At the end the log states the number of files of all ranks, which of them were clipped, and in which of them zeros
    replace samples that were not finite.

    Args:
        output_dir: Folder to write to; created if missing.
    """

    def __init__(self, output_dir: str | Path = "predictions") -> None:
        self.output_dir = Path(output_dir)
        self._codecs: dict[str, Any] = {}  # by the name of the system
        self._written: set[PurePosixPath] = set()
        self._counts = Counts(self.output_dir)
        self._sample_rate = 1
        self._growing: dict[str, GrowingFiles] = {}  # of the long clip that is being written
        self._unfinished = ""  # its id
        self._incomplete: list[str] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the codecs and make the folders.

        Raises:
            InvalidValue: Two systems would share a folder.
            UnreadableFile: A folder cannot be made or written to.
        """
        self._written, self._counts, self._incomplete = set(), Counts(self.output_dir), []
        module: Any = pl_module
        self._sample_rate = getattr(module, "sample_rate", None) or module.codec.sample_rate
        self._codecs = _codecs_by_system(module) if isinstance(module, ComparisonModule) else {"": module.codec}
        for system in self._codecs:
            folder = self.output_dir / folder_name(system)
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if "piece" in outputs:
            self._append(outputs["id"][0], outputs)
            return
        for row, clip_id in enumerate(outputs["id"]):
            for system, path in self._paths(clip_id).items():
                self._write(path, self._codecs[system], _of_system(outputs, system), outputs, row)

    def _write(self, path: Path, codec: Any, prediction: Any, outputs: Any, row: int) -> None:
        """Write the files of one clip of a prediction."""
        ids = outputs["id"]
        known = "lengths" in prediction or len(ids) == 1
        remedy = "predict one clip at a time, or return `lengths`"
        require(known, f"{len(ids)} clips ({ids[:3]}) are in one prediction", remedy=remedy)
        length = int(prediction["lengths"][row] if "lengths" in prediction else prediction["length"])
        audio = at_input_level(prediction["audio"][row, 0, : codec.output_length(length)], outputs, row)
        codes = prediction["codes"][row, :, : -(-length // codec.hop_length)]
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_codes(path, smallest(codes, codec), codec=codec, length=length)
            write_audio(path, self._counts.pcm(path, audio), rate=codec.output_sample_rate)

    def _append(self, clip_id: str, outputs: Any) -> None:
        """Write a piece of a long clip."""
        if int(outputs["piece"][0]) == 0:
            self._abandon()
            self._unfinished = clip_id
            rate = self._sample_rate
            for system, path in self._paths(clip_id).items():
                codec = self._codecs[system]
                samples = -(-int(outputs["samples"][0]) * codec.output_sample_rate // rate)
                with writing(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._growing[system] = GrowingFiles(path, codec, samples=samples)
        last = int(outputs["piece"][0]) == int(outputs["pieces"][0]) - 1
        for system, files in self._growing.items():
            prediction = _of_system(outputs, system)
            audio = at_input_level(prediction["audio"][0, 0], outputs)
            with writing(files.path):
                files.add(self._counts.pcm(files.path, audio), prediction["codes"][0])
                if last:
                    files.finish(int(prediction["length"]))
        if last:
            self._growing, self._unfinished = {}, ""

    def _abandon(self) -> None:
        """Remove what there is of a long clip whose last piece has not come."""
        if self._unfinished:
            self._incomplete.append(self._unfinished)
        for files in self._growing.values():
            files.abandon()
        self._growing, self._unfinished = {}, ""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._abandon()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._abandon()
        counts = self._counts
        written = (len(self._written) - len(self._incomplete)) * len(self._codecs)
        found = gather_objects((written, counts.clipped, counts.not_finite, self._incomplete))
        count = sum(written for written, *_ in found)
        for what, each in (
            ("left [-1, 1] and were clipped", [clipped for _, clipped, *_ in found]),
            ("hold zeros for NaN or infinite samples", [broken for *_, broken, _ in found]),
        ):
            samples = {name: number for files in each for name, number in files.items()}
            if samples:
                shown = f"{sorted(samples)[:5]}{' and more' * (len(samples) > 5)}"
                lost = counted(sum(samples.values()), "sample")
                rank_zero_warn(f"{len(samples)} of {counted(count, 'file')} {what} ({lost}): {shown}")
        incomplete = [name for *_, names in found for name in names]
        if incomplete:
            rank_zero_warn(
                f"{counted(len(incomplete), 'long clip')} ended before their last piece, not written: {incomplete[:5]}"
            )
        every, are = ("", "is") if count == 1 else ("each ", "are")
        files_written = counted(count, "WAV file")
        rank_zero_info(f"{files_written}, {every}with its codes in a .codes.npz, {are} in {self.output_dir}.")

    def _paths(self, clip_id: str) -> dict[str, Path]:
        """Where the files of a clip go, without their extensions, by system."""
        name = self._file_name(clip_id)
        paths = {system: self._path(folder_name(system) / name) for system in self._codecs}
        for path in paths.values():
            foreign = os.path.isfile(f"{path}.wav") and not Path(f"{path}.codes.npz").exists()
            remedy = "give an empty folder as predictions.output_dir"
            require(not foreign, "the file", f"{path}.wav", "is there and is no prediction, perhaps the input", remedy)
        return paths

    def _file_name(self, clip_id: str) -> PurePosixPath:
        """Path of the clip's files below the output folder, without their extensions.

        Raises:
            InvalidValue: The id is empty, is used twice, or leads out of `output_dir`.
        """
        name = PurePosixPath(clip_id)
        inside = bool(name.parts) and not name.is_absolute() and ".." not in name.parts and "\0" not in clip_id
        remedy = "give the data source a `root` that holds all of its files"
        require(inside, "clip id", repr(clip_id), "must be a relative path inside the output folder", remedy)
        short = name.with_suffix("") if name.suffix.lower() in AUDIO_SUFFIXES else name
        chosen = short if short not in self._written else name
        twice = chosen in self._written
        require(not twice, "clip id", repr(clip_id), "was predicted twice", "give each clip an id of its own")
        self._written.add(chosen)
        return chosen

    def _path(self, name: PurePosixPath) -> Path:
        """A path in `output_dir`; InvalidValue where a symbolic link leads out of it."""
        path = self.output_dir / name
        inside = path.parent.resolve().is_relative_to(self.output_dir.resolve())
        require(inside, "clip id", repr(str(name)), f"leads out of {self.output_dir} through a link")
        return path


def folder_name(system: str) -> PurePosixPath:
    """A system's name as a folder's: "_" for a leading "." and for all but letters, digits, "_", "-" and "."."""
    return PurePosixPath(re.sub(r"^\.|[^\w.-]", "_", system))


def _of_system(outputs: Any, system: str) -> Any:
    """A system's part of a prediction."""
    return outputs["systems"][system] if system else outputs


def _codecs_by_system(comparison: ComparisonModule) -> dict[str, Any]:
    """Each distinct codec by the name of the first system that has it.

    Raises:
        InvalidValue: Two names give the same folder name, apart from upper and lower case.
    """
    owners: dict[str, str] = {}
    for first, *others in comparison.sharing:
        folder = str(folder_name(first.name))
        other = owners.setdefault(folder.casefold(), first.name)  # some file systems ignore case
        if other != first.name:
            raise InvalidValue(
                "systems", f"{other!r} and {first.name!r}", f"would share the folder {folder}", "rename one of them"
            )
        if others:
            names = ", ".join(other.name for other in others)
            rank_zero_info(
                f"No files of {names}: its codec is that of {first.name}, and no channel takes part in predictions."
            )
    return {first.name: first.codec for first, *_ in comparison.sharing}
