"""Recorded traces: the file's forms, its mistakes, and the channel that replays it, two-sidedly."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from codec import LossTraceChannel, PacketLossChannel, UnreadableFile
from codec.channels import PacketTrace, draw_generator, read_trace, write_trace

PATTERN = [0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0]  # 3 of 11 lost


@pytest.fixture
def trace_file(tmp_path):
    """trace_file(text): path of a trace with this content."""

    def write(text, name="office.txt"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return write


@pytest.mark.parametrize("text", [
    "00011001000", "# a comment\n\n000110\n01000\n", "\ufeff0 0 0 1 1\r\n0 0 1\r\n0 0 0", "\n".join(map(str, PATTERN)),
    "sequence,lost\n" + "".join(f"{40 + k},{lost}\n" for k, lost in enumerate(PATTERN)),
    "sequence, delay\n" + "".join(f"{k},{'' if lost else 0.02}\n" for k, lost in enumerate(PATTERN)),
    "sequence,delay\n" + "".join(f"{k},0.02\n" for k, lost in reversed(list(enumerate(PATTERN))) if not lost),
])  # fmt: skip
def test_the_forms_of_a_trace_hold_the_same_losses(trace_file, text):
    trace = read_trace(trace_file(text))
    assert trace.lost.astype(int).tolist() == PATTERN
    assert trace.packet_seconds is None and trace.loss_share == 3 / 11


def test_delays_come_from_any_clocks_and_count_from_the_smallest(trace_file):
    sent = [0.0, 0.02, 0.04, 0.08]
    delay = [0.31, 0.30, 0.36, 0.3005]
    rows = [(65534 + k) % 2**16 for k in (0, 1, 2, 4)]  # one missing, numbers start again from 0
    tables = [
        "sequence,delay\n" + "".join(f"{k},{d}\n" for k, d in zip(rows, delay, strict=True)),
        "sequence,sent,arrival\n"
        + "".join(f"{k},{s},{s + d - 9}\n" for k, s, d in zip(rows, sent, delay, strict=True)),
        "# packet_seconds: 0.02\nsequence,arrival\n"
        + "".join(f"{k},{s + d}\n" for k, s, d in zip(rows, sent, delay, strict=True)),
    ]
    for table in tables:
        trace = read_trace(trace_file(table))
        assert trace.lost.tolist() == [False, False, False, True, False]
        np.testing.assert_allclose(trace.delays, [0.01, 0.0, 0.06, np.nan, 0.0005], atol=1e-12)
    assert trace.packet_seconds == 0.02
    assert trace.late(0.02).tolist() == [False, False, True, True, False]
    assert trace.late(0.06 + 1e-9).tolist() == [False, False, False, True, False]


def test_of_a_packet_that_arrives_twice_the_first_arrival_counts(trace_file):
    trace = read_trace(trace_file("sequence,delay\n0,0.5\n1,0.9\n1,0.7\n0,0.6\n2,\n2,0.5"))
    np.testing.assert_allclose(trace.delays, [0.0, 0.2, 0.0], atol=1e-12)


@pytest.mark.parametrize("trace", [
    PacketTrace(np.array(PATTERN, dtype=bool), 0.02),
    PacketTrace(np.tile(np.array(PATTERN, dtype=bool), 50)),
    PacketTrace(np.array([False, True, False]), 0.06, np.array([0.0, np.nan, 1 / 3])),
])  # fmt: skip
def test_what_is_written_is_read_again(tmp_path, trace):
    write_trace(tmp_path / "trace.txt", trace)
    found = read_trace(tmp_path / "trace.txt")
    assert np.array_equal(found.lost, trace.lost) and found.packet_seconds == trace.packet_seconds
    assert (found.delays is None) == (trace.delays is None)
    if trace.delays is not None:
        np.testing.assert_array_equal(found.delays, trace.delays)


@pytest.mark.parametrize(("text", "match"), [
    ("", "holds no packet"),
    ("# only a comment\n", "holds no packet"),
    ("0001\n0021", "line 2 holds '2'"),
    ("lost\n0", "line 1 holds 'l'"),
    ("0,1,0", "no column `sequence`"),
    ("sequence,jitter\n0,1", "none of"),
    ("sequence,delay\n", "holds no packet"),
    ("sequence,delay\n0,0.1,7", "has 3 columns instead of 2"),
    ("sequence,delay\n0,soon", "delay soon must be a number"),
    ("sequence,delay\n-1,0.1", "sequence -1 must be a whole number"),
    ("sequence,lost\n1,2", "lost 2 must be 0 or 1"),
    ("sequence,delay\n1,0.1\n2000000000,0.1", "apart"),
    ("sequence,arrival\n1,0.1", "packet_seconds: 0.02"),
    ("# packet_seconds: none\n01", "packet_seconds none must be a positive"),
    (b"RIFF\x00\x00\x01", "is no text"),
    (b"\xff\xfe\x91", "is no text"),
])  # fmt: skip
def test_other_files_are_refused_with_the_line(trace_file, text, match):
    with pytest.raises(UnreadableFile, match=match):
        read_trace(trace_file(text))


def test_a_missing_trace_is_named(tmp_path):
    with pytest.raises(UnreadableFile, match=r"no trace .*nowhere\.txt"):
        LossTraceChannel(tmp_path / "nowhere.txt")


def test_clips_start_anywhere_alike_and_wrap_round(trace_file):
    """Each of the N starts gives its own rotation; all are drawn equally often; the expected loss is the trace's."""
    channel = LossTraceChannel(trace_file("00011001000"), 2)
    assert channel.error_rate == channel.lost_share == 3 / 11
    received = channel(torch.ones(5500, 2 * 25, 3, dtype=torch.uint8), draw_generator(0, "clip", channel.family, 0))
    lost = received == 0.5
    assert torch.equal(received[~lost], torch.ones_like(received[~lost]))
    packets = lost.view(5500, 25, 2, 3).flatten(2)
    assert torch.equal(packets.any(2), packets.all(2))
    starts = {tuple(np.tile(PATTERN, 4)[k : k + 25]): 0 for k in range(11)}
    for clip in packets[:, :, 0].int().tolist():
        starts[tuple(clip)] += 1  # a KeyError is no rotation of the trace
    assert chisquare(list(starts.values())).pvalue > 1e-4


