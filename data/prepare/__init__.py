"""Packs audio files into tar shards: `python -m data.prepare SOURCE OUT`, or `pack` from Python.

The folder OUT gets

- shard-00000.tar and so on, each with a record of its contents (shard-00000.json);
- manifest.tsv, which lists each clip, its length, its place in a shard and its checksum;
- corpus.json, which says what the corpus was made from;
- bad_files.tsv, if there are files that cannot be read, and filtered.tsv, if clips are left out on purpose.

No file has its final name before it is complete: an interrupted run continues when it is started again.
"""

from data.prepare.command import main
from data.prepare.engines.base import Engine
from data.prepare.engines.local import LocalPool
from data.prepare.engines.ray_data import RayCluster
from data.prepare.packing import Packed, pack
from data.prepare.recipes.filters import Filters
from data.prepare.recipes.recipe import FLAC, OPUS, Encoding, Recipe

__all__ = [
    "FLAC",
    "OPUS",
    "Encoding",
    "Engine",
    "Filters",
    "LocalPool",
    "Packed",
    "RayCluster",
    "Recipe",
    "main",
    "pack",
]
