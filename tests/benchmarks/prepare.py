"""Measures `data.prepare` on a local Ray cluster against the local pool: `python -m tests.benchmarks.prepare`.

Both resample the same files to FLAC with the same number of workers, in turns; all shards are compared.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

from data import FolderSource
from data.prepare import FLAC, Engine, LocalPool, RayCluster, Recipe, pack
from data.prepare.engines.ray_data import import_ray
from tests.support.speech import write_noise


def measure(
    folder: Path, *, files: int, seconds: float, workers: int, pairs: int, shard_mb: float
) -> dict[str, list[float]]:
    """{engine: seconds of each run}. The first run, not counted, starts Ray's workers."""
    for number in range(files):
        write_noise(folder / f"in/{number:04}.flac", seconds + number % 7, rate=24_000)
    source, recipe = FolderSource(str(folder / "in")), Recipe(FLAC, 16_000)
    engines: dict[str, Engine] = {"pool": LocalPool(workers), "Ray": RayCluster(workers=workers)}
    took: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(-1, pairs):
        results = []
        for name, engine in engines.items():
            out = folder / f"{name}{turn}"
            started = time.perf_counter()
            pack(source, out, recipe=recipe, shard_bytes=round(shard_mb * 1e6), engine=engine)
            if turn >= 0:
                took[name].append(time.perf_counter() - started)
            results.append({path.name: path.read_bytes() for path in out.iterdir()})
        assert results[0] == results[1], "the engines gave different shards"
    return took


def main() -> None:
    """Print hours of audio per hour for both, from the fastest run of each, and how long Ray takes to start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--shard-mb", type=float, default=5.0, help="of source files (default: %(default)s)")
    options = parser.parse_args()
    ray, started = import_ray(), time.perf_counter()
    ray.init(
        "local", num_cpus=options.workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    start = time.perf_counter() - started
    try:
        with tempfile.TemporaryDirectory() as folder:
            took = measure(Path(folder), **vars(options))
    finally:
        ray.shutdown()
    audio = options.files * (options.seconds + 3)
    pool, cluster = (audio / min(took[name]) for name in ("pool", "Ray"))
    print(
        f"{options.workers} workers, {audio / 3600:.2f} h of 24 kHz FLAC to 16 kHz, best of {options.pairs}: ",
        end="",
    )
    print(f"{pool:.0f} times real time in the pool, {cluster:.0f} on Ray ({cluster / pool:.2f}); ", end="")
    print(f"Ray starts in {start:.0f} s")


if __name__ == "__main__":
    main()
