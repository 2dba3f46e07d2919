"""Speech data: sources of clips, random crops, whole clips, and the one data module over them."""

from data.audio.reading import AudioReadError
from data.datamodule import SpeechDataModule
from data.demo.corpus import DemoSource, make_demo_corpus
from data.errors import DataError
from data.shards.source import ShardSource
from data.sources.corpora import LibriSpeechSource, LibriTTSSource, VCTKSource
from data.sources.listed import AudioSource, Clip, FolderSource, ManifestSource

__all__ = [
    "AudioReadError",
    "AudioSource",
    "Clip",
    "DataError",
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
