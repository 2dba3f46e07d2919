"""The clips of an evaluation: which can be read, what of them is used, how ranks share them."""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from torch.utils.data import Sampler

from data.audio.bad_files import BadFiles
from data.audio.pieces import LongClip, PieceReader
from data.datasets.checks import READ_THREADS, readable_clips
from data.datasets.crops import AudioFormat, ClipDataset
from data.datasets.pieces import PieceDataset, PieceSampler
from data.errors import DataError
from data.sampling import ShardSampler, UnsizedSampler
from data.sources.base import Clip

logger = logging.getLogger(__name__)


def evaluation_dataset(
    clips: Sequence[Clip],
    role: str,
    *,
    audio_format: AudioFormat,
    bad_files: BadFiles,
    strict: bool,
    max_seconds: float | None,
    warns: bool,
    piece_seconds: float,
    place: tuple[int, int],
) -> ClipDataset | PieceDataset:
    """The clips that can be read, cut to `max_seconds`; or for None uncut, those above `piece_seconds` in pieces.

    Args:
        clips: to choose from.
        role: what they are for, in messages.
        audio_format: of the items.
        bad_files: record of the files that cannot be used.
        strict: raise AudioReadError where a file would be reported.
        max_seconds: length that clips are cut to.
        warns: whether cutting deserves a warning, of rank 0.
        piece_seconds: length of pieces; a rank reads its own long clips once, to find out their peaks. Of clips that
            are not divided, those longer share no batch with others, which bounds its memory.
        place: rank and number of ranks.

    Raises:
        DataError: no clip can be read.
    """
    usable, lengths = readable_clips(
        clips, bad_files, strict=strict, max_seconds=max_seconds, channel=audio_format.channel
    )
    if not usable:
        problem = (
            f"none of the {len(clips)} clips for {role} can be read"
            if len(clips) > 1
            else f"the one clip for {role} cannot be read"
        )
        raise DataError(problem, remedy="see the warnings above")
    if len(usable) < len(clips):
        left_out = len(clips) - len(usable)
        logger.warning("%s: %d of %d clips cannot be read and are left out", role, left_out, len(clips))
    cut = [number for number, length in enumerate(lengths) if max_seconds is not None and length > max_seconds]
    limit = math.inf if max_seconds is None else max_seconds
    numbers = [number for number, length in enumerate(lengths) if min(length, limit) > piece_seconds]
    whole = ClipDataset(usable, audio_format, max_seconds=max_seconds, exact=max_seconds is None, cut=cut, long=numbers)
    if max_seconds is None:
        rank, ranks = place
        own = [number for number in numbers if number % ranks == rank]
        reader = PieceReader(*audio_format)
        long = scanned(usable, own, reader, seconds=piece_seconds)
        return PieceDataset(whole, usable, reader=reader, long=long) if numbers else whole
    if cut and place[0] == 0:
        if warns:
            message = "%s: %d of %d clips are longer than max_clip_seconds=%g and cut there; %.1f s are not used"
            lost = sum(lengths[number] - max_seconds for number in cut)
            logger.warning(message, role, len(cut), len(lengths), max_seconds, lost)
        _tell_dropped_texts(role, [usable[number] for number in cut], max_seconds)
    return whole


def clip_sampler(dataset: ClipDataset | PieceDataset, rank: int, world_size: int) -> Sampler[int]:
    """The items of a rank: every `world_size`-th clip, each with all its pieces."""
    count = dataset.clip_count if isinstance(dataset, PieceDataset) else len(dataset)
    clips = ShardSampler(count, rank, world_size=world_size)
    items: Sampler[int] = PieceSampler(dataset, clips) if isinstance(dataset, PieceDataset) else clips
    # Lightning skips the hooks at the end of an evaluation on a rank whose loader has length 0, while the other
    # ranks wait in their reductions. It calls them on all ranks when the loaders have no length.
    return UnsizedSampler(items) if count < world_size else items


def scanned(
    clips: Sequence[Clip], numbers: Sequence[int], reader: PieceReader, *, seconds: float
) -> dict[int, LongClip]:
    """How the clips of these numbers come in pieces of about `seconds`; they are read once, in threads."""

    def scan(number: int) -> LongClip:
        return reader.scan(clips[number].path, clips[number].segment, seconds)

    with ThreadPoolExecutor(READ_THREADS) as pool:
        found = dict(zip(numbers, pool.map(scan, numbers), strict=True))
    for number, clip in found.items():
        logger.info("%s: %.1f s, in %d pieces", clips[number].id, clip.samples / reader.rates[0], clip.pieces)
    return found


def _tell_dropped_texts(role: str, cut: Sequence[Clip], max_seconds: float) -> None:
    """One line of how many transcripts are of more than is heard of clips cut to `max_seconds`; none where no is."""
    count = sum(clip.text is not None for clip in cut)
    if count:
        message = "%s: the transcripts of %d clips that are cut to %g s are left out, as they are of more than is heard"
        logger.warning(message, role, count, max_seconds)
