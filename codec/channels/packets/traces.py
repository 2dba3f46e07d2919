"""A channel that loses the packets that a recorded trace lost, or whose delay exceeds a playout buffer."""

import math
from pathlib import Path

import torch
from torch import Tensor

from codec.channels.packets.frame_losses import PacketChannel
from codec.channels.packets.trace_files import read_trace
from codec.errors import InvalidValue


class LossTraceChannel(PacketChannel):
    """Loses the packets that a recorded trace lost (the format is that of `codec.channels.packets.trace_files`).

    Each clip takes a stretch of the trace from a packet drawn at random, all alike, and goes on at the beginning after
    its end; so the expected share of losses is exactly the trace's. Without `frame_seconds`, packet i of the clip takes
    the fate of the trace's packet s + i. With it, time is kept: packets of the clip are P = `frames_per_packet` ·
    `frame_seconds` apart, those of the trace T = `packet_seconds`, and packet i takes the fate of the last packet that
    the trace sent before it or with it, s + ⌊i P / T⌋.

    With `buffer_seconds` a packet of the trace is also lost if its delay exceeds the trace's smallest one by more than
    that: a playout buffer of fixed length.

    Args:
        file: the trace.
        frames_per_packet: consecutive frames that travel together; the last packet of a clip may hold fewer.
        frame_seconds: duration of the codec's frame in seconds, to keep the trace's time; None to take the trace
            packet by packet, whatever their durations. Needed with `buffer_seconds`, whose delay is counted in frames.
        buffer_seconds: length of the playout buffer in seconds; None to leave delays out.

    Raises:
        UnreadableFile: the file is missing or not in the format, or has no delays for the buffer.
        InvalidValue: a number is out of range, or the trace does not state its `packet_seconds`.
    """

    family = "loss-trace"

    def __init__(
        self,
        file: str | Path,
        frames_per_packet: int = 1,
        *,
        frame_seconds: float | None = None,
        buffer_seconds: float | None = None,
    ) -> None:
        super().__init__(frames_per_packet)
        self.file, self.trace = str(file), read_trace(file)
        self.frame_seconds, self.buffer_seconds = frame_seconds, buffer_seconds
        if frame_seconds is not None and not 0 < frame_seconds < math.inf:
            raise InvalidValue("frame_seconds", frame_seconds, "must be above 0 seconds, or null", "take 0.02")
        lost = self.trace.lost
        if buffer_seconds is not None:
            if not 0 <= buffer_seconds < math.inf:
                raise InvalidValue("buffer_seconds", buffer_seconds, "must be 0 seconds or more, or null", "take 0.06")
            if frame_seconds is None:
                raise InvalidValue("buffer_seconds", buffer_seconds, "needs frame_seconds, to count its delay")
            lost = self.trace.late(buffer_seconds)
        if frame_seconds is not None and self.trace.packet_seconds is None:
            allowed = f"keeps the time of {file}, which does not state its own"
            raise InvalidValue(
                "frame_seconds", frame_seconds, allowed, "add a comment `# packet_seconds: 0.02` to the trace"
            )
        self._trace_lost = torch.from_numpy(lost.copy())
        self.error_rate = float(lost.mean())
        size = f"-{frames_per_packet}" if frames_per_packet > 1 else ""
        time = "" if frame_seconds is None else f"-{1000 * frame_seconds:g}ms"
        self._kind = f"{self.family}-{Path(file).stem}{size}{time}"
        self.name = self._kind + ("" if buffer_seconds is None else f"-buffer{1000 * buffer_seconds:g}ms")

    @property
    def curve(self) -> str:
        return self._kind

    @property
    def delay_frames(self) -> int:
        """Frames for which a packet is collected, and then waits in the playout buffer."""
        return super().delay_frames + playout_frames(self.buffer_seconds or 0.0, self.frame_seconds or 1.0)

    def _lost(self, packets: int, generator: torch.Generator) -> Tensor:
        start = int(torch.rand((), generator=generator, dtype=torch.float64) * len(self._trace_lost))
        step = torch.arange(packets)
        if self.frame_seconds is not None and self.trace.packet_seconds is not None:
            ratio = self.frames_per_packet * self.frame_seconds / self.trace.packet_seconds
            step = torch.floor(step.double() * ratio + 1e-9).long()  # 3 · 0.02 / 0.06 is a whole packet
        return self._trace_lost[(start + step) % len(self._trace_lost)]


def playout_frames(buffer_seconds: float, frame_seconds: float) -> int:
    """Whole frames by which a playout buffer delays, rounded up."""
    return math.ceil(buffer_seconds / frame_seconds - 1e-9)
