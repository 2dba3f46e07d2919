"""Coding gain of the error-correcting codes over BPSK and white noise, and the time of BCJR decoding.

    python -m tests.benchmarks.fec [BITS]

At a bit error rate of 1e-3 uncoded BPSK needs Eb/N0 = 6.79 dB. Jacobs ("Practical applications of coding", IEEE
Trans. Information Theory, 1974) lists what soft decisions of eight levels gain on it: 3.8 dB at rate 1/2 and K = 7,
3.3 dB at K = 5, 4.2 dB at rate 1/3 and K = 7. Heller and Jacobs ("Viterbi decoding for satellite and space
communication", IEEE Trans. Communication Technology, 1971) put the loss of eight levels at 0.25 dB and that of hard
decisions at about 2 dB, both against unquantized ones.
"""

import math
import statistics
import sys
import time

import torch
from torch import Tensor

from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.block_codes import Hamming74, Repetition
from codec.channels.coding.convolutional import ConvolutionalCode

TARGET = 1e-3
LEVEL_LOSS = 0.25  # dB


def transmit(bits: Tensor, es_n0_db: float, levels: int | None, generator: torch.Generator) -> Tensor:
    """BPSK over white noise: hard decisions (2 levels) or probabilities of a one (8 levels; None for unquantized).

    Probabilities are float64, which no ratio below 36 rounds to a certain bit.
    """
    deviation = math.sqrt(0.5) * 10 ** (-es_n0_db / 20)
    received = 1 - 2 * bits.double() + deviation * torch.randn(bits.shape, generator=generator, dtype=torch.float64)
    if levels == 2:
        return (received < 0).to(torch.uint8)
    if levels == 8:  # steps of half a deviation, each worth as much as its distance from zero
        received = deviation**2 * (torch.floor(2 * received / deviation) + 0.5).clamp(-3.5, 3.5)
    return torch.sigmoid(-2 * received / deviation**2)


def hard_error_rate(es_n0_db: float) -> float:
    """Share of hard decisions that are wrong over BPSK and white noise."""
    return 0.5 * math.erfc(10 ** (es_n0_db / 20))


def bit_errors(
    code: ErrorCorrection, eb_n0_db: float, *, levels: int | None, bits: int, seed: int = 0
) -> tuple[int, int]:
    """Payload bits received wrong and sent, in messages of 2000, at least `bits` of them; decisions by posterior."""
    generator = torch.Generator().manual_seed(seed)
    es_n0_db = eb_n0_db + 10 * math.log10(code.rate)
    error_rate = hard_error_rate(es_n0_db)
    wrong = sent = 0
    while sent < bits:
        payload = torch.randint(2, (128, 2000), generator=generator, dtype=torch.uint8)
        received = transmit(code.encode(payload), es_n0_db, levels, generator)
        ones = code.decode(received, payload.shape[1], error_rate=error_rate)
        wrong += int(((ones > 0.5) != payload).sum())
        sent += payload.numel()
    return wrong, sent


def needed_eb_n0_db(code: ErrorCorrection, around: float, *, levels: int | None, bits: int) -> float:
    """Eb/N0 of a bit error rate of 1e-3, on the line through log rates measured 0.2 dB on either side of `around`."""
    counts = [bit_errors(code, around + offset, levels=levels, bits=bits) for offset in (-0.2, 0.2)]
    if min(wrong for wrong, _ in counts) < 300:
        raise RuntimeError(f"{code.name} at {around} dB: errors {counts} are too few; send more bits.")
    low, high = (math.log10(wrong / sent) for wrong, sent in counts)
    return around - 0.2 + 0.4 * (low - math.log10(TARGET)) / (low - high)


def decoding_seconds(code: ErrorCorrection, length: int, batch: int, runs: int) -> float:
    """Median seconds of one soft decoding."""
    generator = torch.Generator().manual_seed(0)
    payload = torch.randint(2, (batch, length), generator=generator, dtype=torch.uint8)
    received = transmit(code.encode(payload), 0.0, None, generator)
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        code.decode(received, length)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main(bits: int) -> None:
    torch.set_num_threads(1)
    seven, five = ConvolutionalCode(), ConvolutionalCode(("23", "35"))
    third = ConvolutionalCode(("133", "145", "175"))
    print(f"Eb/N0 for a bit error rate of {TARGET:g} over at least {bits} bits a point\n")
    print(f"{'code':<26} {'levels':>6} {'measured':>9} {'expected':>9} {'gain':>8}")
    for code, levels, expected in (
        (Repetition(1), 2, 6.79), (Repetition(3), None, 6.79), (Hamming74(), 2, hamming_eb_n0_db()),
        (seven, None, 3.0 - LEVEL_LOSS), (seven, 8, 3.0), (seven, 2, 3.0 - LEVEL_LOSS + 2.0),
        (five, None, 3.5 - LEVEL_LOSS), (five, 8, 3.5), (third, None, 2.6 - LEVEL_LOSS), (third, 8, 2.6),
    ):  # fmt: skip
        found = needed_eb_n0_db(code, expected, levels=levels, bits=bits)
        print(f"{code.name:<26} {levels or 'all':>6} {found:6.2f} dB {expected:6.2f} dB {6.79 - found:5.2f} dB")
    print(f"\nBCJR, K = 7, rate 1/2, one thread\n\n{'payload bits':>12} {'batch':>6} {'seconds':>8}")
    for length, batch in ((8000, 1), (8000, 8), (8000, 24), (480_000, 1)):
        print(f"{length:>12} {batch:>6} {decoding_seconds(seven, length, batch, 5 if length < 10_000 else 1):8.3f}")


def hamming_bit_error_rate(p: float) -> float:
    """Payload bit error rate of hard-decoded Hamming(7,4) at channel error rate p.

    An error pattern is decoded to the codeword within distance 1, of weight 0, 3, 4 or 7, and leaves that many of the
    seven bits wrong. Summed over the patterns of one weight these are 21 · 3 bits at weight 2, 7 · 3 + 28 · 4 at 3,
    28 · 3 + 7 · 4 at 4, 21 · 4 at 5, 7 · 7 at 6 and 7 at 7. The code's symmetries move any bit to any place, so the
    payload has its share of them.
    """
    bits = {2: 63, 3: 133, 4: 112, 5: 84, 6: 49, 7: 7}
    return sum(count * p**weight * (1 - p) ** (7 - weight) for weight, count in bits.items()) / 7


def hamming_eb_n0_db() -> float:
    """Eb/N0 at which hard-decoded Hamming(7,4) has a bit error rate of 1e-3, by bisection of the closed form."""
    low, high = 0.0, 12.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        p = hard_error_rate(middle + 10 * math.log10(4 / 7))
        low, high = (middle, high) if hamming_bit_error_rate(p) > TARGET else (low, middle)
    return low


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4_000_000)
