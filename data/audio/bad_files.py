"""The record of files that cannot be used, shared by all data workers and all ranks of a machine."""

import json
import logging
import os
import shutil
import tempfile
import weakref
from hashlib import blake2b
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class BadFiles:
    """Names each bad file once in the log and counts it once, over all processes and epochs.

    A report is a small file in a temporary `folder`. It is created exclusively, which is atomic between processes, and
    the record can be pickled. Pass the same folder on every rank of a machine; the process that made it removes it.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder or tempfile.mkdtemp(prefix="bad-files-")
        os.makedirs(self.folder, exist_ok=True)
        if folder is None:
            weakref.finalize(self, _remove, self.folder, os.getpid())

    def report(self, path: str, reason: str) -> None:
        """Record `path`; the first report of a path is logged as a warning, later ones are silent."""
        entry = os.path.join(self.folder, blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest())
        try:
            with open(entry, "x", encoding="utf-8") as file:
                json.dump([path, reason], file)
        except FileExistsError:
            return
        except FileNotFoundError:  # the rank that made the folder has ended already
            pass
        logger.warning("bad audio file: %s: %s", path, reason)

    def __len__(self) -> int:
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
        return sum(not name.endswith(".note") for name in names)  # of `Notices`

    def reasons(self) -> dict[str, str]:
        """{path: reason} of every file reported so far, sorted by path."""
        texts = [entry.read_text(encoding="utf-8") for entry in Path(self.folder).glob("*") if not entry.suffix]
        return dict(sorted(json.loads(text) for text in texts if text))


def shared_record(trainer: Any) -> BadFiles:
    """One record for all ranks of a machine: rank 0 names the folder (`trainer` is Lightning's, if any)."""
    if trainer is None or trainer.world_size == 1:
        return BadFiles()
    mine = BadFiles() if trainer.is_global_zero else None
    folder = trainer.strategy.broadcast(None if mine is None else mine.folder)
    return BadFiles(folder) if mine is None else mine


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker inherits the finalizer and must not run it
        shutil.rmtree(folder, ignore_errors=True)
