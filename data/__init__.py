"""Speech data: sources of clips, random crops, whole clips, and the data module that makes batches of them."""

from data.datamodule import SpeechDataModule
from data.datasets import Augmentation
from data.errors import AudioReadError, DataError
from data.shards.features import FeatureShards
from data.shards.source import ShardSource
from data.sources.base import AudioSource, Clip
from data.sources.corpora import LibriSpeechSource, LibriTTSSource, VCTKSource
from data.sources.demo.corpus import DemoSource, make_demo_corpus
from data.sources.folder import FolderSource
from data.sources.huggingface import HuggingFaceSource
from data.sources.manifest import ManifestSource

__all__ = [
    "AudioReadError",
    "AudioSource",
    "Augmentation",
    "Clip",
    "DataError",
    "DemoSource",
    "FeatureShards",
    "FolderSource",
    "HuggingFaceSource",
    "LibriSpeechSource",
    "LibriTTSSource",
    "ManifestSource",
    "ShardSource",
    "SpeechDataModule",
    "VCTKSource",
    "make_demo_corpus",
]
