"""LibriTTS, LibriSpeech and VCTK in the folders that torchaudio downloads them to."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from torchaudio.datasets import LIBRISPEECH, LIBRITTS, VCTK_092

from data.errors import DataError
from data.sources.base import AudioSource, Clip, joined
from data.sources.folder import FolderSource
from data.sources.lists.entry import read_lines
from data.sources.lists.transcripts import read_transcript, text_beside, transcribed


class _DownloadedSource(AudioSource):
    """The folders that `subsets` names, in `folder` below `root`; with `download`, fetched there when missing."""

    def __init__(self, root: str, folder: str, *, subsets: list[str], download: bool) -> None:
        self.root, self.folder = Path(root).expanduser(), folder
        self.subsets, self.download = subsets, download

    def fetch(self, subset: str) -> None:
        """Download and unpack one subset below `root`, unless it is there. May raise anything."""
        raise NotImplementedError

    def text_of(self, path: str) -> str | None:
        """What is said in the file at `path`; None where the corpus lacks it. Raises DataError."""
        raise NotImplementedError

    def prepare(self) -> None:
        if self.download:
            for subset in self.subsets:
                try:
                    self.root.mkdir(parents=True, exist_ok=True)
                    self.fetch(subset)
                except Exception as error:  # no network, a full disk, a wrong checksum, a name the library refuses
                    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
                    remedy = f"check the network, or put the corpus into {self.root / self.folder} yourself"
                    raise DataError("download of", subset, f"failed ({reason})", remedy) from error

    def clips(self) -> Sequence[Clip]:
        clips = self.recordings()
        return transcribed(clips, self.text_of) if self.reads_text else clips

    def recordings(self) -> Sequence[Clip]:
        """The clips without their texts."""
        found: list[Sequence[Clip]] = []
        for subset in self.subsets:
            folder = self.root / self.folder / subset
            if not folder.is_dir():
                remedy = "a stage that uses it downloads it first" if self.download else "set `download: true`"
                raise DataError("the folder", folder, "does not exist", f"{remedy}, or correct `root`")
            found.append(FolderSource(str(folder), (".wav", ".flac"), name=f"{self.folder}/{subset}").clips())
        return joined(found)


class LibriTTSSource(_DownloadedSource):
    """LibriTTS below `root`/LibriTTS (24 kHz), with its normalised texts.

    Args:
        root: folder that holds, or is to hold, the corpus.
        subsets: such as "train-clean-100" or "test-clean".
        download: fetch the subsets that are missing.

    Raises:
        DataError: a download fails in `prepare`; `clips` does not find the folder of a subset.
    """

    def __init__(self, root: str, subsets: list[str], *, download: bool = False) -> None:
        super().__init__(root, "LibriTTS", subsets=subsets, download=download)

    def fetch(self, subset: str) -> None:
        LIBRITTS(str(self.root), url=subset, download=True)

    def text_of(self, path: str) -> str | None:
        return text_beside(path, (".normalized.txt", ".original.txt"))


class LibriSpeechSource(_DownloadedSource):
    """LibriSpeech below `root`/LibriSpeech (16 kHz).

    Args:
        root: folder that holds, or is to hold, the corpus.
        subsets: such as "train-clean-100" or "test-clean".
        download: fetch the subsets that are missing.

    Raises:
        DataError: a download fails in `prepare`; `clips` does not find the folder of a subset.
    """

    def __init__(self, root: str, subsets: list[str], *, download: bool = False) -> None:
        super().__init__(root, "LibriSpeech", subsets=subsets, download=download)

    def fetch(self, subset: str) -> None:
        LIBRISPEECH(str(self.root), url=subset, download=True)

    def text_of(self, path: str) -> str | None:
        file = Path(path)
        speaker_chapter = file.stem.rpartition("-")[0]
        return _chapter(file.with_name(f"{speaker_chapter}.trans.txt")).get(file.stem)


class VCTKSource(_DownloadedSource):
    """VCTK 0.92 below `root`/VCTK-Corpus-0.92 (48 kHz), recordings of one of its two microphones.

    Args:
        root: folder that holds, or is to hold, the corpus.
        speakers: those to keep, such as "p225"; None keeps all.
        microphone: "mic1" or "mic2".
        download: fetch the corpus if it is missing.

    Raises:
        DataError: another microphone; a download fails in `prepare`; `clips` does not find the corpus, or a speaker
            in it.
    """

    def __init__(
        self,
        root: str,
        speakers: list[str] | None = None,
        *,
        microphone: str = "mic2",
        download: bool = False,
    ) -> None:
        if microphone not in ("mic1", "mic2"):
            raise DataError("microphone", microphone, "must be mic1 or mic2")
        super().__init__(root, "VCTK-Corpus-0.92", subsets=["wav48_silence_trimmed"], download=download)
        self.speakers, self.microphone = speakers, microphone

    def fetch(self, subset: str) -> None:
        VCTK_092(str(self.root), mic_id=self.microphone, download=True)

    def text_of(self, path: str) -> str | None:
        file = Path(path)
        name = file.stem.removesuffix(f"_{self.microphone}")
        return read_transcript(self.root / self.folder / "txt" / file.parent.name / f"{name}.txt")

    def recordings(self) -> Sequence[Clip]:
        clips = super().recordings()
        present = sorted({clip.speaker for clip in clips if clip.speaker})
        unknown = sorted(set(self.speakers or ()) - set(present))
        if unknown:
            raise DataError("VCTK in", self.root, f"has no speakers {unknown}", f"choose from {', '.join(present)}")
        return [
            clip
            for clip in clips
            if Path(clip.path).stem.endswith(self.microphone) and (not self.speakers or clip.speaker in self.speakers)
        ]


@lru_cache(16)  # chapters, which the threads of `transcribed` read at a time
def _chapter(file: Path) -> dict[str, str]:
    """{name: text} of a chapter's file, a line each; empty where there is none. Raises DataError."""
    lines = (line.strip().partition(" ") for line in read_lines(file)) if file.is_file() else ()
    return {name: text.strip() for name, _, text in lines if text.strip()}
