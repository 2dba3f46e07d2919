"""Rate allocation: the code of every bit of a frame that loses least under a budget of channel bits."""

import csv
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from codec.channels.base import check_share
from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.unequal import UnequalProtection
from codec.channels.pretrained_files import file_or_pretrained
from codec.errors import InvalidValue, UnreadableFile

TRIALS = 65_000  # payload bits over which a code's residual error rate is measured
MESSAGE = 1000  # payload bits of a message then


class OptimizedProtection(ErrorCorrection):
    """Unequal error protection that a link fits to its codec: the allocation of least loss within a budget.

    With s_i the loss per flip of bit i and P_c the share of bits that code c leaves wrong, it minimises

        Σ_i s_i P_c(i)   subject to   coded bits ≤ rate_budget · payload bits,

    counted for a message of `frames` frames with the codes' termination and padding, over all assignments of codes to
    bits (`best_allocation`, exact). P_c is measured by decoding 65,000 seeded payload bits behind flips of
    `error_rate`, which the receiver knows, bits that it cannot decide counted as half wrong.

    Until a link fits it, it cannot code. Afterwards it is an `UnequalProtection`, whose name says which bit has which
    code, and whose delay is that of its codes.

    Args:
        codes: the ladder; None in it is uncoded.
        rate_budget: channel bits per payload bit, at most.
        error_rate: p, of the channel for which it is optimised; the channel used may be another.
        sensitivities: a file written by `callbacks.BitSensitivity` (sensitivity.csv), or the name of a pretrained codec
            that has one, such as "small_fsq"; None for the displacement of the latent by a flip (`bit_displacements`).
        metric: of the file, whose loss is taken; losses below 0 count as 0.
        frames: of a message, for the budget.

    Raises:
        InvalidValue: a number is out of range, or no allocation fits the budget.
        UnreadableFile: there is no such file, or it has no losses of this metric for all bits.
    """

    def __init__(
        self,
        codes: Sequence[ErrorCorrection | None],
        rate_budget: float = 2.0,
        *,
        error_rate: float = 0.05,
        sensitivities: str | Path | None = None,
        metric: str = "stoi",
        frames: int = 250,
    ) -> None:
        if not codes:
            raise InvalidValue("codes", list(codes), "must be at least one", "add null for uncoded bits")
        if not 1.0 <= rate_budget < float("inf"):
            raise InvalidValue("rate_budget", rate_budget, "must be at least 1 channel bit per payload bit", "take 2.0")
        if frames < 1:
            raise InvalidValue("frames", frames, "must be at least 1", "take 250")
        self.codes, self.rate_budget, self.frames = list(codes), rate_budget, frames
        self.error_rate = check_share("error_rate", error_rate)
        self.file = None if sensitivities is None else str(sensitivities)
        self.metric, self.rate, self.name = metric, 1.0 / rate_budget, f"optimized-{rate_budget:g}-{error_rate:g}"

    def fitted(self, sensitivities: Callable[[], Tensor]) -> ErrorCorrection:
        """The allocation for the bits of a codec's frame.

        Args:
            sensitivities: gives the displacement of the latent by a flip of each bit, float64 `[n]`.
        """
        weights = sensitivities()
        if self.file is not None:
            weights = read_sensitivities(self.file, self.metric, len(weights))
        shares = [residual_error_rate(code, self.error_rate) for code in self.codes]
        chosen = best_allocation(
            weights.tolist(), shares, self.codes, budget=int(self.rate_budget * self.frames * len(weights) + 1e-6),
            frames=self.frames,
        )  # fmt: skip
        return UnequalProtection(self.codes, chosen)

    def coded_length(self, length: int) -> int:
        raise _unfitted()

    def _encode(self, bits: Tensor) -> Tensor:
        raise _unfitted()

    def _payload_llrs(self, llrs: Tensor, length: int) -> Tensor:
        raise _unfitted()


