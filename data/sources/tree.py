"""The files below a folder: through links without loops, past hidden folders, and what is passed over."""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

NOT_CORPORA = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
# Endings of files that hold sound, whether or not it can be read here; a corpus has them by mistake or by habit.
MEDIA_SUFFIXES = frozenset(
    ".3g2 .3ga .3gp .8svx .aac .ac3 .adts .aif .aifc .aiff .alac .amr .ape .asf .au .avi .avr .awb .bwf .caf .dff .dsf"
    " .dts .eac3 .flac .flv .gsm .ircam .m2ts .m4a .m4b .m4r .m4v .mka .mkv .mov .mp1 .mp2 .mp3 .mp4 .mpa .mpc .mpeg"
    " .mpc2k .mpg .mpga .nist .oga .ogg .ogv .ogx .oma .opus .paf .pcm .pvf .qcp .ra .rf64 .rm .shn .sln .snd .spc .sph"
    " .spx .svx .tak .tta .ulaw .voc .vox .vqf .w64 .wav .wave .weba .webm .wma .wmv .wv .wve .xwma".split()
)


class Tree(NamedTuple):
    """What is below a folder.

    Attributes:
        paths: of the files with the wanted endings, relative and sorted.
        others: how many files have each of the other endings, in lower case.
        dead: links that lead nowhere, relative and sorted.
        closed: folders that cannot be read, relative and sorted.
    """

    paths: list[str]
    others: Counter[str]
    dead: list[str]
    closed: list[str]

    @property
    def passed_over(self) -> Counter[str]:
        """The endings in `others` of files that hold sound by their names."""
        return Counter({suffix: count for suffix, count in self.others.items() if suffix in MEDIA_SUFFIXES})


def list_tree(root: Path, suffixes: Iterable[str]) -> Tree:
    """List the files below `root` whose names end in one of `suffixes`, in lower case.

    Hidden files and folders, and folders that programs leave behind, are left out. Links to folders are followed, but
    each folder is listed once: under its own path where that is below `root`, else under the first link that leads to
    it, by name. A link to a file is a file of its own. A link to a folder that it is in leads round in a circle and is
    not followed.
    """
    wanted, others = frozenset(suffixes), Counter[str]()
    found: list[str] = []
    dead: list[str] = []
    closed: list[str] = []
    seen: set[tuple[int, int]] = set()
    waiting = deque([""])  # folders to list, relative to the root: first the root, then links
    while waiting:
        links: list[str] = []
        for entry, inside in _walk(str(root), waiting.popleft(), seen=seen, closed=closed):
            if entry.is_symlink() and not os.path.exists(entry.path) and _suffix(entry.name) not in wanted:
                dead.append(inside)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                links.append(inside)
            elif (suffix := _suffix(entry.name)) in wanted:
                found.append(inside)
            else:
                others[suffix] += 1
        waiting.extend(sorted(links))
    return Tree(sorted(found), others, sorted(dead), sorted(closed))


def _walk(
    root: str, top: str, *, seen: set[tuple[int, int]], closed: list[str]
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """(entry, path below `root`) of all files and links below the folder `top` there, but not of folders `seen`.

    Adds the folders to `seen`, and those that cannot be read to `closed`.
    """
    if top and _is_circle(root, top):
        return
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            status = os.stat(os.path.join(root, folder))
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(os.path.join(root, folder)) as entries:
                listed = list(entries)
        except OSError:
            closed.append(folder or ".")
            continue
        for entry in listed:
            if entry.name.startswith(".") or entry.name in NOT_CORPORA:
                continue
            inside = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(inside)
            else:
                yield entry, inside


def _is_circle(root: str, link: str) -> bool:
    """Whether a link leads to a folder that it is in itself."""
    target = os.path.realpath(os.path.join(root, link))
    place = os.path.realpath(os.path.dirname(os.path.join(root, link)))
    return os.path.commonpath([target, place]) == target


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
