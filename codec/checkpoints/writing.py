"""Codecs into files from Python: weights and the parts' construction, for `load_codec`."""

from pathlib import Path

from codec.checkpoints.reading import check_finite, codec_config
from codec.checkpoints.safetensors import write_safetensors
from codec.codec import NeuralCodec
from codec.errors import InvalidValue, UnreadableFile
from codec.layers.construction import construction


def save_codec(codec: NeuralCodec, path: str | Path) -> None:
    """Write a codec as a `.safetensors` file that `load_codec` opens; an older file of that name is replaced.

    Raises:
        InvalidValue: another suffix, or a part that a file cannot state (`codec.layers.construction`).
        UnreadableFile: a weight is not finite, or the file cannot be written.
    """
    if Path(path).suffix != ".safetensors":
        raise InvalidValue("path", path, "must end in .safetensors")
    config = codec_config({"codec_config": construction(codec)})
    assert config is not None
    weights = {f"codec.{name}": value.clone() for name, value in codec.state_dict().items()}
    check_finite(weights, path)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, weights, codec_config=config)
    except OSError as error:
        raise UnreadableFile(str(path), None, f"cannot be written ({error.strerror})", "give another path") from error
