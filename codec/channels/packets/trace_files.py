"""Recorded packet traces: the file format, read and written.

A trace is a text file (UTF-8) of one of two forms. Lines that open with `#` are comments; one of the form
`# packet_seconds: 0.02` states the spacing of the packets in seconds. Empty lines do not count.

1. **Loss pattern**: the characters 0 (received) and 1 (lost), a packet each, in lines of any length; spaces do not
   count, so one number a line is also a pattern:

       # packet_seconds: 0.02
       0000000110
       0001000000

2. **Table**: comma-separated columns under a line of their names, a packet a line, in any order:

   - `sequence`: number of the packet. Numbers that are missing between the lowest and the highest are lost packets. If
     all are below 65536 they are taken as RTP's (RFC 3550), which start again from 0: each is the nearest one, modulo
     2^16, to that of the line before. Of a number that occurs twice the earliest arrival counts.
   - `delay`, seconds from sending to arrival, from any origin; or `sent` and `arrival`, two clocks in seconds; or
     `arrival` alone, where packet k of the comment's `packet_seconds` is taken to be sent at k · `packet_seconds`. An
     empty cell of `delay` or `arrival` is a lost packet.
   - `lost`, 0 or 1, instead of a delay or beside it.

       # packet_seconds: 0.02
       sequence,delay
       7,0.0312
       8,0.0334
       10,0.0871
"""

import csv
import io
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.errors import UnreadableFile, counted

REMEDY = "see codec/channels/packets/trace_files.py for the format"
SPACING = re.compile(r"#\s*packet_seconds\s*[:=]\s*(.*?)\s*$", re.I)
WRAP = 2**16  # RTP's sequence numbers
LONGEST = 10**8  # packets between the lowest and the highest number


class PacketTrace(NamedTuple):
    """What became of packets sent at equal intervals.

    Attributes:
        lost: bool `[N]`, in the order of sending.
        packet_seconds: interval between packets in seconds; None where the file does not state it.
        delays: float64 `[N]`, seconds beyond the smallest delay of the trace, NaN where lost; None without delays.
    """

    lost: NDArray[np.bool_]
    packet_seconds: float | None = None
    delays: NDArray[np.float64] | None = None

    @property
    def loss_share(self) -> float:
        """Share of packets lost, without late ones."""
        return float(self.lost.mean())

    def late(self, buffer_seconds: float) -> NDArray[np.bool_]:
        """Packets that a playout buffer loses: lost, or delayed by more than it beyond the smallest delay; bool `[N]`.

        Raises:
            UnreadableFile: the trace has no delays.
        """
        if self.delays is None:
            raise UnreadableFile("The trace", allowed="has no delays", remedy="leave buffer_seconds out")
        return self.lost | (np.nan_to_num(self.delays) > buffer_seconds)


def read_trace(file: str | Path) -> PacketTrace:
    """Read a trace, a loss pattern or a table.

    Raises:
        UnreadableFile: there is no such file, it is no text, or not in the format; the line is named.
    """
    path = Path(file)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"There is no trace {file}", remedy="name a text file of packet losses") from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(str(file), allowed="is no text", remedy=REMEDY) from error
    if "\0" in text:
        raise UnreadableFile(str(file), allowed="is no text", remedy=REMEDY)
    spacing, lines = None, []
    for number, line in enumerate(text.splitlines(), 1):
        stated = SPACING.match(line.strip())
        if stated:
            spacing = _number(stated[1], f"{file}, line {number}: packet_seconds", positive=True)
        elif line.strip() and not line.lstrip().startswith("#"):
            lines.append((number, line.strip()))
    if not lines:
        raise UnreadableFile(str(file), allowed="holds no packet", remedy=REMEDY)
    if "," in lines[0][1] or lines[0][1].lower() == "sequence":
        return _read_table(lines, spacing, str(file))
    return _read_pattern(lines, spacing, str(file))


def write_trace(file: str | Path, trace: PacketTrace) -> None:
    """Write a trace in the form that has all of it: a loss pattern of 80 packets a line, or a table of delays."""
    header = "" if trace.packet_seconds is None else f"# packet_seconds: {trace.packet_seconds!r}\n"
    if trace.delays is None:
        pattern = "".join("1" if lost else "0" for lost in trace.lost)
        body = "".join(f"{pattern[start : start + 80]}\n" for start in range(0, len(pattern), 80))
    else:
        delays = ["" if math.isnan(delay) else repr(float(delay)) for delay in trace.delays]
        body = "sequence,delay\n" + "".join(f"{k},{delay}\n" for k, delay in enumerate(delays))
    Path(file).write_text(header + body, encoding="utf-8")


