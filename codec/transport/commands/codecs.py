"""The codec of a command: by name or path, or found by a stream's fingerprint among the pretrained ones."""

import torch

from codec.checkpoints.reading import load_codec, pretrained
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.transport.fingerprint import fingerprint
from codec.transport.header import StreamHeader

OTHER_CODEC = "name the codec it was encoded with, or one that shares its quantizer and decoder"


def open_codec(name: str, device: str = "cpu") -> NeuralCodec:
    """The codec of a checkpoint or a pretrained name, on a device.

    Raises:
        InvalidValue: there is no such device.
        UnreadableFile: see `codec.load_codec`.
    """
    return _placed(load_codec(name), device)


def codec_of(header: StreamHeader, name: str | None, device: str = "cpu", *, check: bool = True) -> NeuralCodec:
    """The codec that decodes a stream.

    Args:
        header: the stream's.
        name: checkpoint or pretrained name; None looks for the fingerprint among the pretrained ones.
        device: where it computes.
        check: refuse a codec of another fingerprint.

    Raises:
        InvalidValue: the codec has another fingerprint or other codes, or no pretrained one has this.
        UnreadableFile: see `codec.load_codec`.
    """
    if name is None:
        codec = next((each for each in map(load_codec, pretrained()) if fingerprint(each) == header.fingerprint), None)
        if codec is None:
            what = f"a codec of fingerprint {header.fingerprint.hex()}"
            raise InvalidValue("The stream is of", what, "which no pretrained one has", "name yours with --codec")
    else:
        codec = load_codec(name)
        own = fingerprint(codec)
        if check and own != header.fingerprint:
            allowed = f"is not the stream's, whose fingerprint is {header.fingerprint.hex()} (this one's: {own.hex()})"
            raise InvalidValue("codec", name, allowed, OTHER_CODEC)
    check_facts(codec, header, name, any_output=not check)
    return _placed(codec, device)


def check_facts(codec: NeuralCodec, header: StreamHeader, name: str | None, *, any_output: bool = False) -> None:
    """Raise InvalidValue where codebooks or rates are not a stream's; with `any_output`, the output's may differ."""
    facts = [list(codec.quantizer.codebook_sizes), codec.sample_rate, codec.hop_length, codec.output_sample_rate]
    stated = [list(header.codebook_sizes), header.sample_rate, header.hop_length, header.output_sample_rate]
    if any_output:
        facts, stated = facts[:-1], stated[:-1]
    if facts != stated:
        allowed = f"has the codebook sizes, sample rate, hop and output rate {facts}, the stream states {stated}"
        raise InvalidValue("codec", name or "of the fingerprint", allowed, OTHER_CODEC)


def _placed(codec: NeuralCodec, device: str) -> NeuralCodec:
    if device.startswith("meta"):
        raise InvalidValue("device", device, "computes nothing", "take cpu")
    try:
        return codec.to(torch.device(device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidValue("device", device, "is not available here", "take cpu") from error
