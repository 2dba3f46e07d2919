"""`python -m codec info`: what a stream of codes is."""

import json

from codec.checkpoints.reading import load_codec, pretrained
from codec.transport.commands.jobs import reading
from codec.transport.fingerprint import fingerprint
from codec.transport.header import Layout
from codec.transport.parts import read_json
from codec.transport.reading import StreamReader


def info(source: str, *, as_json: bool = False) -> int:
    """Show a stream's header and what it holds.

    Args:
        source: Stream (.nsc), or - for standard input.
        as_json: Print one JSON object.
    """
    with reading(source) as file:
        counted = _Counted(file)
        reader = StreamReader(counted)  # type: ignore[arg-type]
        header, header_bytes = reader.header, counted.bytes
        for _ in reader:
            pass
    seconds = reader.frames / float(header.frame_rate) if reader.length is None else reader.length / header.sample_rate
    facts = {
        "fingerprint": header.fingerprint.hex(),
        "codecs": [name for name in pretrained() if fingerprint(load_codec(name)) == header.fingerprint],
        "sample_rate": header.sample_rate,
        "output_sample_rate": header.output_sample_rate,
        "hop_length": header.hop_length,
        "codebook_sizes": list(header.codebook_sizes),
        "bits_per_frame": header.frame_bits,
        "index_map": read_json(header.index_map) if header.index_map else "natural binary",
        "protection": read_json(header.protection) if header.protection else None,
        "layout": header.layout.name.lower(),
        "block_frames": header.block_frames or None,
        "crc": header.has_crc,
        "samples": reader.length,
        "frames": reader.frames,
        "missing_frames": reader.missing,
        "seconds": round(seconds, 3),
        "header_bytes": header_bytes,
        "bytes": counted.bytes,
        "codec_bit_rate": round(float(header.frame_rate) * header.frame_bits, 3),
        "bit_rate": round((counted.bytes - header_bytes) * 8 / seconds, 3) if seconds else None,
    }
    if header.layout is Layout.PACKETS:
        facts |= {name: value for name, value in vars(reader.arrivals).items()}
    if as_json:
        print(json.dumps(facts))
        return 0
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<20} {_shown(value)}")
    return 0


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none known here"
    if value is None:
        return "none"
    return json.dumps(value) if isinstance(value, dict) else str(value)


class _Counted:
    """A file that counts what is read of it."""

    def __init__(self, file: object) -> None:
        self.file, self.bytes = file, 0

    def read(self, count: int) -> bytes:
        data: bytes = self.file.read(count)  # type: ignore[attr-defined]
        self.bytes += len(data)
        return data
