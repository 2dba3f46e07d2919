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
    if device.startswith("meta"):
        raise InvalidValue("device", device, "computes nothing", "take cpu")
    try:
        return codec.to(torch.device(device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
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
                check_codec(codec, header, candidate)
                return open_codec(candidate, device)
        what = f"a codec of fingerprint {header.fingerprint.hex()}"
        raise InvalidValue("The stream is of", what, "which no pretrained one has", "name yours with --codec")
    codec = open_codec(name, device)
    check_codec(codec, header, name, by_fingerprint=check)
    return codec


def check_codec(codec: NeuralCodec, header: StreamHeader, name: str, *, by_fingerprint: bool = True) -> None:
    """Raise InvalidValue where a codec is not the one of a stream."""
    own = fingerprint(codec)
    facts = (list(codec.quantizer.codebook_sizes), codec.sample_rate, codec.hop_length, codec.output_sample_rate)
    stated = (list(header.codebook_sizes), header.sample_rate, header.hop_length, header.output_sample_rate)
    remedy = "name the codec it was encoded with, or one that shares its quantizer and decoder"
    if by_fingerprint and own != header.fingerprint:
        allowed = f"is not the stream's, whose fingerprint is {header.fingerprint.hex()} (this one's: {own.hex()})"
        raise InvalidValue("codec", name, allowed, remedy)
    same = 3 if not by_fingerprint else 4  # another decoder may have another rate
    if facts[:same] != stated[:same]:
        names = "codebook sizes, sample rate, hop and output rate"
        allowed = f"has the {names} {facts}, the stream states {stated}"
        raise InvalidValue("codec", name, allowed, remedy)
