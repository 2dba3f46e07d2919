"""Teacher latents on disk, named by the content of the clip: for runs that hear the same crops again."""

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


class TeacherCache:
    """Keeps what a frozen encoder makes of each clip, so that another run over the same crops need not run it.

    A crop is a function of (seed, number), so runs of one data seed (a sweep over students) draw equal crops, while
    within a run none returns. The name of a file is a digest of the encoder's weights and settings, of the autocast's
    precision and of the clip's samples: a changed teacher, gain or resampling misses instead of giving something
    stale. Files appear whole (renamed into place), so ranks and runs may share the folder. Worth its disk only where
    the encoder is slow: at 50 frames/s and 768 channels, a second of audio is 150 kB.

    Args:
        folder: made if missing.
        max_gigabytes: nothing is added by this process beyond what fills the folder to this size.

    Raises:
        ValueError: the size is not above 0.
    """

    def __init__(self, folder: str, max_gigabytes: float = 20.0) -> None:
        if max_gigabytes <= 0:
            raise ValueError(f"max_gigabytes {max_gigabytes} must be above 0.")
        self.folder, self.left = Path(folder), max_gigabytes * 1e9
        self._encoder: str | None = None

    def __call__(self, encoder: nn.Module, audio: Tensor) -> Tensor:
        """Latents float32 `[B, D, F]` of `[B, 1, F * hop]`: read where all clips are known, else encoded and kept."""
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
        for path, found in zip(paths, latents.cpu().numpy(), strict=True):
            self._keep(path, found)
        return latents

    def _path(self, clip: np.ndarray, precision: str) -> Path:
        assert self._encoder is not None
        digest = hashlib.sha256((self._encoder + precision).encode() + clip.tobytes())
        return self.folder / f"{digest.hexdigest()[:32]}.npy"

    def _keep(self, path: Path, latents: np.ndarray) -> None:
        if path.is_file() or latents.nbytes > self.left:
            return
        self.left -= latents.nbytes
        partial = path.with_suffix(f".{os.getpid()}")
        with partial.open("wb") as file:
            np.save(file, latents)
        partial.replace(path)


def fingerprint(module: nn.Module) -> str:
    """Digest of a module's weights and of what it states as `settings`, where weights do not tell all."""
    digest = hashlib.sha256(str(getattr(module, "settings", "")).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
