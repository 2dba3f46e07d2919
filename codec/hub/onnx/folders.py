"""The folder of an exported codec, and `codec.json`, which says what its files are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codec.codec import NeuralCodec
from codec.errors import InvalidValue

DESCRIPTION = "codec.json"
FORMAT_VERSION = 1


def new_folder(out: str | Path) -> Path:
    """Make a folder, or take an empty one; anything else is an InvalidValue."""
    folder = Path(out)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InvalidValue("out", out, "is not an empty folder", "give a new one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidValue("folder", out, f"cannot be made ({error.strerror})", "give another folder") from error
    return folder


def write_description(codec: NeuralCodec, folder: Path, files: Mapping[str, Path], further: Mapping[str, Any]) -> Path:
    """Write what a program needs to know of the codec, and the names of its files; `further` is about the files."""
    content = {
        "version": FORMAT_VERSION,
        "sample_rate": codec.sample_rate,
        "output_sample_rate": codec.output_sample_rate,
        "hop_length": codec.hop_length,
        "output_hop_length": codec.decoder.hop_length,
        "frame_rate": codec.frame_rate,
        "latent_width": codec.quantizer.dim,
        "codebook_sizes": list(codec.quantizer.codebook_sizes),
        "bits_per_frame": codec.bits_per_frame,
        "bit_rate": codec.bit_rate,
        "parts": {
            "encoder": type(codec.encoder).__name__,
            "quantizer": type(codec.quantizer).__name__,
            "decoder": type(codec.decoder).__name__,
        },
        **further,
        "files": {name: path.name for name, path in files.items()},
    }
    path = folder / DESCRIPTION
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path
