"""Transcripts in text files beside the recordings: one file for each, as in LibriTTS and VCTK."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from data.errors import DataError
from data.sources.base import Clip
from data.sources.columns.cache import listed

CHUNK = 1000  # clips whose texts are read together
READ_THREADS = 8  # a shared file system answers several requests at once
MAX_BYTES = 1 << 20  # of a transcript; a larger file is something else


def transcribed(clips: Sequence[Clip], text_of: Callable[[str], str | None]) -> Sequence[Clip]:
    """The clips with what `text_of` reads for their paths, in threads and bounded memory. Raises what it raises."""

    def with_texts() -> Iterator[Clip]:
        stream = iter(clips)
        with ThreadPoolExecutor(READ_THREADS) as pool:
            while chunk := list(islice(stream, CHUNK)):
                texts = pool.map(text_of, (clip.path for clip in chunk))
                yield from (clip._replace(text=text) for clip, text in zip(chunk, texts, strict=True))

    return listed(with_texts())


def text_beside(path: str, endings: Sequence[str]) -> str | None:
    """The transcript beside a recording: in the file of its name with the first of `endings` that is there."""
    file = Path(path)
    return next(filter(None, (read_transcript(file.with_name(file.stem + ending)) for ending in endings)), None)


def read_transcript(file: Path) -> str | None:
    """The text of a file, its lines joined by spaces; None where it is empty or not there. Raises DataError."""
    try:
        with open(file, "rb") as binary:
            data = binary.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise DataError("the transcript", file, "is larger than 1 MiB", "it should hold what one recording says")
        return " ".join(data.decode("utf-8-sig").split()) or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text at byte {error.start + 1}"
        raise DataError("the transcript", file, problem, "save it as UTF-8") from None
    except OSError as error:
        raise DataError("the transcript", file, f"cannot be read ({error.strerror or error})") from None
