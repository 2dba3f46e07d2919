"""What of a link ships with the pretrained codecs: priors, sensitivities and predictors, found by the codec's name."""

from pathlib import Path

PRETRAINED = Path(__file__).parents[1] / "checkpoints" / "pretrained"


def file_or_pretrained(file: str | Path, suffix: str) -> Path:
    """The path of a file; that of a pretrained codec where there is none and the codec of this name has one."""
    path, shipped = Path(file), PRETRAINED / f"{file}{suffix}"
    return shipped if not path.is_file() and shipped.is_file() else path


def pretrained_names(suffix: str) -> str:
    """The names of the pretrained codecs that have such a file, for a sentence."""
    return ", ".join(sorted(found.name.removesuffix(suffix) for found in PRETRAINED.glob(f"*{suffix}")))
