"""The jitter buffer: when each frame is played, what is late, and how the delay follows the network and the clocks."""

import math
from collections import deque
from typing import NamedTuple

from torch import Tensor

from codec.errors import InvalidValue
from codec.transport.live.statistics import ReceiverStatistics

SHORTEST, LONGEST = 0.02, 0.5  # seconds of an adapted target
FIRST_TARGET = 0.08  # seconds, before anything is known of the network
MEMORY = 5.0  # seconds of arrivals that the target and the clocks' drift are measured on
IN_TIME = 0.98  # share of arrivals that an adapted target waits for
REACH = 3.0  # seconds ahead of the frame played; what is further ahead is not kept
DROP_EVERY = 0.2  # seconds between frames dropped
HURRY = 0.2  # seconds too late, above which every other frame is dropped
ASTRAY = 10  # arrivals in a row, all late or all beyond the reach, that restart the playout
MOST_ARRIVALS = 4096  # measured on, whatever comes
REMEMBERED = 512  # arrivals that are told from their doubles


class Turn(NamedTuple):
    """What is played next.

    Attributes:
        number: of the frame; None where one is inserted.
        row: its payload bits, float32 `[n]`; None where it is lost or inserted.
        waited: seconds since it came; 0 where it did not.
    """

    number: int | None
    row: Tensor | None
    waited: float


class Playout:
    """Holds frames until their turn, one each `frame_seconds`, and decides on the turns.

    The delay of an arrival is its time minus frame number · `frame_seconds`. Over the arrivals of the last 5 s, the
    smallest is the base: it moves with the clocks of sender and receiver, and with the route. Frames are played at base
    + target. The target is fixed, or the smallest above which 2 % of these arrivals lie, plus half a frame, from 20 to
    500 ms.
    Where the playout is more than half a frame too early, a frame is inserted, at most one in four. Where it is more
    than one and a half too late, a frame is dropped, at most one in 0.2 s; above 0.2 s too late, every other one. Ten
    arrivals in a row that are all late, or all further ahead than 3 s, restart it. Memory is bounded by 3 s of frames
    and 4096 arrivals, whatever comes.

    Attributes:
        position: number of the frame whose turn is next; None before the first arrival.
        starts_at: time of the first turn.

    Args:
        frame_seconds: duration of a frame.
        counts: where what happens is counted.
        target: seconds above the base; None to adapt it.

    Raises:
        InvalidValue: the target is out of range.
    """

    def __init__(self, frame_seconds: float, counts: ReceiverStatistics, *, target: float | None = None) -> None:
        if target is not None and not 0 <= target <= 2:
            raise InvalidValue("buffer_ms", target * 1000, "must be 0 to 2000, or left out to adapt it", "take 100")
        self.frame_seconds, self.counts, self.fixed = frame_seconds, counts, target
        self.position: int | None = None
        self._held: dict[int, tuple[Tensor, float]] = {}
        self._seen: deque[int] = deque(maxlen=REMEMBERED)
        self._delays: deque[tuple[float, float]] = deque(maxlen=MOST_ARRIVALS)  # when, delay
        self._newest, self._astray = -1, 0
        self.starts_at, self._since_change = 0.0, 0
        self._tell_target()

    @property
    def target(self) -> float:
        """Seconds above the base at which frames are played."""
        if self.fixed is not None:
            return self.fixed
        if len(self._delays) < 25:
            return FIRST_TARGET
        delays = sorted(delay for _, delay in self._delays)
        spread = delays[math.ceil(IN_TIME * len(delays)) - 1] - delays[0]
        return min(LONGEST, max(SHORTEST, spread + self.frame_seconds / 2))

    def accepts(self, first: int, frames: int, now: float) -> bool:
        """Note the arrival of a packet; whether its frames can still be played, so that its bits are wanted."""
        if first in self._seen:
            self.counts.duplicate += 1
            return False
        if self.position is None:
            self.restart(first, now)
        assert self.position is not None
        late, beyond = first < self.position, first - self.position > REACH / self.frame_seconds
        self._astray = self._astray + 1 if late or beyond else 0
        if self._astray >= ASTRAY:
            self.counts.restarts += 1
            self.restart(first, now)
            late = beyond = False
        self.counts.early += beyond
        if beyond:
            return False
        self._note(first, now)
        self.counts.late += late
        self.counts.packets += not late
        return first + frames > self.position

    def put(self, first: int, rows: Tensor, now: float) -> None:
        """Hold the frames of an accepted packet, rows float32 `[F, n]`."""
        for number, row in enumerate(rows, first):
            if self.position is not None and number >= self.position:
                self._held.setdefault(number, (row, now))

    def turn(self, now: float) -> Turn | None:
        """The next frame; None before the first turn. Call it once every `frame_seconds`, with the time of the turn."""
        if self.position is None or now < self.starts_at - self.frame_seconds / 2:
            return None
        self._since_change += 1
        excess = now - self.position * self.frame_seconds - self._base() - self.target
        if excess < -self.frame_seconds / 2 and self._since_change >= 4:
            self._since_change = 0
            self.counts.inserted += 1
            return Turn(None, None, 0.0)
        pause = DROP_EVERY / self.frame_seconds if excess < HURRY else 2
        if excess > 1.5 * self.frame_seconds and self._since_change >= pause:
            self._since_change = 0
            self.counts.dropped += 1
            self._take()
        number: int = self.position
        row, came = self._take()
        self._tell_target()
        return Turn(number, row, 0.0 if row is None else max(0.0, now - came))

    def ahead(self, count: int) -> list[Tensor | None]:
        """The frames whose turns follow, None where they have not come."""
        assert self.position is not None
        return [self._held.get(self.position + step, (None, 0.0))[0] for step in range(count)]

    def skip(self, frames: int) -> None:
        """Leave out frames, as playing came to a halt for their time."""
        if self.position is not None:
            self.position += frames
            self._held = {number: held for number, held in self._held.items() if number >= self.position}

    def restart(self, first: int, now: float) -> None:
        """Begin anew with a packet that arrives, after a pause."""
        self._held.clear()
        self._seen.clear()
        self._delays.clear()
        self.position, self._newest, self._astray, self._since_change = first, first, 0, 0
        self.starts_at = now + (FIRST_TARGET if self.fixed is None else self.fixed)

    def _take(self) -> tuple[Tensor | None, float]:
        assert self.position is not None
        found = self._held.pop(self.position, (None, 0.0))
        self.position += 1
        return found

    def _note(self, first: int, now: float) -> None:
        self._seen.append(first)
        self.counts.reordered += first < self._newest
        self._newest = max(self._newest, first)
        self._delays.append((now, now - first * self.frame_seconds))
        while self._delays[0][0] < now - MEMORY:
            self._delays.popleft()

    def _base(self) -> float:
        return min(delay for _, delay in self._delays)

    def _tell_target(self) -> None:
        self.counts.target_ms = round(self.target * 1000, 1)
