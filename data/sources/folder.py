"""A corpus that is a folder of audio files."""

import logging
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from data.errors import DataError
from data.sources.base import AudioSource, Clip, clip_id, printable
from data.sources.columns.cache import listed
from data.sources.lists.transcripts import text_beside, transcribed
from data.sources.tree import Tree, list_tree

# Of files that libsndfile reads; headerless ones are not among them, because nothing tells their rate.
SNDFILE_EXTENSIONS = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mp1", ".mpga"),
    *(".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc", ".ircam", ".avr", ".paf", ".pvf"),
    *(".svx", ".8svx", ".wve", ".mpc2k"),
)
FFMPEG_EXTENSIONS = (".m4a", ".aac")  # read where the package `av` is installed
AUDIO_EXTENSIONS = SNDFILE_EXTENSIONS + (FFMPEG_EXTENSIONS if find_spec("av") else ())
SHOWN_EXTENSIONS = 8

logger = logging.getLogger(__name__)


class FolderSource(AudioSource):
    """Every audio file below a folder. The first folder of a path is taken as the speaker.

    Links to folders are followed; a folder that several links lead to is listed once, under its own path if that is
    below `root`, else under the first link by name. A link to a file is a file of its own. Hidden files and folders,
    `__MACOSX` and the like are left out. The log counts in one line the media files whose extensions are not looked
    for, and names links that lead nowhere and folders that cannot be read.

    Args:
        root: the folder.
        extensions: of audio files; upper and lower case are the same. By default those that libsndfile reads, and .m4a
            and .aac where the package av is installed.
        name: of the corpus. Ids are paths relative to `root`, and `name` goes in front of them.
        texts: endings of the text files beside the clips that hold what is said, such as .txt or .lab, the first that
            is there counts. By default none is read: a text of the same name may be about anything, such as the times
            of words. Training does not read them.

    Raises:
        DataError: `clips` finds no such folder, no audio in it, or none of the `texts`, or one that is not UTF-8.
    """

    def __init__(
        self,
        root: str,
        extensions: list[str] | tuple[str, ...] = AUDIO_EXTENSIONS,
        *,
        name: str | None = None,
        texts: list[str] | tuple[str, ...] = (),
    ) -> None:
        self.root, self.name = Path(root).expanduser(), name
        self.texts = tuple(e if e.startswith((".", "_", "-")) else f".{e}" for e in texts)
        self.extensions = tuple(e.lower() if e.startswith(".") else f".{e.lower()}" for e in extensions)

    def clips(self) -> Sequence[Clip]:
        if not self.root.is_dir():
            raise DataError("the folder", self.root, "does not exist", "give a folder with audio files as `root`")
        tree = list_tree(self.root, self.extensions)
        if not tree.paths:
            raise self._no_audio(tree)
        self._tell_losses(tree)
        root = "" if str(self.root) == "." else f"{self.root}/"
        clips = listed(Clip(root + path, clip_id(path, self.name), speaker=_top_folder(path)) for path in tree.paths)
        if not (self.texts and self.reads_text):
            return clips
        found = transcribed(clips, lambda path: text_beside(path, self.texts))
        if all(clip.text is None for clip in found):
            problem = f"has no text beside its clips: no {' or '.join(self.texts)}"
            raise DataError("the folder", self.root, problem, "correct `texts`, or leave it out")
        return found

    def _no_audio(self, tree: Tree) -> DataError:
        shown = ", ".join(self.extensions[:SHOWN_EXTENSIONS]) + " and so on" * (len(self.extensions) > SHOWN_EXTENSIONS)
        problem = f"holds no audio: no file below it ends in {shown}"
        if tree.others:
            problem = f"{problem}, but {_counted(tree.others)}"
        return DataError(
            "the folder", self.root, problem, _remedy(tree.passed_over) or "correct `root` or `extensions`"
        )

    @rank_zero_only
    def _tell_losses(self, tree: Tree) -> None:
        passed_over = tree.passed_over
        if passed_over:
            count, found, remedy = sum(passed_over.values()), _counted(passed_over), _remedy(passed_over)
            were = "file was" if count == 1 else "files were"
            logger.warning("%s: %d %s passed over: %s: %s", self.root, count, were, found, remedy)
        for paths, what in ((tree.dead, "links lead nowhere"), (tree.closed, "folders cannot be read")):
            if paths:
                logger.warning("%s: %d %s, such as %s", self.root, len(paths), what, printable(paths[0]))


def _counted(suffixes: Counter[str]) -> str:
    """Such as "2 .m4a, 1 .xyz": the most frequent endings first."""
    ordered = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {printable(suffix) or 'without extension'}" for suffix, count in ordered[:SHOWN_EXTENSIONS]]
    rest = sum(count for _, count in ordered[SHOWN_EXTENSIONS:])
    return ", ".join(shown) + (f" and {rest} others" if rest else "")


def _remedy(passed_over: Counter[str]) -> str:
    """What to do for media files that are passed over; empty where there are none."""
    if passed_over and set(passed_over) <= set(FFMPEG_EXTENSIONS) - set(AUDIO_EXTENSIONS):
        return "pip install av to read them"
    return "convert them to FLAC, or name their `extensions`" if passed_over else ""


def _top_folder(path: str) -> str | None:
    return printable(path.split("/")[0]) if "/" in path else None
