"""Codes to bits and back: the only place that knows bit order (frame, then codebook, high bit first)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from codec.errors import InvalidValue
from codec.quantizers.codes import checked_codes, code_bits

INTEGERS = (torch.uint8, torch.bool, torch.int8, torch.int16, torch.int32, torch.int64)


class BitstreamResult(NamedTuple):
    """Codes read from bits.

    Attributes:
        codes: int64 `[B, K, F]`; 0 where erased.
        erased: bool `[B, K, F]`; True where the codeword stands for no codebook entry.
    """

    codes: Tensor
    erased: Tensor


def codes_to_bits(codes: Tensor, codebook_sizes: Sequence[int]) -> Tensor:
    """Write codes as natural binary codewords of ⌈log2(size)⌉ bits, high bit first.

    >>> codes_to_bits(torch.tensor([[[5], [1]]]), (8, 4)).tolist()
    [[1, 0, 1, 0, 1]]

    Args:
        codes: int64 `[B, K, F]` or any integers, codebook k's entries in 0 … `codebook_sizes[k]` − 1.
        codebook_sizes: entries of each of the K codebooks.

    Returns:
        uint8 `[B, F * bits_per_frame]` of zeros and ones.

    Raises:
        InvalidValue: wrong shape or dtype, or a code outside its codebook.
    """
    widths = code_bits(codebook_sizes)
    codes = checked_codes(codes, codebook_sizes)
    if codes.shape[1] != len(widths):
        raise InvalidValue(
            "codes of shape", list(codes.shape), f"must be [B, {len(widths)}, F]", "pass the codes of all codebooks"
        )
    codewords = [
        codes[:, k, :, None] >> torch.arange(width - 1, -1, -1, device=codes.device) & 1
        for k, width in enumerate(widths)
    ]  # each [B, F, width]
    return torch.cat(codewords, -1).to(torch.uint8).flatten(1)


def bits_to_codes(bits: Tensor, codebook_sizes: Sequence[int]) -> BitstreamResult:
    """Read codes from bits; a codeword that stands for no codebook entry becomes an erasure.

    >>> bits_to_codes(torch.tensor([[1, 1, 1, 0, 0, 1]], dtype=torch.uint8), (5,)).erased.tolist()
    [[[True, False]]]

    Args:
        bits: uint8 `[B, F * bits_per_frame]` of zeros and ones.
        codebook_sizes: entries of each of the K codebooks.

    Raises:
        InvalidValue: not whole frames, or values other than 0 and 1.
    """
    widths = code_bits(codebook_sizes)
    if bits.ndim != 2 or bits.shape[1] % sum(widths):
        raise InvalidValue("bits of shape", list(bits.shape), f"must be [B, N] with N a multiple of {sum(widths)}")
    if bits.dtype not in INTEGERS:
        raise InvalidValue("bits", allowed=f"must be integers 0 or 1, not {bits.dtype}", remedy="convert them to uint8")
    if bool(((bits > 1) | (bits < 0)).any()):
        raise InvalidValue(
            "bits", allowed=f"must be integers 0 or 1, not from {bits.min().item()} to {bits.max().item()}"
        )
    frames = bits.unflatten(1, (-1, sum(widths))).long()  # [B, F, bits_per_frame]
    codes = []
    for codeword in frames.split(widths, -1):
        shift = torch.arange(codeword.shape[-1] - 1, -1, -1, device=bits.device)
        codes.append((codeword << shift).sum(-1))
    received = torch.stack(codes, 1)  # [B, K, F]
    erased = received >= torch.tensor(codebook_sizes, device=bits.device)[:, None]
    return BitstreamResult(received.masked_fill(erased, 0), erased)
