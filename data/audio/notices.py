"""What is odd about files that are used all the same: said once a file, and no more often than is useful."""

import logging
import os
from hashlib import blake2b
from pathlib import Path

MOST_NAMED = 20  # files of each kind

logger = logging.getLogger(__name__)


class Notices:
    """Logs each (kind, path) once and names MOST_NAMED files of each kind: in this process, or over all of a run.

    Attributes:
        folder: where all processes of a run note what they have said; None for this process alone.
    """

    def __init__(self) -> None:
        self._said: dict[str, set[str]] = {}
        self.folder: str | None = None

    def say(self, kind: str, path: str, text: str) -> None:
        """Log a warning about a file."""
        said = self._said.setdefault(kind, set())
        if path in said or len(said) > MOST_NAMED:
            return
        said.add(path)
        named = self._note(kind, path, len(said) - 1)
        if named is True:
            logger.warning("%s: %s", path, text)
        elif named is None:
            logger.warning("more than %d files with: %s (further ones are not named)", MOST_NAMED, kind)

    def _note(self, kind: str, path: str, before: int) -> bool | None:
        """Whether to name the file; None where there have just been too many."""
        if self.folder is None or not os.path.isdir(self.folder):
            return True if before < MOST_NAMED else None
        place = kind.replace(" ", "-")
        digest = blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        too_many = len(list(Path(self.folder).glob(f"{place}.*.note"))) >= MOST_NAMED
        try:
            open(Path(self.folder) / f"{place}.{'more' if too_many else digest}.note", "x").close()
        except OSError:  # another process has said it, or the run is over
            return False
        return None if too_many else True


NOTICES = Notices()
