"""Writes the predictions for a folder of files: reconstructed audio and codes, in the same subfolders."""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from callbacks.metrics.checks import require
from codec.errors import InvalidValue, UnreadableFile
from codec.layers.ranks import gather_objects
from codec.training.comparison_module import ComparisonModule

AUDIO_SUFFIXES = frozenset({".aac", ".aif", ".aiff", ".au", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".w64", ".wav"})


class PredictionWriter(Callback):
    """Writes `<id>.wav` (16-bit PCM) and `<id>.codes.npz` under `output_dir` for each prediction.

    `predict_step` returns `audio` [1, 1, T], `codes` [1, K, F], `id` [one string] and `length`, the samples of the
    input at the codec's input rate; the audio is cut to `codec.output_length(length)`. An id is a relative path with
    "/" between folders; an audio extension is removed, unless another clip of this process already has the name
    (`a.wav` and `a.flac`). Existing files are replaced.

    A comparison's `predict_step` returns `id` and, under `systems` by name, the rest for each codec. Each codec has a
    folder, named after the first system with this codec; no channel takes part here, so the other systems with it would
    have the same files, and the log names them.

    The archive holds `codes` [K, F] in the smallest unsigned type, `sample_rate` (Hz, of the encoder's input),
    `output_sample_rate` (Hz), `hop_length` (input samples per frame), `length` (input samples),
    `output_length` (output samples) and `codebook_sizes` [K].

    At the end the log states the number of files of all ranks, which of them were clipped, and in which of them zeros
    replace samples that were not finite.

    Args:
        output_dir: Folder to write to; created if missing.
    """

    def __init__(self, output_dir: str | Path = "predictions") -> None:
        self.output_dir = Path(output_dir)
        self._codecs: dict[str, Any] = {}  # by the name of the system
        self._written: set[PurePosixPath] = set()
        self._clipped: dict[str, int] = {}
        self._not_finite: dict[str, int] = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the codecs and make the folders.

        Raises:
            InvalidValue: Two systems would share a folder.
            UnreadableFile: A folder cannot be made or written to.
        """
        self._written, self._clipped, self._not_finite = set(), {}, {}
        module: Any = pl_module
        self._codecs = _codecs_by_system(module) if isinstance(module, ComparisonModule) else {"": module.codec}
        for system in self._codecs:
            folder = self.output_dir / folder_name(system)
            with _writing(folder):
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
        ids = outputs["id"]
        require(
            len(ids) == 1, f"{len(ids)} clips ({ids[:3]}) are in one prediction", remedy="use batch size 1 to predict"
        )
        name = self._file_name(ids[0])
        for system, codec in self._codecs.items():
            prediction = outputs["systems"][system] if system else outputs
            path = self._path(folder_name(system) / name)
            length = int(prediction["length"])
            audio = prediction["audio"][0, 0, : codec.output_length(length)]
            with _writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._write_audio(path, audio, rate=codec.output_sample_rate)
                _write_codes(path, prediction["codes"][0], codec=codec, length=length)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = gather_objects((len(self._written) * len(self._codecs), self._clipped, self._not_finite))
        count = sum(written for written, *_ in found)
        for what, each in (
            ("left [-1, 1] and were clipped", [clipped for _, clipped, _ in found]),
            ("hold zeros for NaN or infinite samples", [broken for *_, broken in found]),
        ):
            samples = {name: number for files in each for name, number in files.items()}
            if samples:
                shown = f"{sorted(samples)[:5]}{' and more' * (len(samples) > 5)}"
                rank_zero_warn(f"{len(samples)} of {count} files {what} ({sum(samples.values())} samples): {shown}")
        rank_zero_info(f"{count} WAV files, each with its codes in a .codes.npz, are in {self.output_dir}.")

    def _file_name(self, clip_id: str) -> PurePosixPath:
        """Path of the clip's files below the output folder, without their extensions.

        Raises:
            InvalidValue: The id is empty, is used twice, or leads out of `output_dir`.
        """
        name = PurePosixPath(clip_id)
        inside = bool(name.parts) and not name.is_absolute() and ".." not in name.parts and "\0" not in clip_id
        require(inside, "clip id", repr(clip_id), "must be a relative path inside the output folder")
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

    def _write_audio(self, path: Path, audio: Tensor, *, rate: int) -> None:
        import soundfile

        signal = audio.detach().float().cpu().numpy()
        finite = np.isfinite(signal)
        signal = np.where(finite, signal, 0)
        for found, count in ((self._not_finite, (~finite).sum()), (self._clipped, (np.abs(signal) > 1).sum())):
            if count:
                found[str(path.relative_to(self.output_dir))] = int(count)
        # PCM's largest value is 1 - 2^-15; the codec's range is symmetric.
        samples = np.round(np.clip(signal, -1, 1) * 32767).astype(np.int16)
        wav = io.BytesIO()  # Python writes the file: its errors have a reason
        soundfile.write(wav, samples, rate, format="WAV", subtype="PCM_16")
        Path(f"{path}.wav").write_bytes(wav.getvalue())  # no view: it would outlive a failed write


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Inside, an error of the file system becomes an UnreadableFile that names the path."""
    try:
        yield
    except OSError as error:
        raise UnreadableFile(
            str(error.filename or path),
            allowed=f"cannot be written ({error.strerror or error})",
            remedy="give a folder with room for new files as predictions.output_dir",
        ) from error


def folder_name(system: str) -> PurePosixPath:
    """A system's name as a folder's: "_" for a leading "." and for all but letters, digits, "_", "-" and "."."""
    return PurePosixPath(re.sub(r"^\.|[^\w.-]", "_", system))


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


def _write_codes(path: Path, codes: Tensor, *, codec: Any, length: int) -> None:
    sizes = tuple(codec.quantizer.codebook_sizes)
    np.savez_compressed(
        f"{path}.codes.npz",
        codes=codes.cpu().numpy().astype(np.min_scalar_type(max(sizes) - 1)),
        sample_rate=codec.sample_rate,
        output_sample_rate=codec.output_sample_rate,
        hop_length=codec.hop_length,
        length=length,
        output_length=codec.output_length(length),
        codebook_sizes=np.array(sizes),
    )
