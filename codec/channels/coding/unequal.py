"""Unequal error protection: a code for every bit of a frame, merged into one message."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from codec.channels.coding.base import ErrorCorrection
from codec.errors import InvalidValue


class UnequalProtection(ErrorCorrection):
    """Codes each position of a frame with its own code, or sends it as it is.

    A message holds frames of n bits, one after the other; bit i is at position i mod n. The bits of all positions of
    one code are, in order, one message of that code. The coded bits of all codes are merged in proportion: bit j of the
    M of a code has the time (j + 1/2) / M, and bits are sent in the order of their times (those of the earlier code
    first where equal). They are then interleaved and spread over frames like those of one code.

    Delay: that of a code without blocks, or, if one of them has blocks, the longest wait over all of them.

    >>> UnequalProtection([Repetition(3), None], [0, 1, 1]).coded_length(6)
    10

    Args:
        codes: a ladder of codes without symbols; None sends bits uncoded.
        assignment: index into `codes` of each of the n positions.

    Raises:
        InvalidValue: an index beyond the ladder, no position, or a code with symbols.
    """

    def __init__(self, codes: Sequence[ErrorCorrection | None], assignment: Sequence[int]) -> None:
        if not assignment or not all(0 <= index < len(codes) for index in assignment):
            raise InvalidValue("assignment", list(assignment), f"must be indices of the {len(codes)} codes")
        if any(code is not None and code.symbol_bits > 1 for code in codes):
            raise InvalidValue("codes", allowed="must have no symbols", remedy="take codes of bits")
        self.codes, self.assignment = list(codes), list(assignment)
        self.period = len(assignment)
        self.used = sorted(set(assignment))
        self.positions = {index: [p for p, c in enumerate(assignment) if c == index] for index in self.used}
        rates = [1.0 if (code := codes[index]) is None else code.rate for index in assignment]
        self.rate = len(rates) / sum(1.0 / rate for rate in rates)
        repeats = [  # frames after which blocks end with frames
            code.block_bits // math.gcd(code.block_bits, len(self.positions[index]))
            for index in self.used
            if (code := codes[index]) is not None and code.block_bits
        ]
        self.block_bits = math.lcm(*repeats) * len(assignment) if repeats else None
        self.name = "unequal(" + ", ".join(f"{_spans(self.positions[i])}: {_name(codes[i])}" for i in self.used) + ")"

    def coded_length(self, length: int) -> int:
        return sum(_coded_length(self.codes[index], len(self._bits(index, length))) for index in self.used)

    def ahead(self, bits: int | None) -> int:
        """The most of its codes."""
        parts = [(self.codes[index], len(self.positions[index])) for index in self.used]
        return max(0 if code is None else code.ahead(count) for code, count in parts)

    def _bits(self, index: int, length: int) -> Tensor:
        """Places in a message of the bits of one code: int64."""
        places = torch.arange(length)
        return places[torch.isin(places % len(self.assignment), torch.tensor(self.positions[index]))]

    def _parts(self, length: int) -> list[tuple[int, Tensor, Tensor]]:
        """Of each code its index, the places of its payload bits and those of its coded bits among all sent."""
        payload = {index: self._bits(index, length) for index in self.used}
        counts = [_coded_length(self.codes[index], len(payload[index])) for index in self.used]
        times = torch.cat([(torch.arange(count, dtype=torch.float64) + 0.5) / max(count, 1) for count in counts])
        places = torch.empty(len(times), dtype=torch.long)
        places[times.argsort(stable=True)] = torch.arange(len(times))
        pairs = zip(self.used, places.split(counts), strict=True)
        return [(index, payload[index], sent) for index, sent in pairs if len(payload[index])]

    def order(self, length: int) -> tuple[Tensor, Tensor]:
        needed = torch.empty(self.coded_length(length), dtype=torch.long)
        last = torch.empty(length, dtype=torch.long)
        for index, payload, sent in self._parts(length):
            code = self.codes[index]
            steps = torch.arange(len(payload))
            own_needed, own_last = (steps, steps) if code is None else code.order(len(payload))
            needed[sent], last[payload] = payload[own_needed], sent[own_last]
        return needed, last

    def _encode(self, bits: Tensor) -> Tensor:
        length = bits.shape[1]
        sent_bits = bits.new_empty(len(bits), self.coded_length(length))
        for index, payload, sent in self._parts(length):
            code, part = self.codes[index], bits[:, payload.to(bits.device)]
            sent_bits[:, sent.to(bits.device)] = part if code is None else code._encode(part)
        return sent_bits

    def _payload_llrs(self, llrs: Tensor, length: int) -> Tensor:
        found = llrs.new_empty(len(llrs), length)
        for index, payload, sent in self._parts(length):
            code, part = self.codes[index], llrs[:, sent.to(llrs.device)]
            found[:, payload.to(llrs.device)] = part if code is None else code._payload_llrs(part, len(payload))
        return found


def _coded_length(code: ErrorCorrection | None, length: int) -> int:
    return length if code is None or not length else code.coded_length(length)


def _name(code: ErrorCorrection | None) -> str:
    return "uncoded" if code is None else code.name


def _spans(positions: Sequence[int]) -> str:
    """Positions such as 0, 1, 2, 5 as "0-2 5"."""
    parts: list[list[int]] = []
    for position in positions:
        if parts and position == parts[-1][-1] + 1:
            parts[-1].append(position)
        else:
            parts.append([position])
    return " ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)
