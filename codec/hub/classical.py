"""Classical speech codecs as references behind the same channels: Opus (RFC 6716) and Codec 2 (Rowe 2011)."""

import math
from abc import abstractmethod
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torchaudio
from torch import Tensor

from codec.errors import InvalidValue, MissingDependency
from codec.hub.codec2_process import decode_clip
from codec.hub.external import ExternalCodec

OPUS_RATE = 48_000  # Hz, at which Opus is decoded
OPUS_DELAY = 312  # samples at 48 kHz by which the output lags, 6.5 ms: the encoder's look-ahead (its pre-skip)
OPUS_RATES = (500, 256_000)  # bit/s of one channel that its encoder takes
OPUS_FRAMES_MS = (10, 20, 40, 60)
CODEC2_MODES = {
    "3200": (64, 160, 160),  # bits of a frame; its samples at 8 kHz; delay in samples, measured on speech
    "2400": (48, 160, 160),
    "1600": (64, 320, 160),
    "1400": (56, 320, 160),
    "1300": (52, 320, 160),
    "1200": (48, 320, 160),
    "700C": (28, 320, 240),
}


class PacketCodec(ExternalCodec):
    """A codec whose frames are packets of a fixed number of bits, and whose decoder keeps a state over a clip.

    A frame's codes are the packet's bytes, the last of fewer bits where they are not whole. A flipped bit of the
    channel is a flipped bit of the payload; a lost bit makes a lost packet. Each reception is decoded by a decoder of
    its own. Index maps other than the natural one would only rename bytes. The delay of encoder and decoder is taken
    out, so that the audio is aligned with the input; as no frame is added for it, the end of the clip, as long as the
    delay, is what the decoder makes of one more lost packet.

    Attributes:
        packet_bits: of a frame.
    """

    def __init__(self, packet_bits: int, *, sample_rate: int, hop_length: int) -> None:
        self.packet_bits = packet_bits
        sizes = [256] * (packet_bits // 8) + [2 ** (packet_bits % 8)] * (packet_bits % 8 > 0)
        super().__init__(sample_rate=sample_rate, hop_length=hop_length, codebook_sizes=sizes)

    @abstractmethod
    def packets(self, audio: np.ndarray) -> list[bytes]:
        """A packet for each frame of float32 audio `[F * hop_length]` in [−1, 1]."""

    @abstractmethod
    def decoded(self, packets: list[bytes | None]) -> np.ndarray:
        """Float32 audio `[F * hop_length]` of packets, None where one was lost, aligned with the encoder's input."""

    def audio_to_codes(self, audio: Tensor) -> Tensor:
        clips = [self.packets(clip) for clip in audio[:, 0].clamp(-1, 1).cpu().numpy()]
        found = torch.tensor([[list(packet) for packet in clip] for clip in clips])  # [B, F, K]
        found[..., -1] >>= -self.packet_bits % 8  # unused bits are the lowest of the last byte
        return found.transpose(1, 2).to(audio.device)

    def codes_to_audio(self, codes: Tensor) -> Tensor:
        return self.received_to_audio(codes, torch.zeros_like(codes, dtype=torch.bool))

    def received_to_audio(self, codes: Tensor, erased: Tensor) -> Tensor:
        frames = codes[0].T.cpu().clone()  # [F, K]
        frames[:, -1] <<= -self.packet_bits % 8
        lost = erased[0].any(0).tolist()
        packets = [None if gone else bytes(frame) for frame, gone in zip(frames.tolist(), lost, strict=True)]
        return torch.from_numpy(self.decoded(packets))[None, None].to(codes.device)


class OpusCodec(PacketCodec):
    """Opus at a constant bit rate: speech at 16 kHz, application VOIP, audio bandwidth as the encoder chooses.

    At 6 kbit/s that is SILK in narrow band, up to 4 kHz: against a reference at 16 kHz it is marked down for the
    missing band as well. A lost packet is concealed by Opus. So is one that flipped bits have made invalid, or one of
    another duration: a receiver knows what the sender was set to. Other damage goes into the decoder as it is. There is
    neither in-band error correction nor discontinuous transmission, and no header but Opus's own first byte and, where
    a packet is filled up to the constant rate, a second one and padding: all count in the rate and are as exposed as
    the rest.

    Runs libopus (BSD) through PyAV (BSD), whose wheel brings it with FFmpeg (LGPL-3) and libraries under the GPL:
    `pip install '.[classic]'`.

    Args:
        bit_rate: in bit/s; a packet must be whole bytes.
        frame_ms: duration of a packet: 10, 20, 40 or 60.

    Raises:
        InvalidValue: no whole bytes, not 2 to 1275 of them, not 0.5 to 256 kbit/s, or another duration.
        MissingDependency: PyAV is not installed.
    """

    def __init__(self, bit_rate: int = 6000, *, frame_ms: int = 20) -> None:
        if frame_ms not in OPUS_FRAMES_MS:
            raise InvalidValue("frame_ms", frame_ms, f"must be one of {list(OPUS_FRAMES_MS)}")
        size, rest = divmod(bit_rate * frame_ms, 8000)
        if rest or not 2 <= size <= 1275 or not OPUS_RATES[0] <= bit_rate <= OPUS_RATES[1]:
            step = 8000 // math.gcd(8000, frame_ms)
            least = max(OPUS_RATES[0], 2 * 8000 // frame_ms)
            most = min(OPUS_RATES[1], 1275 * 8000 // frame_ms)
            allowed = f"must be {least} to {most} and give packets of 2 to 1275 whole bytes"
            raise InvalidValue("bit_rate", bit_rate, allowed, f"take a multiple of {step}, such as 6000")
        _av()
        super().__init__(bit_rate * frame_ms // 1000, sample_rate=16_000, hop_length=16 * frame_ms)
        self.opus_rate, self.frame_ms = bit_rate, frame_ms

    def packets(self, audio: np.ndarray) -> list[bytes]:
        av = _av()
        encoder = av.CodecContext.create("libopus", "w")
        encoder.sample_rate, encoder.layout, encoder.format = self.sample_rate, "mono", "flt"
        encoder.bit_rate = self.opus_rate
        encoder.options = {"application": "voip", "vbr": "off", "frame_duration": str(self.frame_ms)}
        found: list[bytes] = []
        for start in range(0, len(audio), self.hop_length):
            samples = np.ascontiguousarray(audio[None, start : start + self.hop_length])
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
            frame.sample_rate, frame.pts = self.sample_rate, start
            found += [bytes(packet) for packet in encoder.encode(frame)]
        found += [bytes(packet) for packet in encoder.encode(None)]
        found = found[: len(audio) // self.hop_length]
        other = {len(packet) for packet in found} - {self.packet_bits // 8}
        if other:
            allowed = f"gave packets of {sorted(other)} bytes for {self.packet_bits // 8}"
            raise InvalidValue(f"Opus at {self.opus_rate} bit/s", None, allowed, "take another bit rate")
        return found

    def decoded(self, packets: list[bytes | None]) -> np.ndarray:
        decoder = _av().CodecContext.create("libopus", "r")
        decoder.sample_rate, decoder.layout = OPUS_RATE, "mono"
        samples = OPUS_RATE * self.frame_ms // 1000
        parts = [self._frame(decoder, packet, samples) for packet in [*packets, None]]
        aligned = np.concatenate(parts)[OPUS_DELAY:][: samples * len(packets)]
        audio = torch.from_numpy(aligned.astype(np.float32) / 2**15)
        return torchaudio.functional.resample(audio, OPUS_RATE, self.sample_rate).numpy()

    def _frame(self, decoder: Any, packet: bytes | None, samples: int) -> np.ndarray:
        """Int16 samples `[samples]` of one packet; of the concealment for one that is lost or cannot be decoded."""
        if packet is not None and opus_samples(packet) == samples:
            try:
                return _samples(decoder, packet)
            except _av().error.FFmpegError:
                pass  # invalid inside, which leaves the decoder as it was: lost
        # A packet without a payload makes the decoder conceal, as `opus_decode` does without a packet.
        return _samples(decoder, bytes([OPUS_FRAMES_MS.index(self.frame_ms) << 3]))


class Codec2(PacketCodec):
    """Codec 2, a sinusoidal vocoder for radio at 8 kHz: 700 to 3200 bit/s.

    Against a reference at 16 kHz it is marked down for the missing band as well. It keeps no waveform, which weighs on
    scores that compare waveforms. It has no concealment: a lost frame repeats the packet before; before the first, it
    is silent. Unvoiced sounds have random phases, the same for the same packets.

    Runs libcodec2 (LGPL-2.1) through pycodec2, for Python 3.11 and later: `pip install '.[classic]'`.

    Args:
        mode: "3200", "2400", "1600", "1400", "1300", "1200" or "700C", its bit/s.

    Raises:
        InvalidValue: another mode.
        MissingDependency: pycodec2 is not installed.
    """

    def __init__(self, mode: str = "1300") -> None:
        mode = str(mode)
        if mode not in CODEC2_MODES:
            raise InvalidValue("mode", mode, f"must be one of {', '.join(CODEC2_MODES)}")
        _pycodec2()
        bits, hop, self.delay = CODEC2_MODES[mode]
        super().__init__(bits, sample_rate=8_000, hop_length=hop)
        self.mode = mode

    def packets(self, audio: np.ndarray) -> list[bytes]:
        encoder = _pycodec2().Codec2(int(self.mode.rstrip("C")))
        samples = np.round(audio * (2**15 - 1)).astype(np.int16)
        return [encoder.encode(part) for part in samples.reshape(-1, self.hop_length)]

    def decoded(self, packets: list[bytes | None]) -> np.ndarray:
        silent = next((i for i, packet in enumerate(packets) if packet is not None), len(packets))
        kept: list[bytes] = []
        for packet in packets[silent:]:
            kept.append(kept[-1] if packet is None else packet)
        if not kept:
            return np.zeros(len(packets) * self.hop_length, np.float32)
        found = decode_clip(int(self.mode.rstrip("C")), [*kept, kept[-1]])
        audio = np.frombuffer(found, np.int16).astype(np.float32) / 2**15
        audio = np.concatenate([np.zeros(silent * self.hop_length, np.float32), audio])
        return audio[self.delay : self.delay + len(packets) * self.hop_length]


def opus_samples(packet: bytes) -> int:
    """Samples at 48 kHz that a packet is of, by its first bytes (RFC 6716, section 3.1); 0 where it says none."""
    configuration, code = packet[0] >> 3, packet[0] & 3
    if configuration < 12:
        length = (480, 960, 1920, 2880)[configuration % 4]
    else:
        length = (480, 960)[configuration % 2] if configuration < 16 else (120, 240, 480, 960)[configuration % 4]
    return length * ((1, 2, 2)[code] if code < 3 else packet[1] & 63 if len(packet) > 1 else 0)


def _samples(decoder: Any, packet: bytes) -> np.ndarray:
    (frame,) = decoder.decode(_av().Packet(packet))
    return frame.to_ndarray()[0]


def _av() -> Any:
    """PyAV."""
    try:
        return import_module("av")
    except ImportError as error:
        raise MissingDependency("Opus", allowed="needs the package av", remedy="pip install '.[classic]'") from error


def _pycodec2() -> Any:
    """pycodec2, which needs Python 3.11."""
    try:
        return import_module("pycodec2")
    except ImportError as error:
        needs = "needs the package pycodec2, for Python 3.11 and later"
        raise MissingDependency("Codec 2", allowed=needs, remedy="pip install '.[classic]'") from error
