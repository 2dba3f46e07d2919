"""A corpus that is a folder of audio files."""

from collections.abc import Sequence
from pathlib import Path

from data.errors import DataError
from data.sources.base import AudioSource, Clip, clip_id, printable
from data.sources.columns.cache import listed

AUDIO_EXTENSIONS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif")


class FolderSource(AudioSource):
    """Every audio file below a folder; hidden files are left out. The first folder of a path is taken as the speaker.

    Args:
        root: the folder.
        extensions: of audio files; upper and lower case are the same.
        name: of the corpus. Ids are paths relative to `root`, and `name` goes in front of them.

    Raises:
        DataError: `clips` finds no such folder, or no audio in it.
    """

    def __init__(
        self,
        root: str,
        extensions: list[str] | tuple[str, ...] = AUDIO_EXTENSIONS,
        *,
        name: str | None = None,
    ) -> None:
        self.root, self.name = Path(root).expanduser(), name
        self.extensions = tuple(e.lower() if e.startswith(".") else f".{e.lower()}" for e in extensions)

    def clips(self) -> Sequence[Clip]:
        if not self.root.is_dir():
            raise DataError("the folder", self.root, "does not exist", "give a folder with audio files as `root`")
        paths = sorted(
            path.relative_to(self.root).as_posix()
            for path in self.root.rglob("*")
            if path.suffix.lower() in self.extensions and not path.name.startswith(".")
        )
        if not paths:
            problem = f"holds no audio: no file below it ends in {', '.join(self.extensions)}"
            raise DataError("the folder", self.root, problem, "correct `root` or `extensions`")
        return listed(
            Clip(str(self.root / path), clip_id(path, self.name), speaker=_top_folder(path)) for path in paths
        )


def _top_folder(path: str) -> str | None:
    return printable(path.split("/")[0]) if "/" in path else None
