"""The fingerprint of a codec's receiving side, by which a stream refuses another codec."""

import hashlib
import struct

import numpy as np

from codec.codec import NeuralCodec


def fingerprint(codec: NeuralCodec) -> bytes:
    """16 bytes: the start of a SHA-256 over quantizer, decoder and conditioning.

    Codecs that share them, such as a student and its teacher, have the same one, as each decodes what the other
    encodes. Hashed are rates, hops and codebook sizes, then name, shape and values of each tensor in the order of their
    names; floating-point values rounded to float16, so that a run's checkpoint and its packed file agree.
    """
    sizes = codec.quantizer.codebook_sizes
    digest = hashlib.sha256(
        struct.pack(">4I", codec.sample_rate, codec.output_sample_rate, codec.hop_length, len(sizes))
        + struct.pack(f">{len(sizes)}I", *sizes)
    )
    for part in ("quantizer", "decoder", "conditioning"):
        module = getattr(codec, part)
        for name, value in sorted(module.state_dict().items() if module is not None else ()):
            value = value.detach().cpu()
            array = value.half().numpy().astype("<f2") if value.is_floating_point() else value.numpy().astype("<i8")
            array = np.where(array == 0, 0, array).astype(array.dtype)  # one zero
            digest.update(f"{part}.{name}{list(value.shape)}".encode() + array.tobytes())
    return digest.digest()[:16]