def best_allocation(
    sensitivities: Sequence[float],
    error_rates: Sequence[float],
    codes: Sequence[ErrorCorrection | None],
    *,
    budget: int,
    frames: int,
) -> list[int]:
    """Index of the code of each bit, which minimises Σ s_i P_c(i) with at most `budget` coded bits.

    Exact: if codes have certain numbers of bits each, the most sensitive bits have the codes of the smallest error
    rates (exchanging two never helps otherwise), so bits in falling order of s are cut into one run for each code in
    rising order of P. Dynamic programming over codes and cuts keeps every pair of cost and loss that no other one
    beats in both. Of equal losses the cheaper is taken.

    Args:
        sensitivities: s, of each of the n bits, 0 or more.
        error_rates: P, of each code.
        codes: the ladder.
        budget: coded bits of a message of `frames` frames.
        frames: of the message; m positions of a code are a message of frames · m bits.

    Raises:
        InvalidValue: no allocation fits.
    """
    size = len(sensitivities)
    bits = sorted(range(size), key=lambda bit: (-sensitivities[bit], bit))
    sums = [0.0]
    for bit in bits:
        sums.append(sums[-1] + max(float(sensitivities[bit]), 0.0))
    ladder = sorted(range(len(codes)), key=lambda index: (error_rates[index], index))
    fronts: list[list[tuple[float, int, tuple[int, ...]]]] = [[] for _ in range(size + 1)]  # loss, cost, cuts
    fronts[0] = [(0.0, 0, ())]
    for index in ladder:
        code = codes[index]
        costs = [0] + [frames * m if code is None else code.coded_length(frames * m) for m in range(1, size + 1)]
        grown: list[list[tuple[float, int, tuple[int, ...]]]] = []
        for stop in range(size + 1):
            found = []
            for start in range(stop + 1):
                loss = error_rates[index] * (sums[stop] - sums[start])
                found += [(a + loss, b + costs[stop - start], (*cuts, stop)) for a, b, cuts in fronts[start]]
            grown.append(_undominated(found, budget))
        fronts = grown
    if not fronts[size]:
        allowed = f"is less than any of the codes needs for {size} bits a frame"
        raise InvalidValue("rate_budget", budget / (frames * size), allowed, "add null, which is uncoded, to the codes")
    _, _, cuts = fronts[size][0]
    chosen, start = [0] * size, 0
    for index, stop in zip(ladder, cuts, strict=True):
        for bit in bits[start:stop]:
            chosen[bit] = index
        start = stop
    return chosen


def _undominated(
    found: list[tuple[float, int, tuple[int, ...]]], budget: int
) -> list[tuple[float, int, tuple[int, ...]]]:
    """Those within the budget than which none is better in loss and cost, by rising loss."""
    kept: list[tuple[float, int, tuple[int, ...]]] = []
    for one in sorted(found):
        if one[1] <= budget and (not kept or one[1] < kept[-1][1]):
            kept.append(one)
    return kept


def residual_error_rate(code: ErrorCorrection | None, error_rate: float) -> float:
    """Share of payload bits that a code leaves wrong behind flips of this rate, which the receiver knows.

    Measured over `TRIALS` bits in messages of `MESSAGE`, from a generator of its own; bits left at 0.5 are half wrong.
    """
    if code is None:
        return error_rate
    return _measured(code.name, code, error_rate)


@lru_cache(maxsize=256)
def _measured(name: str, code: ErrorCorrection, error_rate: float) -> float:
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(2, (TRIALS // MESSAGE, MESSAGE), generator=generator, dtype=torch.uint8)
    sent = code.encode(bits)
    flips = torch.rand(sent.shape, generator=generator, dtype=torch.float64) < error_rate
    ones = code.decode(sent ^ flips, MESSAGE, error_rate=error_rate).double()
    wrong = torch.where(ones == 0.5, 0.5, ((ones > 0.5) != bits).double())
    return float(wrong.mean())


def read_sensitivities(file: str | Path, metric: str, count: int) -> Tensor:
    """Loss of a metric per flip of each of `count` bits, 0 or more: float64 `[count]`; see `OptimizedProtection`."""
    path = file_or_pretrained(file, ".sensitivity.csv")
    if not path.is_file():
        remedy = "measure them with configs/evaluate/sensitivity.yaml"
        raise UnreadableFile("There are no sensitivities", str(file), remedy=remedy)
    found: dict[str, float] = {}
    try:
        with path.open(newline="", encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                if row["metric"] == metric and row["part"].startswith("bit "):
                    found[row["part"]] = max(float(row["loss"]) / float(row["flip_rate"]), 0.0)
        values = [found[f"bit {bit}"] for bit in range(count)]
        if len(found) != count or not all(value < float("inf") for value in values):
            raise KeyError(f"{len(found)} bits")
    except (KeyError, ValueError, TypeError, ZeroDivisionError, OSError, csv.Error) as error:
        allowed = f"has no losses of {metric} for each of {count} bits"
        raise UnreadableFile(str(path), allowed=allowed, remedy="measure them for this codec and metric") from error
    return torch.tensor(values, dtype=torch.float64)


def _unfitted() -> InvalidValue:
    return InvalidValue("OptimizedProtection", allowed="is fitted to a codec by a link", remedy="use it as Link.code")