def test_the_draw_is_a_function_of_the_generator_alone(trace_file):
    channel, bits = LossTraceChannel(trace_file("0" * 400 + "1" * 100)), torch.zeros(1, 300, 2, dtype=torch.uint8)
    first = channel(bits, draw_generator(3, "clip", channel.family, 0))
    assert torch.equal(first, channel(bits, draw_generator(3, "clip", channel.family, 0)))
    assert any(not torch.equal(first, channel(bits, draw_generator(3, "clip", channel.family, k))) for k in range(1, 6))


@pytest.mark.parametrize(("frames", "frame_seconds", "step"), [(3, 0.02, 1.0), (1, 0.02, 1 / 3), (8, 0.0125, 5 / 3)])
def test_the_time_of_the_trace_is_kept(trace_file, frames, frame_seconds, step):
    """Packets of 60 ms in the trace: packet i takes the fate of the one that was the last at its time."""
    pattern = (np.random.default_rng(0).random(997) < 0.5).astype(int)
    file = trace_file("# packet_seconds: 0.06\n" + "".join(map(str, pattern)))
    channel = LossTraceChannel(file, frames, frame_seconds=frame_seconds)
    lost = channel(torch.zeros(200 * frames, 1, dtype=torch.uint8), draw_generator(0, "a", channel.family, 0)) == 0.5
    lost = lost[::frames, 0].int().numpy()
    index = np.array([int(np.floor(i * step + 1e-9)) for i in range(200)])
    assert any(np.array_equal(lost, pattern[(start + index) % 997]) for start in range(997))


def test_a_playout_buffer_loses_late_packets_and_delays(trace_file):
    delays = [0.05, 0.05, 0.13, 0.06, 0.0901, 0.05, 0.05, 0.05]
    rows = "".join(f"{k},{delay}\n" for k, delay in enumerate(delays) if k != 6)
    file = trace_file("# packet_seconds: 0.02\nsequence,delay\n" + rows)
    shares = [
        LossTraceChannel(file, 1, frame_seconds=0.02, buffer_seconds=b).error_rate for b in (0.0, 0.02, 0.04, 0.1)
    ]
    assert shares == [4 / 8, 3 / 8, 3 / 8, 1 / 8]
    assert LossTraceChannel(file).error_rate == 1 / 8
    channel = LossTraceChannel(file, 3, frame_seconds=0.02, buffer_seconds=0.05)
    assert channel.delay_frames == 2 + 3  # three frames a packet; 2.5 frames in the buffer
    assert LossTraceChannel(file, 3).delay_frames == PacketLossChannel(0.1, 3).delay_frames == 2
    received = channel(torch.zeros(900, 24, 2, dtype=torch.uint8), torch.Generator().manual_seed(0))
    assert abs(float((received == 0.5).double().mean()) - 2 / 8) < 0.02  # a whole turn has the share exactly
    assert set((received == 0.5).double().mean((1, 2)).tolist()) == {0.25}


@pytest.mark.parametrize(("text", "options", "match"), [
    ("01", {"frames_per_packet": 0}, "frames_per_packet 0"),
    ("01", {"frame_seconds": 0.02}, "does not state its own"),
    ("# packet_seconds: 0.02\n01", {"frame_seconds": 0.0}, "frame_seconds 0"),
    ("# packet_seconds: 0.02\n01", {"buffer_seconds": 0.1}, "needs frame_seconds"),
    ("# packet_seconds: 0.02\n01", {"buffer_seconds": -0.1, "frame_seconds": 0.02}, "buffer_seconds -0.1"),
    ("# packet_seconds: 0.02\n01", {"buffer_seconds": 0.1, "frame_seconds": 0.02}, "has no delays"),
])  # fmt: skip
def test_impossible_settings_are_refused(trace_file, text, options, match):
    with pytest.raises(ValueError, match=match):
        LossTraceChannel(trace_file(text), **options)


def test_names_tell_settings_apart(trace_file):
    file = trace_file("# packet_seconds: 0.02\nsequence,delay\n0,0.1\n1,0.2")
    options = [{}, {"frames_per_packet": 3}, {"frame_seconds": 0.02}]
    options += [{"frame_seconds": 0.02, "buffer_seconds": b} for b in (0.02, 0.04)]
    channels = [LossTraceChannel(file, **option) for option in options]
    assert len({channel.name for channel in channels}) == 5
    assert channels[3].curve == channels[4].curve
