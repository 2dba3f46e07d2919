"""What a call counts and measures, on a line for a terminal, as JSON each second, and in a summary."""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from codec.errors import UnreadableFile


@dataclass
class SenderStatistics:
    """Of the sending side.

    Attributes:
        packets: sent with frames.
        frames: in them.
        datagrams: sent in all, headers and ends included.
        bytes: in the datagrams, without what UDP and IP put around them.
        failed: datagrams that the system did not take.
        delay_ms: from a packet's first sample to its codes, without computing.
        encoding_ms: longest time of encoding a packet in the last second.
        behind_ms: longest lag behind the pace of speech in the last second.
        spoken: number of a frame, and when its first sample was spoken, on the system's monotonic clock in seconds.
    """

    packets: int = 0
    frames: int = 0
    datagrams: int = 0
    bytes: int = 0
    failed: int = 0
    delay_ms: float = 0.0
    encoding_ms: float = 0.0
    behind_ms: float = 0.0
    spoken: tuple[int, float] = (0, 0.0)


@dataclass
class ReceiverStatistics:
    """Of the receiving side.

    Attributes:
        packets: with frames that came in time.
        late: that came after their first frame's turn.
        duplicate: that had come before.
        reordered: that came after one with later frames.
        foreign: datagrams that are of no stream that is listened to, damaged, or do not fit its header.
        refused: headers of another codec, or of a stream that this receiver cannot decode.
        refusal: why the latest of them was, as a sentence.
        early: packets before their stream's header, or further ahead than the buffer reaches.
        streams: begun.
        frames: played; what is heard before a stream's first frame and after it fell silent is not counted.
        lost: frames of them that had not come by their turn.
        concealed: frames of which a code was missing: the lost ones, the inserted ones, and what error correction left.
        inserted, dropped: frames, to follow the network's delay and the sender's clock.
        restarts: of the playout within a stream, after a pause or a jump of the delay.
        stalls: times that playing was late by more than half a second, as the process was not given enough time.
        skipped: frames left out for that.
        buffer_ms: mean time from a packet's arrival to its turn, in the last second.
        target_ms: of the jitter buffer, above the fastest packet.
        decoding_ms: longest time of decoding a frame in the last second.
        played: number of a frame, and when its first sample was played, on the system's monotonic clock in seconds.
    """

    packets: int = 0
    late: int = 0
    duplicate: int = 0
    reordered: int = 0
    foreign: int = 0
    refused: int = 0
    refusal: str | None = None
    early: int = 0
    streams: int = 0
    frames: int = 0
    lost: int = 0
    concealed: int = 0
    inserted: int = 0
    dropped: int = 0
    restarts: int = 0
    stalls: int = 0
    skipped: int = 0
    buffer_ms: float = 0.0
    target_ms: float = 0.0
    decoding_ms: float = 0.0
    played: tuple[int, float] = (0, 0.0)

    @property
    def concealed_share(self) -> float:
        """Of the frames played."""
        return self.concealed / max(1, self.frames)


@dataclass
class Report:
    """Both sides of a call; None for a side that it does not have."""

    sender: SenderStatistics | None = None
    receiver: ReceiverStatistics | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def refusal(self) -> str | None:
        """Why the latest stream was refused; None if none was."""
        return self.receiver.refusal if self.receiver is not None else None

    def line(self) -> str:
        """The state of the call in a few words."""
        told = [f"{time.monotonic() - self.began:.0f} s"]
        if self.sender is not None:
            told.append(f"sent {self.sender.packets} packets, {self.sender.bytes / 1000:.1f} kB")
        if self.receiver is not None:
            heard = self.receiver
            told.append(
                f"heard {heard.frames} frames, {heard.concealed} concealed ({heard.concealed_share:.1%}), "
                f"{heard.late} late, buffer {heard.buffer_ms:.0f} ms"
            )
        return ", ".join(told)

    def summary(self) -> str:
        """All that was counted, one side a line."""
        lines = []
        for name, side in (("sent", self.sender), ("heard", self.receiver)):
            if side is not None:
                counts = [f"{count} {key}" for key, count in asdict(side).items() if isinstance(count, int) and count]
                lines.append(f"{name}: {', '.join(counts) or 'nothing'}")
        if self.receiver is not None:
            lines[-1] += f"; {self.receiver.concealed_share:.2%} concealed"
        return "\n".join(lines)

    def json(self) -> str:
        """One JSON object: time since the beginning in seconds, memory in MB, and both sides."""
        sides = {name: asdict(side) for name in ("sender", "receiver") if (side := getattr(self, name)) is not None}
        facts = {"seconds": round(time.monotonic() - self.began, 3), "memory_mb": memory_mb(), **sides}
        return json.dumps(facts)

    def begin_second(self) -> None:
        """Begin anew what is the longest of a second."""
        if self.sender is not None:
            self.sender.encoding_ms = self.sender.behind_ms = 0.0
        if self.receiver is not None:
            self.receiver.decoding_ms = 0.0


def memory_mb() -> float | None:
    """Resident memory of this process in MB; None where the system does not tell as Linux does."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 2)


def open_log(path: str) -> IO[str]:
    """A file for lines of JSON, written line by line.

    Raises:
        UnreadableFile: it cannot be written.
    """
    try:
        return open(path, "w", buffering=1)
    except OSError as error:
        raise UnreadableFile(path, None, f"cannot be written ({error.strerror})", "give another path") from error
