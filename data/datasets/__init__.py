"""Map-style data sets: training crops, numbered by their draw and augmented, and whole clips for evaluation."""

from data.datasets.crops import (
    NO_AUGMENTATION,
    AudioFormat,
    Augmentation,
    ClipDataset,
    CropDataset,
    ListedClips,
    clip_seconds,
    noise_scale,
    readable_clips,
)

__all__ = [
    "NO_AUGMENTATION",
    "AudioFormat",
    "Augmentation",
    "ClipDataset",
    "CropDataset",
    "ListedClips",
    "clip_seconds",
    "noise_scale",
    "readable_clips",
]
