"""The receiver: datagrams of any kind in, a frame of audio at each tick out."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from codec import ConvolutionalCode, GrayMap, InvalidValue, LearnedConcealment, Link, RepeatLast
from codec.transport.live.receiver import Receiver
from codec.transport.packets import Packet
from tests.support.calls import Heard, Packets, random_codes
from tests.support.codec_fakes import tiny_codec

HERE, THERE = ("10.0.0.1", 5000), ("10.0.0.2", 5000)


@pytest.fixture(scope="module")
def codec():
    return tiny_codec()


class Listening:
    """A receiver that runs in a thread; at the end of the block it has ended."""

    def __init__(self, codec, *, wait: float = 5.0, link: Link | None = None, **options) -> None:
        self.receiver, self.sink = Receiver(codec, link or Link(), **options), Heard()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.receiver.run, args=(self.sink, self.stop), kwargs={"wait": wait})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(20)
        alive = self.thread.is_alive()
        self.stop.set()
        self.thread.join()
        assert not alive

    def feed(self, *datagrams: bytes, address=HERE) -> None:
        for datagram in datagrams:
            self.receiver.feed(datagram, address)

    def feed_at_pace(self, datagrams: list[bytes | None]) -> None:
        """One each 20 ms; None for a lost one."""
        began = time.monotonic()
        for n, datagram in enumerate(datagrams):
            time.sleep(max(0.0, began + n * 0.02 - time.monotonic()))
            if datagram is not None:
                self.feed(datagram)

    @property
    def counts(self):
        return self.receiver.statistics


def test_a_stream_is_played_to_its_end(codec):
    sent = Packets(codec, random_codes(codec, 20))
    with Listening(codec, buffer=0.3, look_ahead=50) as call:
        call.feed(sent.start)
        call.feed_at_pace([*sent.frames, sent.end])
    counts = call.counts
    assert (counts.packets, counts.streams, counts.lost, counts.concealed) == (20, 1, 0, 0)
    heard = call.sink.audio
    expected = codec.decode(sent.codes)[0, 0].detach()
    start = int(heard.abs().gt(0).nonzero()[0]) // 320 * 320
    assert torch.allclose(heard[start : start + 10 * 320], expected[: 10 * 320], atol=1e-5)


def test_a_stream_of_which_only_the_end_comes(codec):
    sent = Packets(codec, random_codes(codec, 5))
    with Listening(codec) as call:
        call.feed(sent.start, sent.end)
    assert call.counts.frames == 0


@pytest.mark.parametrize("size", [1, 3])
def test_protected_packets_with_an_index_map(codec, size):
    link = Link(index_map=GrayMap(), code=ConvolutionalCode())
    sent = Packets(codec, random_codes(codec, 20), size=size, link=link)
    receiver = Receiver(codec, Link())
    receiver.feed(sent.start, HERE)
    receiver.feed(sent.frames[1], HERE)
    stream = receiver._stream
    assert stream is not None
    found = torch.stack([row for row, _ in stream.playout._held.values()])[None]
    assert torch.equal(stream.format.connection.receive(found).codes, sent.codes[..., size : 2 * size])


def test_lost_packets_are_concealed_and_counted(codec):
    sent = Packets(codec, random_codes(codec, 30))
    with Listening(codec, buffer=0.3, link=Link(concealment=RepeatLast())) as call:
        call.feed(sent.start)
        call.feed_at_pace([None if n in (4, 9, 10) else data for n, data in enumerate(sent.frames)] + [sent.end])
    counts = call.counts
    assert counts.lost >= 3 and counts.concealed == counts.lost + counts.inserted
    assert counts.restarts or counts.frames + counts.skipped + counts.dropped - counts.inserted >= 30


def test_garbage_is_counted_and_changes_nothing(codec):
    sent, draws = Packets(codec, random_codes(codec, 20)), np.random.default_rng(0)
    receiver = Receiver(codec, Link())
    receiver.feed(sent.frames[0], HERE)
    assert receiver.statistics.early == 1  # before its header
    receiver.feed(sent.start, HERE)
    receiver.feed(sent.frames[0], HERE)
    bad = [draws.bytes(int(draws.integers(0, 200))) for _ in range(500)]
    bad += [sent.frames[1][:-1], sent.frames[1] + b"x", sent.start[:40], b""]  # cut off, too long
    bad += [
        Packet(7, 1, 2, b"\0\0").pack(),
        Packet(7, 1, 0, b"").pack(),
        Packet(7, 3, 0, b"\0" * 8, is_end=True).pack(),
    ]
    bad += [Packet(7, 2**32 - 1, 1, b"\0").pack(), Packet(8, 1, 1, b"\0").pack()]
    for datagram in bad:
        receiver.feed(datagram, HERE)
    receiver.feed(sent.frames[1], THERE)  # of another address
    assert receiver.statistics.foreign == len(bad) + 1
    assert receiver.statistics.packets == 1 and receiver._stream is not None and receiver._stream.ends_at is None


def test_only_one_address_may_send(codec):
    sent = Packets(codec, random_codes(codec, 5))
    receiver = Receiver(codec, Link(), only_from=THERE)
    receiver.feed(sent.start, HERE)
    assert receiver.statistics.foreign == 1 and receiver.peer is None
    receiver.feed(sent.start, THERE)
    assert receiver.peer == THERE


def test_another_codec_is_refused_in_one_sentence(codec):
    torch.manual_seed(5)
    sent = Packets(tiny_codec(), random_codes(codec, 5))
    receiver = Receiver(codec, Link())
    receiver.feed(sent.start, HERE)
    counts = receiver.statistics
    assert counts.refused == 1 and counts.streams == 0
    assert counts.refusal and "fingerprint" in counts.refusal and "--codec" in counts.refusal


def test_damaged_headers_and_floods_of_them_are_refused(codec):
    sent = Packets(codec, random_codes(codec, 5))
    receiver, reads = Receiver(codec, Link()), []
    read, began = receiver._formats.read, time.monotonic()
    receiver._formats.read = lambda data: reads.append(data) or read(data)
    broken = bytearray(sent.header.pack())
    broken[30] ^= 1
    for n in range(100):
        receiver.feed(Packet(n, 0, 0, bytes(broken), is_header=True).pack(), HERE)
    receiver.feed(Packet(1, 0, 0, replace(sent.header, protection="{}").pack(), is_header=True).pack(), HERE)
    assert receiver.statistics.refused == 101 and receiver._stream is None
    assert 10 <= len(reads) <= 10 * (1 + time.monotonic() - began)


def test_a_second_sender_is_heard_only_after_the_first_is_silent(codec):
    first, second = (Packets(codec, random_codes(codec, 100, n), number=n) for n in (1, 2))
    with Listening(codec, buffer=0.05) as call:
        call.feed(first.start, *first.frames[:10])
        call.feed(second.start, second.frames[0], address=THERE)
        assert call.counts.foreign == 2 and call.counts.streams == 1
        time.sleep(1.3)  # the first one died
        call.feed(second.start, *second.frames[:10], address=THERE)
        assert call.counts.streams == 2 and call.receiver.peer == THERE
        time.sleep(0.4)
        late = call.counts.played[0]
        call.feed(Packet(2, 10, 0, (10 * 320).to_bytes(8, "big"), is_end=True).pack(), address=THERE)
    assert call.counts.packets == 20 and late < 60  # numbers of the second stream


def test_a_sender_that_dies_is_waited_for_and_fades(codec):
    sent = Packets(codec, random_codes(codec, 100))
    began = time.monotonic()
    with Listening(codec, buffer=0.05, wait=1.5) as call:
        call.feed(sent.start, *sent.frames[:10])
    assert 1.4 < time.monotonic() - began < 15
    assert not call.sink.audio[-320 * 10 :].any()
    assert 10 <= call.counts.lost <= 60 and call.counts.concealed == call.counts.lost


def test_the_same_stream_may_come_back(codec):
    sent = Packets(codec, random_codes(codec, 300))
    with Listening(codec, buffer=0.05) as call:
        call.feed(sent.start, *sent.frames[:10])
        time.sleep(1.3)
        call.feed(*sent.frames[200:210])
        time.sleep(0.3)
        assert call.counts.restarts == 1 and call.counts.streams == 1 and call.counts.played[0] >= 200
        call.feed(Packet(7, 210, 0, (210 * 320).to_bytes(8, "big"), is_end=True).pack())


def test_learned_concealment_must_fit(codec):
    with pytest.raises(InvalidValue, match="predictor"):
        Receiver(codec, Link(concealment=LearnedConcealment("small_fsq")))
