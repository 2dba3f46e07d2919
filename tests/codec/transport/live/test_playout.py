"""The jitter buffer, in simulated time."""

import random
import sys

import pytest
import torch

from codec import InvalidValue
from codec.transport.live.playout import Playout
from codec.transport.live.statistics import ReceiverStatistics

FRAME = 0.02
ROW = torch.zeros(1, 4)


class Simulation:
    """A sender, a network and a receiver with clocks of their own; what was played and what was counted."""

    def __init__(self, *, target: float | None = None, pace: float = 1.0) -> None:
        self.counts = ReceiverStatistics()
        self.playout = Playout(FRAME, self.counts, target=target)
        self.pace = pace  # of the sender's clock
        self.played: list[int | None] = []  # numbers that were there
        self.waits: list[float] = []

    def run(self, arrivals: list[tuple[float, int]], *, until: float) -> None:
        """Arrivals are (time, number of a packet of one frame)."""
        queue, tick = sorted(arrivals), None
        while True:
            upcoming = queue[0][0] if queue else float("inf")
            if min(upcoming, tick if tick is not None else float("inf")) > until:
                return
            if tick is None or upcoming <= tick:
                now, number = queue.pop(0)
                if self.playout.accepts(number, 1, now):
                    self.playout.put(number, ROW, now)
                tick = self.playout.starts_at if tick is None else tick
                continue
            turn = self.playout.turn(tick)
            if turn is not None:
                self.played.append(turn.number if turn.row is not None else None)
                self.waits.append(turn.waited)
            tick += FRAME


def arrivals(count: int, *, jitter: float = 0.0, pace: float = 1.0, first: int = 0, at: float = 0.0, seed: int = 0):
    draws = random.Random(seed)
    return [(at + n * FRAME / pace + jitter * draws.random(), first + n) for n in range(count)]


def test_frames_are_played_in_order_at_the_target():
    run = Simulation(target=0.1)
    run.run(arrivals(200), until=3.9)
    assert run.played[:150] == list(range(150))
    assert run.counts.packets >= 195 and run.counts.late == run.counts.inserted == run.counts.dropped == 0
    assert all(abs(wait - 0.1) < 1e-6 for wait in run.waits[:150])


def test_what_overtakes_is_put_into_order_and_counted():
    run = Simulation(target=0.1)
    came = [(0.0, 0), (0.05, 2), (0.06, 1), (0.065, 1), (0.07, 3)]
    run.run(came, until=0.17)
    assert run.played == [0, 1, 2, 3]
    assert (run.counts.reordered, run.counts.duplicate, run.counts.packets) == (1, 1, 4)


def test_a_frame_that_comes_after_its_turn_is_lost_and_late():
    run = Simulation(target=0.04)
    came = [(n * FRAME, n) for n in range(20) if n != 5] + [(5 * FRAME + 0.1, 5)]
    run.run(came, until=0.38)
    assert run.played[4:7] == [4, None, 6]
    assert run.counts.late == 1 and run.counts.packets == 19


def test_the_target_follows_the_jitter():
    run = Simulation()
    run.run(arrivals(1000, jitter=0.05), until=19.0)
    assert 45 <= run.counts.target_ms <= 80  # 98 % of 50 ms and half a frame
    settled = run.played[500:]
    assert settled.count(None) / len(settled) < 0.02
    assert sum(run.waits[500:]) / len(settled) < 0.07


def test_the_target_falls_again():
    run = Simulation()
    came = arrivals(400, jitter=0.2) + arrivals(800, jitter=0.002, first=400, at=8.0)
    run.run(came, until=23.5)
    assert run.counts.target_ms == 20.0 and run.counts.dropped >= 3
    assert all(wait <= 0.051 for wait in run.waits[-100:] if wait)


@pytest.mark.parametrize("pace", [0.995, 1.005])
def test_a_drifting_clock_is_followed(pace):
    run = Simulation(target=0.06)
    run.run(arrivals(3000, pace=pace, jitter=0.005), until=59.0)
    moved = run.counts.inserted if pace < 1 else run.counts.dropped
    assert 10 <= moved <= 18 and run.counts.inserted * run.counts.dropped == 0  # 0.3 s of 60 are 15 frames
    assert run.counts.late == 0
    assert all(0.015 < wait < 0.13 for wait in run.waits[300:] if wait)  # the base is that of 5 s, here 25 ms old


def test_a_pause_of_the_sender_restarts_the_playout():
    run = Simulation(target=0.06)
    run.run(arrivals(100) + arrivals(100, first=100, at=2.0 + 0.8), until=4.7)
    assert run.counts.restarts == 1
    assert run.counts.late <= 10
    assert run.played[-20:] == list(range(run.played[-1] - 19, run.played[-1] + 1))


def test_after_a_delay_that_passes_the_playout_catches_up():
    run = Simulation(target=0.06)
    late = [(at + 0.9, number) for at, number in arrivals(100, first=100, at=2.0)]
    run.run(arrivals(100) + late + arrivals(250, first=200, at=4.9), until=9.8)
    assert run.counts.restarts >= 1
    assert all(wait < 0.1 for wait in run.waits[-100:] if wait)
    run = Simulation(target=0.06)
    came = arrivals(100) + late + arrivals(250, first=200, at=4.0)  # the delay is what it was before
    run.run(came, until=8.9)
    assert run.counts.dropped >= 35  # 0.9 s and what was inserted
    assert all(wait < 0.1 for wait in run.waits[-50:] if wait)


def test_a_packet_far_ahead_moves_nothing_and_ten_restart():
    run = Simulation(target=0.06)
    run.run([*arrivals(100), (0.5, 60_000)], until=1.9)
    assert run.counts.early == 1 and run.counts.restarts == 0 and None not in run.played
    assert run.counts.dropped == run.counts.inserted == 0
    run = Simulation(target=0.06)
    run.run(arrivals(50) + arrivals(100, first=60_000, at=1.0), until=2.9)
    assert run.counts.restarts == 1 and run.played[-1] > 60_000


def test_whatever_comes_memory_is_bounded():
    run = Simulation(target=0.06)
    draws = random.Random(0)
    run.run(arrivals(10), until=0.1)
    for n in range(20_000):
        number = draws.choice([draws.randrange(2**32 - 2), draws.randrange(400)])
        if run.playout.accepts(number, 1, 0.1 + n * 1e-5):
            run.playout.put(number, ROW, 0.1)
    kept = [value for value in vars(run.playout).values() if hasattr(value, "__len__")]
    assert max(map(len, kept)) <= 4096 and len(run.playout._held) <= 3 / FRAME + 1
    assert sys.getsizeof(run.playout._held) < 20_000


def test_a_halt_leaves_frames_out():
    run = Simulation(target=0.5)
    run.run(arrivals(20), until=0.1)
    run.playout.skip(5)
    assert run.playout.position == 5 and len(run.playout.ahead(2)) == 2
    turn = run.playout.turn(0.6)
    assert turn is not None and turn.number == 5


@pytest.mark.parametrize("target", [-0.1, 2.5, float("nan")])
def test_a_target_out_of_range_is_refused(target):
    with pytest.raises(InvalidValue, match="buffer_ms"):
        Playout(FRAME, ReceiverStatistics(), target=target)
