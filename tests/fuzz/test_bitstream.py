"""Any bits for any codebooks: codes of those codebooks and erasures, or a ValueError."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec.channels.bitstream import bits_to_codes, codes_to_bits
from codec.quantizers.codes import code_bits
from tests.fuzz.limits import bounded_memory, fuzzed, unhurried

DTYPES = [
    torch.uint8, torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64,
]  # fmt: skip
SIZES = st.one_of(
    st.lists(st.integers(2, 2**18), min_size=1, max_size=6),
    st.lists(st.one_of(st.integers(-3, 70), st.integers(2**30, 2**70)), max_size=4),
)


@st.composite
def any_bits(draw: st.DrawFn) -> tuple[torch.Tensor, list[int]]:
    """Mostly whole frames of zeros and ones; else any shape, type and values."""
    sizes = draw(SIZES)
    sound = draw(st.booleans()) and sizes and min(sizes) >= 2
    frame = sum(code_bits([min(size, 2**62) for size in sizes])) if sound else draw(st.integers(0, 40))
    frames = draw(st.integers(0, 12))
    shape = [draw(st.integers(0, 3)), frames * frame] if draw(st.integers(0, 9)) else draw(st.lists(st.integers(0, 5)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    bits = torch.randint(2, shape, generator=generator, dtype=torch.int64)
    if draw(st.integers(0, 3)) == 0 and bits.numel():
        value = draw(
            st.one_of(st.sampled_from([float("nan"), 2, -1, 255, 1e30, 0.5]), st.integers(-(2**63), 2**63 - 1))
        )
        bits = bits.double() if isinstance(value, float) else bits
        bits.view(-1)[draw(st.integers(0, bits.numel() - 1))] = value
    dtype = draw(st.sampled_from([torch.uint8] * 10 + DTYPES))
    return bits.to(dtype), sizes


@unhurried
@fuzzed
@given(any_bits())
def test_bits_are_read_or_refused(case):
    bits, sizes = case
    try:
        with bounded_memory():
            codes, erased = bits_to_codes(bits, sizes)
    except ValueError as refusal:
        assert len(str(refusal)) > 20
        return
    frames = bits.shape[1] // sum(code_bits(sizes))
    assert codes.shape == erased.shape == (bits.shape[0], len(sizes), frames)
    assert codes.dtype == torch.int64 and erased.dtype == torch.bool
    assert not codes[erased].any()
    again = bits_to_codes(codes_to_bits(codes, sizes), sizes)
    assert torch.equal(again.codes, codes) and not again.erased.any()
    if not erased.any():
        assert torch.equal(codes_to_bits(codes, sizes), bits.to(torch.uint8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.uint64])
def test_no_bits_of_a_wrong_type_are_refused(dtype):
    with pytest.raises(ValueError, match="bits must be integers"):
        bits_to_codes(torch.zeros(1, 0, dtype=dtype), (4,))


def test_codebooks_too_large_for_a_code_are_refused():
    with pytest.raises(ValueError, match="codebook sizes"):
        code_bits((2**64,))
