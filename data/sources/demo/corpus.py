"""The demo corpus: synthetic speech for machines without data, spoken by espeak-ng in many voices.

It is made once, in a cache folder, with the same bytes for the same seed. Training, validation and test have different
voices (pairs of language and variant), different variants, and different sentences.
"""

import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data.audio.library import import_soundfile
from data.audio.reading import read_whole, within_full_scale
from data.errors import DataError
from data.sampling import seeded_generator
from data.sources.base import AudioSource, Clip
from data.sources.demo.espeak import Utterance, speak
from data.sources.demo.texts import HELD_OUT, TEXTS
from data.sources.manifest import ManifestSource

VERSION = 1  # raise it when the way of making the corpus changes
SAMPLE_RATE = 16000
SECONDS = (2.5, 6.0)
SPLITS = ("train", "val", "test")
VARIANTS = {
    "train": (
        "m1 f1 m2 f2 m3 f4 m5 linda m7 belinda Alex Alicia Andy "
        "Andrea Denis Mario shelby Lee Michael Reed Nguyen boris max quincy rob robert"
    ).split(),
    "val": "m4 f3 Mike travis".split(),
    "test": "m6 f5 m8 Annie victor aunty".split(),
}
VOICES = {"train": 78, "val": 6, "test": 12}
SENTENCES = {"train": {"en": 11, "other": 6}, "val": {"en": 2, "other": 2}, "test": {"en": 2, "other": 2}}


class Voice(NamedTuple):
    """A speaker: espeak-ng's language and variant, and the playback rate in Hz, which shifts pitch and formants."""

    language: str
    variant: str
    rate: int

    @property
    def name(self) -> str:
        return f"{self.language}+{self.variant}"


class DemoSource(AudioSource):
    """One split of the demo corpus, which is made where it does not exist yet, with the sentences that are spoken.

    A clip of the full length may end before its sentence, and has no text.

    Args:
        split: "train", "val" or "test".
        root: folder of the corpus; None for the user's cache folder.
        seed: of the voices, sentences and levels.

    Raises:
        DataError: another split; in `prepare` or `clips`, the corpus has to be made and the extra `demo` is missing.
    """

    def __init__(self, split: str, root: str | None = None, *, seed: int = 0) -> None:
        if split not in SPLITS:
            raise DataError("split", split, f"must be one of {', '.join(SPLITS)}")
        self.split, self.root, self.seed = split, root, seed

    def prepare(self) -> None:
        make_demo_corpus(self.root, self.seed)

    def clips(self) -> Sequence[Clip]:
        folder = make_demo_corpus(self.root, self.seed)
        source = ManifestSource(str(folder / "manifest.tsv"), self.split, name="demo")
        clips = source.clips() if self.reads_text else source.clips_without_text()
        return [clip._replace(text=None) if clip.seconds == SECONDS[1] else clip for clip in clips]


def make_demo_corpus(root: str | None = None, seed: int = 0, *, voices: int | None = None) -> Path:
    """Make the corpus unless it is there, and return its folder: FLAC files and manifest.tsv.

    The folder's name holds a fingerprint of texts, voices and seed. It gets this name once it is complete, also when
    several processes make it at once. `voices` limits the number of voices in each split, for tests.
    """
    counts = {split: min(count, voices or count) for split, count in VOICES.items()}
    recipe = [VERSION, seed, counts, SENTENCES, VARIANTS, TEXTS, HELD_OUT, SAMPLE_RATE, SECONDS]
    fingerprint = hashlib.blake2b(json.dumps(recipe).encode(), digest_size=6).hexdigest()
    base = Path(root).expanduser() if root else _cache_folder()
    folder = base / f"demo-{fingerprint}"
    if (folder / "manifest.tsv").is_file():
        return folder
    require_espeak()
    try:
        base.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".making-", dir=base))
    except OSError as error:
        remedy = "give a folder as root of data.DemoSource, or one for all caches as XDG_CACHE_HOME"
        raise DataError("The demo corpus", None, f"cannot be made in {base} ({error.strerror})", remedy) from None
    try:
        _make(draft, seed, counts)
        draft.chmod(0o755)
        try:
            draft.rename(folder)
        except OSError:  # another process has made the same corpus in the meantime
            if not (folder / "manifest.tsv").is_file():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def require_espeak() -> None:
    """Raise DataError unless the wheel of espeak-ng is installed."""
    if find_spec("espeakng_loader") is None:
        raise DataError("espeak-ng", None, "speaks the demo corpus and is not installed", "pip install '.[demo]'")


def _cache_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "neural-speech-codec" / "demo"


