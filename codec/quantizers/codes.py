"""Codes of one or several codebooks: how many bits each takes, and checks of codes that come from outside."""

from collections.abc import Sequence

import torch
from torch import Tensor

from codec.errors import InvalidValue

LARGEST_CODEBOOK = 2**62  # a code and its place value fit int64


def code_bits(codebook_sizes: Sequence[int]) -> tuple[int, ...]:
    """Bits of each codebook's codewords, ⌈log2(size)⌉.

    Raises:
        InvalidValue: no codebook, or one of fewer than 2 or more than 2^62 entries.
    """
    sizes = [int(size) for size in codebook_sizes]
    if not sizes or min(sizes) < 2 or max(sizes) > LARGEST_CODEBOOK:
        raise InvalidValue("codebook sizes", sizes, "must each be from 2 to 2 ** 62")
    return tuple((size - 1).bit_length() for size in sizes)


def check_stages(codes: Tensor, codebook_sizes: Sequence[int], *, remedy: str = "") -> None:
    """Check that codes `[B, k, F]` are those of the first k of K codebooks, 1 ≤ k ≤ K.

    Raises:
        InvalidValue: another number of dimensions or of codebooks.
    """
    if codes.ndim != 3 or not 1 <= codes.shape[1] <= len(codebook_sizes):
        allowed = f"must be [B, K, F] of the first 1 to {len(codebook_sizes)} codebooks"
        raise InvalidValue("codes of shape", list(codes.shape), allowed, remedy)


def checked_codes(codes: Tensor, codebook_sizes: Sequence[int], erased: Tensor | None = None) -> Tensor:
    """Codes `[B, K, F]` as int64, 0 where erased.

    Under `torch.compile` and `torch.export` the values are not checked, as that would break the graph.

    Args:
        codes: any integers, of all codebooks or of the first ones.
        codebook_sizes: entries of each codebook.
        erased: bool `[B, K, F]`; the values of erased codes are ignored.

    Raises:
        InvalidValue: no integers, another number of codebooks, a code outside its codebook that is not erased, or
            `erased` of another shape or type.
    """
    remedy = "pass what this codec's `encode`, or `bits_to_codes` with its codebook_sizes, returned"
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise InvalidValue("codes are", codes.dtype, "but must be integers", remedy)
    check_stages(codes, codebook_sizes, remedy=remedy)
    if erased is not None and not isinstance(erased, Tensor):
        raise InvalidValue(
            f"erased is a {type(erased).__name__}",
            allowed="but must be a bool tensor of the codes' shape",
            remedy="give the frames of each clip by name: decode(codes, lengths=...)",
        )
    if erased is not None and (erased.shape != codes.shape or erased.dtype != torch.bool):
        raise InvalidValue(
            f"erased of shape {list(erased.shape)} and {erased.dtype}",
            allowed=f"must be torch.bool of the codes' shape {list(codes.shape)}",
            remedy="pass what `bits_to_codes` returned",
        )
    codes = codes.long() if erased is None else codes.long().masked_fill(erased, 0)
    limits = torch.tensor(codebook_sizes[: codes.shape[1]], device=codes.device)[:, None]
    if not torch.compiler.is_compiling() and bool(((codes < 0) | (codes >= limits)).any()):
        raise InvalidValue(
            f"codes from {int(codes.min())} to {int(codes.max())}",
            allowed=f"must lie within codebooks of {list(codebook_sizes)} entries, counted from 0, unless they are "
            "erased",
            remedy=remedy,
        )
    return codes
