"""The receiving side of a call: datagrams to audio, a frame at each tick of the clock, whatever comes or does not."""

import threading
import time
from collections import deque

import torch
from torch import Tensor

from codec.channels.link import Link
from codec.codec import NeuralCodec
from codec.errors import UserError
from codec.transport.live.coding import LOOK_AHEAD, LiveDecoder
from codec.transport.live.devices import Sink
from codec.transport.live.playout import Playout, Turn
from codec.transport.live.statistics import ReceiverStatistics
from codec.transport.live.stream import Address, FormatReader, Stream
from codec.transport.packets import Packet, find_packet

SILENT_AFTER = 1.0  # seconds without a packet, after which another stream may take the place of this one
STALL = 0.5  # seconds by which a tick may be late before frames are left out
HEADERS_A_SECOND = 10  # read at most, other than that of the stream that is listened to
WARM_UP = 3  # frames decoded before the call: the first ones take longer
POLL = 0.1  # seconds between looks at `stop` where nothing is to be done


class Receiver:
    """Listens to one stream at a time and plays a frame of it every `1 / frame_rate` seconds.

    The first stream whose header comes is the one; another takes its place when it has ended or was silent for a
    second. Packets from another address than the header's are foreign. Whatever comes takes bounded memory: the frames
    of 3 s and one header.

    Attributes:
        statistics: counted so far.
        peer: address of the latest stream; None before the first.

    Args:
        codec: decodes.
        link: concealment and prior; index map and error correction are the stream's.
        buffer: target of the jitter buffer in seconds; None to adapt it, see `Playout`.
        look_ahead: see `LiveDecoder`.
        only_from: the address that may send; None for any.

    Raises:
        InvalidValue: an option is out of range or does not fit the codec.
    """

    def __init__(
        self,
        codec: NeuralCodec,
        link: Link,
        *,
        buffer: float | None = None,
        look_ahead: int = LOOK_AHEAD,
        only_from: Address | None = None,
    ) -> None:
        self.codec, self.buffer, self.look_ahead, self.only_from = codec, buffer, look_ahead, only_from
        self.statistics = ReceiverStatistics()
        self.peer: Address | None = None
        self.frame_seconds = 1 / codec.frame_rate
        self._formats = FormatReader(codec, link)
        Playout(self.frame_seconds, self.statistics, target=buffer)  # raises for a target out of range
        warm = LiveDecoder(codec, self._formats.link.connect(codec.quantizer), look_ahead=look_ahead)
        for _ in range(WARM_UP):
            warm.play(None)
        self._stream: Stream | None = None
        self._lock = threading.Lock()
        self._headers: deque[float] = deque(maxlen=HEADERS_A_SECOND)
        self._waits: deque[float] = deque(maxlen=max(1, round(codec.frame_rate)))

    def feed(self, datagram: bytes, address: Address) -> None:
        """Take a datagram as it arrives."""
        now, counts = time.monotonic(), self.statistics
        size, packet = find_packet(datagram)
        if packet is None or size != len(datagram) or self.only_from not in (None, address):
            counts.foreign += 1
            return
        stream = self._stream
        own = stream is not None and (stream.number, stream.address) == (packet.stream, address)
        if packet.is_header:
            if own and stream is not None:
                stream.heard_at = now
            else:
                self._begin(packet, address, now)
        elif stream is None:
            counts.early += 1
        elif not own or not stream.format.blocks.fits(packet):
            counts.foreign += 1
        elif packet.is_end:
            stream.ends_at = packet.first
        else:
            self._take(stream, packet, now)

    def _begin(self, packet: Packet, address: Address, now: float) -> None:
        """Begin a stream with its header, if none is being listened to."""
        if self._stream is not None and not self._stream.has_ended and not self._stream.is_silent(now, SILENT_AFTER):
            self.statistics.foreign += 1
            return
        if len(self._headers) == HEADERS_A_SECOND and now - self._headers[0] < 1:
            self.statistics.refused += 1
            return
        self._headers.append(now)
        try:
            format = self._formats.read(packet.payload)
        except UserError as error:
            self.statistics.refused += 1
            self.statistics.refusal = str(error)
            return
        decoder = LiveDecoder(self.codec, format.connection, look_ahead=self.look_ahead)
        playout = Playout(self.frame_seconds, self.statistics, target=self.buffer)
        self.statistics.streams += 1
        with self._lock:
            self._stream = Stream(packet.stream, address, format, decoder, playout)
            self.peer = address

    def _take(self, stream: Stream, packet: Packet, now: float) -> None:
        with self._lock:
            if stream.is_silent(now, SILENT_AFTER) and stream.playout.position is not None:
                self.statistics.restarts += 1
                stream.playout.restart(packet.first, now)
            stream.heard_at = now
            wanted = stream.playout.accepts(packet.first, packet.frames, now)
        if wanted:
            rows = stream.rows(packet)
            with self._lock:
                stream.playout.put(packet.first, rows, now)

    def run(self, sink: Sink, stop: threading.Event, *, wait: float = 10.0) -> None:
        """Play until the stream has ended, none was heard for `wait` seconds after the first, or `stop` is set."""
        while self._stream is None or not (self._stream.has_ended or self._stream.playout.position is not None):
            if stop.wait(self.frame_seconds):
                return
        tick = self._stream.playout.starts_at
        while not (stop.is_set() or self._is_over(time.monotonic(), wait)):
            if not sink.paces and stop.wait(max(0.0, tick - time.monotonic())):
                return
            tick = self._caught_up(tick)
            sink.write(self._play(tick))
            tick += self.frame_seconds
            if sink.paces:  # the device's clock: what it is ahead or behind by is followed slowly
                tick += 0.02 * (time.monotonic() - tick)

    def _is_over(self, now: float, wait: float) -> bool:
        stream = self._stream
        return stream is not None and (stream.has_ended or stream.is_silent(now, wait))

    def _caught_up(self, tick: float) -> float:
        """The tick to play now; after a halt of the process a later one, and the frames before it are left out."""
        missed = int((time.monotonic() - tick) / self.frame_seconds)
        if missed * self.frame_seconds <= STALL:
            return tick
        self.statistics.stalls += 1
        self.statistics.skipped += missed
        with self._lock:
            assert self._stream is not None
            self._stream.playout.skip(missed)
        return tick + missed * self.frame_seconds

    def _play(self, tick: float) -> Tensor:
        """Audio float32 `[decoder hop]` for a tick."""
        with self._lock:
            stream = self._stream
            assert stream is not None
            silent = stream.is_silent(tick, SILENT_AFTER) or stream.has_ended
            turn = None if silent else stream.playout.turn(tick)
            ahead = [] if turn is None else stream.playout.ahead(stream.decoder.look_ahead)
        if turn is None:
            return torch.zeros(self.codec.decoder.hop_length)
        began = time.monotonic()
        played = stream.decoder.play(turn.row, ahead)
        audio = stream.fading(played.audio, lost=turn.row is None)
        self._count(turn, tick + stream.decoder.delay, concealed=played.concealed)
        self.statistics.decoding_ms = max(self.statistics.decoding_ms, (time.monotonic() - began) * 1000)
        return audio

    def _count(self, turn: Turn, played_at: float, *, concealed: bool) -> None:
        counts = self.statistics
        counts.frames += 1
        counts.concealed += concealed
        counts.lost += turn.row is None and turn.number is not None
        if turn.number is not None:
            counts.played = (turn.number, played_at)
        if turn.row is not None:
            self._waits.append(turn.waited)
            counts.buffer_ms = round(1000 * sum(self._waits) / len(self._waits), 1)
