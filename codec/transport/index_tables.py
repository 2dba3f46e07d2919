"""Index maps as tables of their digits, for those that a class and plain arguments do not state."""

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from codec.channels.index_maps import IndexMap
from codec.errors import InvalidValue, UnreadableFile
from codec.quantizers.base import Quantizer
from codec.quantizers.codes import code_bits


class TableMap(IndexMap):
    """The codeword of a code is put together from a table of each of its digits, least significant first.

    A digit of L values has ⌈log2 L⌉ bits; several digits must each be a power of two, as those of FSQ's codes.

    Args:
        tables: for each codebook and digit, the L values that stand for 0 … L − 1.
    """

    name = "table"

    def __init__(self, tables: Sequence[Sequence[Sequence[int]]]) -> None:
        self.tables = [[list(table) for table in digits] for digits in tables]

    def codewords(self, quantizer: Quantizer, codebook: int) -> Tensor:
        tables = self.tables[codebook] if codebook < len(self.tables) else []
        if [len(table) for table in tables] != list(quantizer.digits[codebook]):
            raise InvalidValue("The index map's tables", allowed="are of other digits than the codec's")
        for table in tables:
            if len(set(table)) < len(table) or max(table) >= 2 ** code_bits([len(table)])[0] or min(table) < 0:
                raise InvalidValue("The index map's tables", allowed="must hold different codewords of their digits")
        code = torch.arange(quantizer.codebook_sizes[codebook])
        codeword = torch.zeros_like(code)
        for table, (place, shift) in zip(tables, _places(quantizer.digits[codebook]), strict=True):
            codeword += torch.tensor(table)[code // place % len(table)] << shift
        return codeword


def table_text(codewords: Sequence[Tensor], quantizer: Quantizer) -> str:
    """JSON of an index map's tables.

    Args:
        codewords: of each codebook, int64 `[size]`.
        quantizer: whose codes they are of.

    Raises:
        InvalidValue: a codeword is not put together from digits.
    """
    tables = []
    for codebook, table in enumerate(codewords):
        digits = quantizer.digits[codebook]
        tables.append(
            [
                [int(table[value * place]) >> shift & 2 ** code_bits([size])[0] - 1 for value in range(size)]
                for size, (place, shift) in zip(digits, _places(digits), strict=True)
            ]
        )
    found = TableMap(tables)
    if any(not torch.equal(found.codewords(quantizer, k), table) for k, table in enumerate(codewords)):
        raise InvalidValue("The index map", allowed="cannot be stated in a stream", remedy="take another one")
    return json.dumps({"tables": tables}, separators=(",", ":"))


def read_tables(block: Any) -> TableMap:
    """Read what `table_text` wrote.

    Raises:
        UnreadableFile: it is nothing of that sort.
    """
    sound = isinstance(block, list) and all(isinstance(digits, list) for digits in block)
    sound = sound and all(isinstance(table, list) and table for digits in block for table in digits)
    if not sound or not all(type(v) is int and 0 <= v < 2**20 for digits in block for table in digits for v in table):
        raise UnreadableFile("The stream's header states an index map that is no table", remedy="encode it again")
    return TableMap(block)


def _places(digits: Sequence[int]) -> list[tuple[int, int]]:
    """Place value of each digit in a code, and its shift in the codeword."""
    places = list(accumulate(digits, lambda place, size: place * size, initial=1))[:-1]
    shifts = list(accumulate((code_bits([size])[0] for size in digits), initial=0))[:-1]
    return list(zip(places, shifts, strict=True))
