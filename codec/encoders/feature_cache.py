"""Features of a frozen encoder on disk, named by the content of the clip, for runs that use the same crops again."""

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from codec.errors import InvalidValue


class TeacherCache:
    """Stores the output of a frozen encoder for each clip, so that another run over the same crops need not compute it.

    A crop is a function of (seed, number), so runs with the same data seed (a sweep over students) draw the same crops;
    within a run, no crop repeats. The name of a file is a digest of the encoder's weights and settings, the autocast
    precision and the clip's samples, so a different teacher, gain or resampling never finds an outdated file. Files are
    written under another name and renamed, so ranks and runs may share the folder. The cache is worth its disk space
    only for slow encoders: at 50 frames per second and 768 channels, a second of audio takes 150 kB.

    Args:
        folder: created if missing.
        max_gigabytes: size of the folder, in 10⁹ bytes, beyond which this process adds no files.

    Raises:
        InvalidValue: the size is not above 0.
    """

    def __init__(self, folder: str, max_gigabytes: float = 20.0) -> None:
        if max_gigabytes <= 0:
            raise InvalidValue("max_gigabytes", max_gigabytes, "must be above 0")
        self.folder, self.left = Path(folder), max_gigabytes * 1e9
        self._encoder: str | None = None

    def __call__(self, encoder: nn.Module, audio: Tensor) -> Tensor:
        """Latents float32 `[B, D, F]` of audio `[B, 1, F * hop]`, read if all clips are stored, else computed."""
        if self._encoder is None:
            self._encoder = fingerprint(encoder)
            self.folder.mkdir(parents=True, exist_ok=True)
            self.left -= sum(file.stat().st_size for file in self.folder.glob("*.npy"))
        kind = audio.device.type
        precision = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else ""
        samples = audio.float().cpu().numpy()
        paths = [self._path(clip, precision) for clip in samples]
        if all(path.is_file() for path in paths):
            return torch.from_numpy(np.stack([np.load(path) for path in paths])).to(audio.device)
        latents = encoder(audio).float()
        for path, values in zip(paths, latents.cpu().numpy(), strict=True):
            self._store(path, values)
        return latents

    def _path(self, clip: np.ndarray, precision: str) -> Path:
        """File of a clip `[1, T]` encoded at an autocast precision."""
        assert self._encoder is not None
        digest = hashlib.sha256((self._encoder + precision).encode() + clip.tobytes())
        return self.folder / f"{digest.hexdigest()[:32]}.npy"

    def _store(self, path: Path, latents: np.ndarray) -> None:
        """Write latents `[D, F]`, unless the file exists or the folder is full."""
        if path.is_file() or latents.nbytes > self.left:
            return
        self.left -= latents.nbytes
        partial = path.with_suffix(f".{os.getpid()}")
        with partial.open("wb") as file:
            np.save(file, latents)
        partial.replace(path)


def fingerprint(module: nn.Module) -> str:
    """Digest of a module's weights and of its attribute `settings`, if any, which states what weights do not show."""
    digest = hashlib.sha256(str(getattr(module, "settings", "")).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
