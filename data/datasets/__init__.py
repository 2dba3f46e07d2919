"""Map-style data sets: training crops, numbered by their draw and augmented, and whole clips for evaluation."""

from data.datasets.checks import clip_seconds, readable_clips
from data.datasets.crops import (
    NO_AUGMENTATION,
    AudioFormat,
    Augmentation,
    ClipDataset,
    CropDataset,
    ListedClips,
    noise_scale,
)
from data.datasets.evaluation import clip_sampler, evaluation_dataset
from data.datasets.listing import listed_clips
from data.datasets.pieces import PieceDataset, PieceSampler

__all__ = [
    "NO_AUGMENTATION",
    "AudioFormat",
    "Augmentation",
    "ClipDataset",
    "CropDataset",
    "ListedClips",
    "PieceDataset",
    "PieceSampler",
    "clip_sampler",
    "clip_seconds",
    "evaluation_dataset",
    "listed_clips",
    "noise_scale",
    "readable_clips",
]
