"""Files of results: a write that fails leaves the earlier file as it was."""

from pathlib import Path
from typing import NamedTuple

import pytest

from callbacks.output.files import completed, write_csv, write_json


class Row(NamedTuple):
    """A row whose second cell can fail."""

    name: str
    value: object


class Full:
    """Fails when it is written, as a full disk does."""

    def __str__(self) -> str:
        raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path: Path) -> None:
    table, document, figure = tmp_path / "a.csv", tmp_path / "a.json", tmp_path / "a.png"
    write_csv(table, [Row("a", 1)])
    write_json(document, {"a": 1})
    figure.write_bytes(b"pixels")
    before = [path.read_bytes() for path in (table, document, figure)]
    with pytest.raises(OSError, match="No space"):
        write_csv(table, [Row("b", Full())])
    with pytest.raises(ValueError, match="JSON"):
        write_json(document, {"b": float("nan")})
    with pytest.raises(OSError, match="No space"), completed(figure) as partial:
        assert partial.suffix == ".png"  # libraries choose the format by it
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert [path.read_bytes() for path in (table, document, figure)] == before
    assert len(list(tmp_path.iterdir())) == 3