def _read_pattern(lines: list[tuple[int, str]], spacing: float | None, file: str) -> PacketTrace:
    """A trace from lines of 0 and 1."""
    for number, line in lines:
        other = re.search(r"[^01\s]", line)
        if other:
            allowed = f"holds {other[0]!r} where a loss pattern has 0 and 1 only"
            raise UnreadableFile(f"{file}, line {number}", allowed=allowed, remedy=REMEDY)
    pattern = "".join("".join(line.split()) for _, line in lines)
    return PacketTrace(np.frombuffer(pattern.encode(), dtype=np.uint8) == ord("1"), spacing)


def _read_table(lines: list[tuple[int, str]], spacing: float | None, file: str) -> PacketTrace:
    """A trace from comma-separated lines under their names."""
    names = [name.strip().lower() for name in lines[0][1].split(",")]
    if "sequence" not in names or not {"lost", "delay", "arrival"} & set(names):
        allowed = "names no column `sequence`, or none of `delay`, `arrival` and `lost`"
        raise UnreadableFile(f"{file}, line {lines[0][0]}", allowed=allowed, remedy=REMEDY)
    timed = bool({"delay", "arrival"} & set(names))
    if "delay" not in names and timed and "sent" not in names and spacing is None:
        raise UnreadableFile(file, allowed="has arrivals alone", remedy="add a comment `# packet_seconds: 0.02`")
    sequence, rows = [], []
    for number, line in lines[1:]:
        cells = [cell.strip() for cell in next(csv.reader(io.StringIO(line)))]
        place = f"{file}, line {number}"
        if len(cells) != len(names):
            raise UnreadableFile(place, allowed=f"has {counted(len(cells), 'column')} instead of {len(names)}")
        row = dict(zip(names, cells, strict=True))
        if not re.fullmatch(r"\d{1,18}", row["sequence"]):
            raise UnreadableFile(f"{place}: sequence", row["sequence"], "must be a whole number of 0 or more")
        sequence.append(int(row["sequence"]))
        rows.append((row, place))
    if not rows:
        raise UnreadableFile(file, allowed="holds no packet", remedy=REMEDY)
    order = _unwrapped(np.array(sequence))
    if order.max() >= LONGEST:
        raise UnreadableFile(file, allowed=f"has numbers {counted(int(order.max()), 'packet')} apart", remedy=REMEDY)
    lost = np.ones(int(order.max()) + 1, dtype=bool)
    delays = np.full(len(lost), np.inf)
    for place_in_order, (row, place) in zip(order, rows, strict=True):
        received, delay = _outcome(row, place, int(place_in_order), spacing)
        if received:
            lost[place_in_order], delays[place_in_order] = False, min(delay, delays[place_in_order])
    if not timed or lost.all():
        return PacketTrace(lost, spacing)
    delays[lost] = np.nan
    return PacketTrace(lost, spacing, delays - np.nanmin(delays))


def _outcome(row: dict[str, str], place: str, order: int, spacing: float | None) -> tuple[bool, float]:
    """Whether a packet was received, and its delay in seconds from any origin (infinite where none is stated)."""
    flag = row.get("lost", "0")
    if flag not in {"0", "1"}:
        raise UnreadableFile(f"{place}: lost", flag, "must be 0 or 1")
    cell = row.get("delay", row.get("arrival"))
    if flag == "1" or cell == "":
        return False, math.inf
    if cell is None:
        return True, math.inf
    value = _number(cell, f"{place}: {'delay' if 'delay' in row else 'arrival'}")
    if "delay" in row:
        return True, value
    if "sent" in row:
        return True, value - _number(row["sent"], f"{place}: sent")
    assert spacing is not None
    return True, value - order * spacing


def _unwrapped(sequence: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers in the order of sending, from 0; 16-bit ones are continued past their wrap."""
    if len(sequence) > 1 and sequence.max() < WRAP:
        steps = (np.diff(sequence) + WRAP // 2) % WRAP - WRAP // 2
        sequence = np.concatenate([sequence[:1], sequence[0] + np.cumsum(steps)])
    return sequence - sequence.min()


def _number(text: str, what: str, *, positive: bool = False) -> float:
    """A finite number from text.

    Raises:
        UnreadableFile: it is none, or not above 0 where it has to be.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (positive and value <= 0):
        raise UnreadableFile(what, text, f"must be a{' positive' if positive else ''} number of seconds")
    return value