def _make(folder: Path, seed: int, counts: dict[str, int]) -> None:
    """Synthesise all voices, a few at a time, and write the manifest."""
    jobs = [(split, voice) for split in SPLITS for voice in _voices(split, counts[split], seed)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        rows = list(pool.map(lambda job: _speak_voice(folder, job[0], job[1], seed), jobs))
    with open(folder / "manifest.tsv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("path", "duration", "speaker", "split", "language", "text"))
        writer.writerows(chain(*rows))


def _voices(split: str, count: int, seed: int) -> list[Voice]:
    """The voices of a split: half of them English, the others in turn; no pair of language and variant twice."""
    english = [language for language in TEXTS if language.startswith("en")]
    others = [language for language in TEXTS if not language.startswith("en")]
    variants = VARIANTS[split]
    rates = torch.randint(50, 61, (count,), generator=seeded_generator("voices", split, seed)).tolist()
    voices: list[Voice] = []
    for number in range(count):
        languages = others if number % 2 else english
        language = languages[number // 2 % len(languages)]
        taken = {voice.variant for voice in voices if voice.language == language}
        free = [variant for variant in variants[number % len(variants) :] + variants if variant not in taken]
        voices.append(Voice(language, free[0], 400 * rates[number]))  # 20 to 24 kHz around espeak-ng's 22.05
    return voices


def _sentences(split: str, language: str, generator: torch.Generator) -> list[str]:
    """The sentences of a voice, drawn without repetition from those of its split."""
    kind = "en" if language.startswith("en") else "other"
    texts, held_out = TEXTS[language], HELD_OUT[kind]
    if split == "train":
        texts = texts[:-held_out]
    else:
        texts = texts[-held_out:][: held_out // 2] if split == "val" else texts[-held_out:][held_out // 2 :]
    order = torch.randperm(len(texts), generator=generator).tolist()
    return [texts[i] for i in order[: SENTENCES[split][kind]]]


def _speak_voice(folder: Path, split: str, voice: Voice, seed: int) -> list[tuple[str, ...]]:
    """Make all clips of one voice, and return their manifest rows."""
    generator = seeded_generator("demo", seed, split, voice.name)
    texts = _sentences(split, voice.language, generator)
    (folder / split).mkdir(exist_ok=True)
    pitch = 35 + 30 * torch.rand(1, generator=generator).item()
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as raw:
        utterances = []
        for number, text in enumerate(texts):
            uniform = torch.rand(3, generator=generator).tolist()
            rate, spread = round(120 + 45 * uniform[0]), round(35 + 40 * uniform[2])
            utterances.append(Utterance(f"{raw}/{number}.wav", text, rate, round(pitch - 6 + 12 * uniform[1]), spread))
        speak(voice.name, utterances)
        for number, utterance in enumerate(utterances):
            wave = _finish(utterance.path, voice.rate, generator)
            path = f"{split}/{voice.name.replace('+', '_')}_{number:02d}.flac"
            import_soundfile().write(folder / path, wave.numpy(), SAMPLE_RATE, subtype="PCM_16")
            rows.append((path, f"{len(wave) / SAMPLE_RATE:.4f}", voice.name, split, voice.language, utterance.text))
    return rows


def _finish(path: str, rate: int, generator: torch.Generator) -> torch.Tensor:
    """[T] at 16 kHz: the sentence without the silence around it, at a random level, with a faint noise floor."""
    library = import_soundfile()
    samples, _ = library.read(path, dtype="float32")
    library.write(path, samples, rate, subtype="PCM_16")  # the same samples, faster or slower
    wave = read_whole(path, (SAMPLE_RATE,))[0][0]
    loud = np.flatnonzero(wave.abs().numpy() > 0.01 * wave.abs().max().item())
    margin = SAMPLE_RATE // 10
    wave = wave[max(0, loud[0] - margin) : loud[-1] + margin][: int(SECONDS[1] * SAMPLE_RATE)]
    level_db, floor_db = (
        torch.rand(2, generator=generator) * torch.tensor([12.0, 15.0]) - torch.tensor([30.0, 80.0])
    ).tolist()
    wave = wave * 10 ** (level_db / 20) / wave.square().mean().sqrt()
    wave = wave + 10 ** (floor_db / 20) * torch.randn(len(wave), generator=generator)
    short = int(SECONDS[0] * SAMPLE_RATE) - len(wave)
    if short > 0:
        wave = torch.cat((wave, 10 ** (floor_db / 20) * torch.randn(short, generator=generator)))
    return within_full_scale((wave / 0.95,))[0] * 0.95
