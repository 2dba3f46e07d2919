"""A recipe whose worker is killed in the middle of a shard, once."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from data import Clip
from data.prepare import Recipe
from data.shards.writer import Entry, Filtered


class KilledOnce(Recipe):
    """Kills its process at the first clip named 05.wav, and leaves a mark of that beside the corpus."""

    def entries(self, name: str, clip: Clip) -> Iterable[Entry | Filtered]:
        mark = Path(clip.path).parents[1] / "killed"
        if Path(clip.path).name == "05.wav" and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().entries(name, clip)
