"""Speech data: sources of clips, random crops, whole clips, and the one data module over them."""

from data.audio_io import AudioReadError
from data.corpora import LibriSpeechSource, LibriTTSSource, VCTKSource
from data.datamodule import SpeechDataModule
from data.demo import DemoSource, make_demo_corpus
from data.shards import ShardSource
from data.sources import AudioSource, Clip, FolderSource, ManifestSource

__all__ = [
    "AudioReadError",
    "AudioSource",
    "Clip",
    "DemoSource",
    "FolderSource",
    "LibriSpeechSource",
    "LibriTTSSource",
    "ManifestSource",
    "ShardSource",
    "SpeechDataModule",
    "VCTKSource",
    "make_demo_corpus",
]
