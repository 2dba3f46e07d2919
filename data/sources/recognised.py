"""Which source reads what a user names by its path alone: a list, a data set, or a folder of audio files."""

from importlib.util import find_spec
from pathlib import Path

from data.errors import DataError
from data.sources.base import AudioSource, Clip
from data.sources.folder import FolderSource
from data.sources.huggingface import SUFFIXES, HuggingFaceSource, is_huggingface
from data.sources.lists.forms import list_in
from data.sources.lists.kaldi import WAV_SCP
from data.sources.manifest import ManifestSource
from data.sources.tree import MEDIA_SUFFIXES


def source_at(path: Path, split: str | None = None) -> AudioSource:
    """The corpus at `path`: a list or a data set, by the file or in the folder of that name, else a folder of audio.

    Raises DataError when `split` is given and a folder has no splits, and for a single audio file.
    """
    path = path.expanduser()
    if path.is_file() and path.suffix.lower() in MEDIA_SUFFIXES:
        raise DataError("the file", path, "is audio, not a list", f"give its folder {path.parent}, or a list of files")
    if path.is_file() and path.suffix not in SUFFIXES:
        return ManifestSource(str(path), split)
    if path.is_file() or (path.is_dir() and is_huggingface(path) and _has_audio(path)):
        return HuggingFaceSource(str(path), split)
    found = list_in(path, split) if path.is_dir() else None
    if found is not None and (split is not None or _lists_audio(found[0])):
        return ManifestSource(str(path), split)
    if split is not None:
        problem = f"needs a manifest or a data set, and {path} is neither"
        raise DataError("--split", split, problem, "leave it out, or give a manifest")
    return FolderSource(str(path))


def named_source(path: str) -> AudioSource:
    """The corpus at a path: all audio of a folder, also where a list lies in it; a list or a data set; or one file."""
    file = Path(path).expanduser()
    if (file / WAV_SCP).is_file():
        return source_at(file)
    if not file.is_file():
        return FolderSource(path)
    return OneFile(file) if file.suffix.lower() in MEDIA_SUFFIXES else source_at(file)


class OneFile(AudioSource):
    """A corpus of one file, whose name is the id."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def clips(self) -> list[Clip]:
        return [Clip(str(self.path), self.path.name)]


def _has_audio(folder: Path) -> bool:
    """Whether the tables of a folder hold audio, as far as that can be told: features may lie beside recordings."""
    try:
        return find_spec("pyarrow") is None or next(HuggingFaceSource(str(folder)).iter_clips(), None) is not None
    except DataError:
        return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def _lists_audio(file: Path) -> bool:
    """Whether a list names audio; `metadata.csv` may be about anything. wav.scp is a list in any case."""
    try:
        return file.name == WAV_SCP or next(ManifestSource(str(file)).iter_clips(), None) is not None
    except DataError:
        return False
