"""Any checkpoint: a codec with its weights, or a ValueError that names the file, with bounded memory."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec.checkpoints.building import build_codec
from codec.checkpoints.reading import load_codec, read_checkpoint
from codec.codec import NeuralCodec
from tests.codec.checkpoints.test_checkpoint import CONFIG
from tests.fuzz.limits import bounded_memory, fuzzed, unhurried


def written(content: Any) -> bytes:
    """A checkpoint file's bytes."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def valid_content() -> dict[str, Any]:
    """What a run writes, as far as loading a codec needs it."""
    state = {f"codec.{name}": value for name, value in build_codec(CONFIG).state_dict().items()}
    return {"state_dict": state, "model_config": {"init_args": {"codec": CONFIG}}}


VALID = written(valid_content())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file with bytes changed, cut off, left out, repeated or zeroed."""
    content = bytearray(VALID)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.one_of(st.integers(0, len(content)), st.integers(0, 4000), st.integers(-4000, 0)))
        stop = start + draw(st.integers(0, 64))
        kind = draw(st.sampled_from(["change", "change", "cut", "leave out", "repeat", "zero", "insert"]))
        if kind == "change" and content:
            content[start % len(content)] = draw(st.integers(0, 255))
        elif kind == "cut":
            del content[start:]
        elif kind == "leave out":
            del content[start:stop]
        elif kind == "repeat":
            content[stop:stop] = content[start:stop]
        elif kind == "zero":
            content[start:stop] = bytes(len(content[start:stop]))
        else:
            content[start:start] = draw(st.binary(max_size=20))
    return bytes(content)


HUGE = st.sampled_from([2**20, 10**9, 2**31, 2**40, 2**63, 10**30])
TENSORS = st.one_of(
    st.lists(st.integers(0, 3), max_size=4).map(torch.zeros),
    st.integers(1, 2**40).map(lambda size: torch.zeros(1).expand(size)),  # a huge shape over four bytes
    st.sampled_from([torch.float16, torch.int64, torch.bool, torch.complex64]).map(lambda t: torch.zeros(2, dtype=t)),
    st.just(torch.zeros(2).to_sparse()),
)
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), HUGE, st.floats(), st.text(max_size=8), TENSORS, st.just(CONFIG),
    st.sampled_from(["codec.FSQ", "codec.NeuralCodec", "torch.nn.Linear", "os.system", "no.such", "codec.RVQ"]),
)  # fmt: skip
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(["codec", "init_args", "class_path", "codec.x", "dim"]), st.integers()),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


def places(block: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each entry of nested dictionaries and lists."""
    items = block.items() if isinstance(block, dict) else enumerate(block) if isinstance(block, list) else ()
    return [way for key, value in items for way in [(*prefix, key), *places(value, (*prefix, key))]]


def replaced(block: Any, way: tuple[Any, ...], value: Any) -> Any:
    """A copy of nested dictionaries and lists with one entry changed."""
    if not way:
        return value
    copy = dict(block) if isinstance(block, dict) else list(block)
    copy[way[0]] = replaced(block[way[0]], way[1:], value)
    return copy


@st.composite
def foreign(draw: st.DrawFn) -> bytes:
    """A complete file that holds something else: any content, or a valid one with one entry changed."""
    content = valid_content()
    if draw(st.integers(0, 4)) == 0:
        return written(draw(NESTED))
    way = draw(st.sampled_from(places(content)))
    value = draw(HUGE) if draw(st.integers(0, 3)) == 0 else draw(NESTED)
    return written(replaced(content, way, value))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the cases are written, one after the other."""
    return tmp_path_factory.mktemp("checkpoints") / "a.ckpt"


def load_or_refuse(file: Path, content: bytes) -> NeuralCodec | None:
    """The codec of a file that holds `content`; None after a refusal that names the file."""
    file.unlink(missing_ok=True)  # never rewrite a file that an earlier case has mapped into memory
    file.write_bytes(content)
    try:
        with bounded_memory():
            return load_codec(file)
    except ValueError as refusal:
        assert str(file) in str(refusal), refusal
        assert len(str(refusal)) < 2000
        return None


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of odd pickles
@unhurried
@fuzzed
@given(content=st.one_of(damaged(), foreign(), st.binary(max_size=300)))
def test_a_checkpoint_is_loaded_or_refused(file: Path, content: bytes) -> None:
    codec = load_or_refuse(file, content)
    if codec is not None:
        assert codec(torch.zeros(1, 1, 640)).audio.shape == (1, 1, 640)


@pytest.mark.filterwarnings("ignore")
@unhurried
@fuzzed
@given(content=damaged())
def test_damage_is_survived_without_checksums_too(file: Path, content: bytes) -> None:
    file.unlink(missing_ok=True)
    file.write_bytes(content)
    try:
        with bounded_memory():
            assert "state_dict" in read_checkpoint(file, check=False)
    except ValueError as refusal:
        assert str(file) in str(refusal), refusal


@pytest.mark.parametrize("name", ["encoder", "decoder"])
@pytest.mark.parametrize("option", ["width", "depth", "dim", "hop_length"])
def test_a_huge_declared_codec_is_refused_before_it_is_built(file: Path, name: str, option: str) -> None:
    way: tuple[Any, ...] = ("model_config", "init_args", "codec", "init_args", name, "init_args")
    if name == "decoder" and option != "hop_length":
        way = (*way, "backbone", "init_args")
    content = valid_content()
    options: Callable[..., Any] = content
    for key in way:
        options = options[key]  # type: ignore[index]
    assert load_or_refuse(file, written(replaced(content, way, {**options, option: 10**9}))) is None  # type: ignore


def test_the_valid_file_is_loaded(file: Path) -> None:
    assert load_or_refuse(file, VALID) is not None
