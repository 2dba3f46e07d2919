"""`python -m codec decode`: a stream of codes to audio."""

from pathlib import Path

from codec.channels.link import Link
from codec.channels.receiving.concealment import RepeatLast
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.transport.blocks import connect
from codec.transport.commands.codecs import check_facts, codec_of
from codec.transport.commands.encode import SUFFIX
from codec.transport.commands.jobs import Job, list_jobs, progress, reading, run_jobs, writing
from codec.transport.reading import StreamReader
from codec.transport.receiving import StreamDecoder
from codec.transport.reordering import WINDOW
from codec.transport.sound import WRITABLE, SoundWriter


def decode(
    source: str,
    target: str,
    *,
    codec: str | None = None,
    link: Link | None = None,
    ber: float = 0.0,
    window: int = WINDOW,
    any_codec: bool = False,
    format: str = "wav",
    raw: bool = False,
    device: str = "cpu",
) -> int:
    """Decode a stream of codes (.nsc) into audio; what was lost is concealed.

    Args:
        source: Stream, folder of streams, or - for standard input.
        target: File ending in .wav, .flac or .ogg, folder, or - for WAV on standard output.
        codec: A pretrained codec's name or a run's checkpoint; by default the pretrained one that the stream names.
        link: Concealment (codec.RepeatLast by default) and prior; index map and error correction are the stream's.
        ber: Share of bits known to be wrong, for error correction with hard decisions.
        window: Packets that may overtake another.
        any_codec: Take a codec of another fingerprint, such as a fine-tuned decoder of the same codes.
        format: Of files written into a folder (wav, flac or ogg).
        raw: Write 16-bit samples without a header to standard output.
        device: Where the codec computes, such as cuda.
    """
    if f".{format}" not in WRITABLE:
        raise InvalidValue("format", format, "must be wav, flac or ogg")
    if raw and target != "-":
        raise InvalidValue("raw", None, "is for standard output", "give - as OUT")
    if not 0 <= ber < 0.5:
        raise InvalidValue("ber", ber, "must be from 0 to below 0.5", "take 0.05")
    if window < 0:
        raise InvalidValue("window", window, "must be 0 packets or more", "take 16")
    receiver = link or Link(concealment=RepeatLast())
    models: dict[bytes, NeuralCodec] = {}

    def work(job: Job) -> str:
        with reading(job.source) as file:
            reader = StreamReader(file, error_rate=ber, window=window)
            header = reader.header
            if header.fingerprint not in models:
                models[header.fingerprint] = codec_of(header, codec, device, check=not any_codec)
            check_facts(models[header.fingerprint], header, codec, any_output=any_codec)
            return _decode_one(reader, job.target, models[header.fingerprint], receiver, raw=raw)

    return run_jobs(list_jobs(source, target, (SUFFIX,), f".{format}"), work)


def _decode_one(reader: StreamReader, target: str, codec: NeuralCodec, receiver: Link, *, raw: bool) -> str:
    decoder = StreamDecoder(codec, connect(reader.header, codec.quantizer, receiver), length=reader.length)
    seconds = None if reader.length is None else reader.length / codec.sample_rate
    suffix = "" if target == "-" else Path(target).suffix.lower()
    with writing(target) as place, progress(seconds, what="decoding") as bar:
        writer = SoundWriter(place, codec.output_sample_rate, suffix=suffix, raw=raw)
        try:
            for payload in reader.payload():
                for audio in decoder.push(payload):
                    writer.write(audio)
                bar.update(len(payload) / codec.frame_rate)
            decoder.length = reader.length
            for audio in decoder.finish():
                writer.write(audio)
        finally:
            writer.close()
    return f"{target}: {writer.samples / codec.output_sample_rate:.2f} s, {receptions(reader, decoder, writer)}"


def receptions(reader: StreamReader, decoder: StreamDecoder, writer: SoundWriter) -> str:
    """What was received, lost and concealed, in words."""
    share = f" ({decoder.concealed / decoder.frames:.1%})" if decoder.concealed else ""
    told = [f"{decoder.frames} frames, {decoder.concealed} concealed{share}"]
    counts = reader.arrivals
    names = ("packets", "late", "foreign", "damaged", "skipped_bytes")
    told += [f"{getattr(counts, name)} {name.replace('_', ' ')}" for name in names if getattr(counts, name)]
    if reader.missing:
        told.append(f"cut off: {reader.missing} frames are missing at the end")
    if writer.clipped:
        told.append(f"{writer.clipped} samples clipped")
    return ", ".join(told)
