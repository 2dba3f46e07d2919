"""Plans: the names of the one rule, in bounded memory, the same for lists of any kind."""

import random
import tracemalloc
from collections.abc import Sequence
from pathlib import PurePosixPath

import pytest

from data import Clip
from data.prepare.plan import Plan, _plain

PARTS = ["a", "b.wav", "b.flac", "b.flac_.flac", "b.flac_.flac_.flac", "..", ".", ".hidden", "x y.wav", "x\ty.wav",
         "x_y.wav", "é.wav", "caf\udce9.wav", "n.", "n..wav", "-1.opus", ""]  # fmt: skip


def names_by_the_rule(ids: Sequence[str], extension: str | None) -> list[str]:
    """A name that a clip before has taken gets the suffix once more."""
    taken: list[str] = []
    for id in ids:
        path = _plain(id)
        wanted = path if extension is None else path.with_suffix(extension)
        while str(wanted) in taken:
            wanted = path = path.with_name(f"{path.name}_{wanted.suffix}")
        taken.append(str(wanted))
    return taken


@pytest.mark.parametrize("extension", [None, ".flac"])
def test_names_are_unique_and_those_of_the_rule(extension: str | None) -> None:
    draw = random.Random(0)
    for _ in range(100):
        ids = {"/".join(draw.choices(PARTS, k=draw.randint(1, 3))) for _ in range(30)}
        ids = sorted(id for id in ids if _plain(id).name)
        draw.shuffle(ids)
        plan = Plan([Clip(id, id) for id in ids], extension, shard_bytes=1)
        names = [plan.name(place) for place in range(plan.total)]
        assert names == names_by_the_rule(ids, extension)
        assert len(set(names)) == len(names) and not any(".." in PurePosixPath(name).parts for name in names)


class Rows(Sequence[Clip]):
    """A long list of which no clip is held."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place):
        if place >= self.count:
            raise IndexError(place)
        return Clip(f"/corpus/x.tar/speaker/{place}.wav#512+1000", f"speaker/{place}.wav", 1.0)


def test_a_long_list_is_planned_in_little_memory() -> None:
    tracemalloc.start()
    plan = Plan(Rows(5000), ".flac", shard_bytes=10**6)
    tasks = sum(len(task.clips) for task in plan.tasks())
    fingerprint = plan.fingerprint()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tasks == 5000 and len(plan) == 5 and plan.count(0) == 1000 and len(fingerprint) == 64
    assert peak < 5000 * 120 + 10**6  # a list of clips takes 400 bytes for each, and a task a thousand clips
