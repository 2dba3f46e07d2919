"""LibriTTS, LibriSpeech and VCTK as torchaudio downloads them; their files are listed from the disk."""

from pathlib import Path

from torchaudio.datasets import LIBRISPEECH, LIBRITTS, VCTK_092

from data.sources.listed import AudioSource, Clip, FolderSource


class _DownloadedSource(AudioSource):
    """A corpus in `folder` below `root`, the parts of it that `subsets` name."""

    def __init__(self, root: str, folder: str, *, subsets: list[str], download: bool) -> None:
        self.root, self.folder, self.subsets, self.download = (
            Path(root).expanduser(),
            folder,
            subsets,
            download,
        )

    def fetch(self, subset: str) -> None:
        """Download and unpack one subset below `root`, unless it is there."""
        raise NotImplementedError

    def prepare(self) -> None:
        if self.download:
            self.root.mkdir(parents=True, exist_ok=True)
            for subset in self.subsets:
                self.fetch(subset)

    def clips(self) -> list[Clip]:
        found = []
        for subset in self.subsets:
            folder = self.root / self.folder / subset
            if not folder.is_dir():
                raise ValueError(f"the folder {folder} does not exist; set `download: true`, or correct `root`")
            found += FolderSource(str(folder), (".wav", ".flac"), name=f"{self.folder}/{subset}").clips()
        return found


class LibriTTSSource(_DownloadedSource):
    """LibriTTS below `root`/LibriTTS (24 kHz); subsets such as "train-clean-100", "test-clean"."""

    def __init__(self, root: str, subsets: list[str], *, download: bool = False) -> None:
        super().__init__(root, "LibriTTS", subsets=subsets, download=download)

    def fetch(self, subset: str) -> None:
        LIBRITTS(str(self.root), url=subset, download=True)


class LibriSpeechSource(_DownloadedSource):
    """LibriSpeech below `root`/LibriSpeech (16 kHz); subsets such as "train-clean-100", "test-clean"."""

    def __init__(self, root: str, subsets: list[str], *, download: bool = False) -> None:
        super().__init__(root, "LibriSpeech", subsets=subsets, download=download)

    def fetch(self, subset: str) -> None:
        LIBRISPEECH(str(self.root), url=subset, download=True)


class VCTKSource(_DownloadedSource):
    """VCTK 0.92 below `root`/VCTK-Corpus-0.92 (48 kHz): one microphone, all speakers or only `speakers`."""

    def __init__(
        self,
        root: str,
        speakers: list[str] | None = None,
        *,
        microphone: str = "mic2",
        download: bool = False,
    ) -> None:
        if microphone not in ("mic1", "mic2"):
            raise ValueError(f"microphone must be mic1 or mic2, got {microphone!r}")
        super().__init__(root, "VCTK-Corpus-0.92", subsets=["wav48_silence_trimmed"], download=download)
        self.speakers, self.microphone = speakers, microphone

    def fetch(self, subset: str) -> None:
        VCTK_092(str(self.root), mic_id=self.microphone, download=True)

    def clips(self) -> list[Clip]:
        everyone = super().clips()
        there = {clip.speaker for clip in everyone}
        unknown = sorted(set(self.speakers or ()) - {speaker for speaker in there if speaker})
        if unknown:
            raise ValueError(f"VCTK in {self.root} has no speakers {unknown}; it has {sorted(filter(None, there))}")
        return [
            clip
            for clip in everyone
            if Path(clip.path).stem.endswith(self.microphone) and (not self.speakers or clip.speaker in self.speakers)
        ]
