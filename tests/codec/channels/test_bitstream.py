"""Bits: exact round trips, bit order, invalid codewords, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.channels.bitstream import bits_to_codes, codes_to_bits
from codec.quantizers.codes import code_bits


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(2, 2**20), min_size=1, max_size=5),
    st.integers(1, 3),
    st.integers(0, 40),
    st.integers(0, 2**31),
)
def test_codes_survive_the_round_trip(sizes, batch, frames, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(size, (batch, frames), generator=generator) for size in sizes], 1)
    bits = codes_to_bits(codes, sizes)
    assert bits.dtype == torch.uint8
    assert bits.shape == (batch, frames * sum(code_bits(sizes)))
    received = bits_to_codes(bits, sizes)
    assert torch.equal(received.codes, codes)
    assert not received.erased.any()


def test_order_is_frame_then_codebook_with_the_high_bit_first():
    codes = torch.tensor([[[1, 2], [4, 3]]])  # two codebooks of 4 and 8 entries, two frames
    assert codes_to_bits(codes, (4, 8)).tolist() == [[0, 1, 1, 0, 0, 1, 0, 0, 1, 1]]


def test_codes_as_they_are_stored_are_taken_too():
    codes = np.array([[[1, 2], [4, 3]]], dtype=np.uint16)  # what `predict` writes, and the sizes beside it
    bits = codes_to_bits(torch.from_numpy(codes), np.array([4, 8]))
    assert bits.tolist() == [[0, 1, 1, 0, 0, 1, 0, 0, 1, 1]]
    assert bits_to_codes(bits, np.array([4, 8])).codes.tolist() == codes.tolist()


def test_codewords_outside_the_codebook_are_erasures():
    bits = torch.tensor([[1, 1, 1, 0, 0, 1]], dtype=torch.uint8)  # codewords 7 and 1 of a codebook of 5
    codes, erased = bits_to_codes(bits, (5,))
    assert codes.tolist() == [[[0, 1]]]
    assert erased.tolist() == [[[True, False]]]


def test_sixteen_bits_leave_no_invalid_codeword():
    assert code_bits((4**8,)) == (16,)
    bits = torch.randint(2, (4, 16 * 50), dtype=torch.uint8)
    assert not bits_to_codes(bits, (4**8,)).erased.any()


@pytest.mark.parametrize("codes", [
    torch.tensor([[[4]]]), torch.tensor([[[-1]]]), torch.zeros(1, 2, 3, dtype=torch.long), torch.zeros(1, 1, 3),
])  # fmt: skip
def test_wrong_codes_are_refused(codes):
    with pytest.raises(ValueError, match="codes"):
        codes_to_bits(codes, (4,))


@pytest.mark.parametrize("bits", [
    torch.zeros(1, 3, dtype=torch.uint8), torch.full((1, 4), 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.uint8),
    torch.zeros(1, 4), torch.full((1, 4), -1),
])  # fmt: skip
def test_wrong_bits_are_refused(bits):
    with pytest.raises(ValueError, match="bits"):
        bits_to_codes(bits, (4,))
