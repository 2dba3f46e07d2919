"""The codec of a command: by name or path, or found by a stream's fingerprint among the pretrained ones."""

import torch

from codec.checkpoints.reading import load_codec, pretrained
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.transport.fingerprint import fingerprint
from codec.transport.header import StreamHeader


def open_codec(name: str, device: str = "cpu") -> NeuralCodec:
    """The codec of a checkpoint or a pretrained name, on a device.

    Raises:
        InvalidValue: there is no such device.
        UnreadableFile: see `codec.load_codec`.
    """
    codec = load_codec(name)
    try:
        return codec.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise InvalidValue("device", device, "is not available here", "take cpu") from error


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
        for candidate in pretrained():
            codec = load_codec(candidate)
            if fingerprint(codec) == header.fingerprint:
                return open_codec(candidate, device)
        what = f"a codec of fingerprint {header.fingerprint.hex()}"
        raise InvalidValue("The stream is of", what, "which no pretrained one has", "name yours with --codec")
    codec = open_codec(name, device)
    own = fingerprint(codec)
    facts = (tuple(codec.quantizer.codebook_sizes), codec.sample_rate, codec.hop_length, codec.output_sample_rate)
    stated = (header.codebook_sizes, header.sample_rate, header.hop_length, header.output_sample_rate)
    if facts[:3] != stated[:3] or (check and own != header.fingerprint):
        allowed = f"is not the stream's, whose fingerprint is {header.fingerprint.hex()} (this one's: {own.hex()})"
        remedy = "name the codec it was encoded with, or one that shares its quantizer and decoder"
        raise InvalidValue("codec", name, allowed, remedy)
    return codec
