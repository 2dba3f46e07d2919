"""Anti-aliased SnakeBeta on CUDA: one Triton kernel forward and one backward, which read and write each number once.

Each thread computes eight neighbouring outputs. It reads them and eight samples on either side as whole vectors, keeps
the signal at the doubled rate in registers, and so takes each sine 1.75 times per sample instead of twelve times.
Pair n holds the samples 2n (even) and 2n + 1 (odd) at the doubled rate. The filter has 12 taps. All arithmetic is in
float32, whatever the type of the audio.
"""
# Kernels are written in Triton's language, which has no type annotations and no unpacking.
# mypy: ignore-errors
# ruff: noqa: RUF005

import torch
import triton
import triton.language as tl
from torch import Tensor

TAPS = 12
OUTPUTS = tl.constexpr(8)  # of a thread
REACH = tl.constexpr(8)  # samples read on either side of them
THREADS = 128


@triton.jit
def _split(block, threads: tl.constexpr):
    """Contiguous `[8 * threads]` to a tuple of eight `[threads]`: entry k holds the samples 8t + k."""
    even, odd = tl.split(tl.reshape(block, (threads, 4, 2)))
    a, b = tl.split(tl.reshape(even, (threads, 2, 2)))
    c, d = tl.split(tl.reshape(odd, (threads, 2, 2)))
    x0, x4 = tl.split(a)
    x2, x6 = tl.split(b)
    x1, x5 = tl.split(c)
    x3, x7 = tl.split(d)
    return x0, x1, x2, x3, x4, x5, x6, x7


@triton.jit
def _join(x):
    """Inverse of `_split`."""
    even = tl.interleave(tl.interleave(x[0], x[4]), tl.interleave(x[2], x[6]))
    odd = tl.interleave(tl.interleave(x[1], x[5]), tl.interleave(x[3], x[7]))
    return tl.interleave(even, odd)


@triton.jit
def _window(pointer, start, length, first, last, threads: tl.constexpr):
    """Samples −8 … 15 around each thread's first, as a tuple of 24; `first` and `last` stand for those outside."""
    samples = ()
    for part in tl.static_range(3):
        time = start + (part - 1) * OUTPUTS + tl.arange(0, OUTPUTS * threads)
        values = tl.load(pointer + time, mask=(time >= 0) & (time < length), other=0.0).to(tl.float32)
        values = tl.where(time < 0, first, tl.where(time < length, values, last))
        samples = samples + _split(values, threads)
    return samples


@triton.jit
def _taps(pointer):
    taps = ()
    for tap in tl.static_range(12):
        taps = taps + (tl.load(pointer + tap),)
    return taps


@triton.jit
def _up_pair(x, h, at: tl.constexpr):
    """Pair number `at` of a signal with zeros inserted after each of its samples `x`, filtered by `h`."""
    even = x[at - 3] * h[11]
    odd = x[at - 2] * h[10]
    for step in tl.static_range(5):
        even += x[at - 2 + step] * h[9 - 2 * step]
        odd += x[at - 1 + step] * h[8 - 2 * step]
    return even, odd


@triton.jit
def _down(even, odd, h, at: tl.constexpr):
    """Sample number `at` of a signal in pairs, filtered by `h`."""
    value = even[at - 2] * h[1] + odd[at - 3] * h[0]
    for step in tl.static_range(5):
        value += even[at - 1 + step] * h[3 + 2 * step]
        value += odd[at - 2 + step] * h[2 + 2 * step]
    return value


@triton.jit
def _half_turn(angle):
    """An angle less the nearest multiple of π, in three steps of decreasing size, so that rounding stays near 1e-7.

    sin² and sin · cos have period π, so its loss changes nothing; CUDA's own sine costs several times as much.
    """
    turns = tl.floor(angle * 0.3183098861837907 + 0.5)
    angle = tl.fma(turns, -3.140625, angle)
    angle = tl.fma(turns, -9.67502593994140625e-4, angle)
    return tl.fma(turns, -1.509957990978376e-7, angle)


@triton.jit
def _sine(angle):
    """sin of −π/2 … π/2, least-squares polynomial, error below 2e-7."""
    square = angle * angle
    value = tl.fma(square, -2.3866885e-8, 2.7523886e-6)
    value = tl.fma(value, square, -1.9840831e-4)
    value = tl.fma(value, square, 8.3333307e-3)
    value = tl.fma(value, square, -1.66666666e-1)
    return tl.fma(value * square, angle, angle)


@triton.jit
def _cosine(angle):
    """cos of −π/2 … π/2, likewise."""
    square = angle * angle
    value = tl.fma(square, 1.9806228e-9, -2.7516875e-7)
    value = tl.fma(value, square, 2.4800813e-5)
    value = tl.fma(value, square, -1.3888881e-3)
    value = tl.fma(value, square, 4.1666666e-2)
    value = tl.fma(value, square, -0.5)
    return tl.fma(value, square, 1.0)


@triton.jit
def _snake(y, alpha, inverse_beta):
    sine = _sine(_half_turn(alpha * y))
    return tl.fma(inverse_beta * sine, sine, y)


@triton.jit
def _ends(pointer, length, h):
    """First and last sample, times two, of the signal at the doubled rate."""
    first, last = 0.0, 0.0
    for step in tl.static_range(6):
        before = tl.load(pointer + tl.minimum(tl.maximum(step - 3, 0), length - 1)).to(tl.float32)
        after = tl.load(pointer + tl.maximum(tl.minimum(length + 2 - step, length - 1), 0)).to(tl.float32)
        first += 2 * before * h[11 - 2 * step]
        last += 2 * after * h[2 * step]
    return first, last


@triton.jit
def _row(x_ptr, alpha_ptr, inverse_beta_ptr, row, length, channels):
    """α, 1 / β, and the first and last sample of a row; `x_ptr` points to its first."""
    alpha = tl.load(alpha_ptr + row % channels).to(tl.float32)
    inverse_beta = tl.load(inverse_beta_ptr + row % channels).to(tl.float32)
    return alpha, inverse_beta, tl.load(x_ptr).to(tl.float32), tl.load(x_ptr + length - 1).to(tl.float32)


@triton.jit
def forward_kernel(x_ptr, z_ptr, alpha_ptr, inverse_beta_ptr, filter_ptr, length, channels, threads: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    start = tl.program_id(1) * OUTPUTS * threads
    x_ptr += row * length
    alpha, inverse_beta, first, last = _row(x_ptr, alpha_ptr, inverse_beta_ptr, row, length, channels)
    h = _taps(filter_ptr)
    x = _window(x_ptr, start, length, first, last, threads)
    begin = start + OUTPUTS * tl.arange(0, threads)
    # Outside the signal, the samples at the doubled rate repeat its own first and last: those of pairs 0 and T − 1.
    head, tail = _ends(x_ptr, length, h)
    head = _snake(head, alpha, inverse_beta)
    tail = _snake(tail, alpha, inverse_beta)
    evens, odds = (), ()
    for k in tl.static_range(14):  # pairs −3 … 10 around the thread's first
        even, odd = _up_pair(x, h, k + 5)
        even = _snake(2 * even, alpha, inverse_beta)
        odd = _snake(2 * odd, alpha, inverse_beta)
        time = begin + (k - 3)
        even = tl.where(time < 0, head, tl.where(time < length, even, tail))
        odd = tl.where(time < 0, head, tl.where(time < length, odd, tail))
        evens = evens + (even,)
        odds = odds + (odd,)
    z = ()
    for k in tl.static_range(8):
        z = z + (_down(evens, odds, h, k + 3),)
    time = start + tl.arange(0, OUTPUTS * threads)
    tl.store(z_ptr + row * length + time, _join(z).to(z_ptr.dtype.element_ty), mask=time < length)


@triton.jit
def backward_kernel(
    x_ptr, gz_ptr, gx_ptr, alpha_ptr, inverse_beta_ptr, filter_ptr, sums_ptr, length, channels, threads: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    start = tl.program_id(1) * OUTPUTS * threads
    x_ptr += row * length
    alpha, inverse_beta, first, last = _row(x_ptr, alpha_ptr, inverse_beta_ptr, row, length, channels)
    h = _taps(filter_ptr)
    begin = start + OUTPUTS * tl.arange(0, threads)
    # Gradient at the doubled rate behind the activation, pairs −3 … 14; what falls outside belongs to the ends.
    none = tl.zeros((threads,), tl.float32)
    gz = _window(gz_ptr + row * length, start, length, 0.0, 0.0, threads) + (none, none)
    evens, odds = (), ()
    before, after = none, none
    for k in tl.static_range(18):
        even, odd = _up_pair(gz, h, k + 5)
        evens = evens + (even,)
        odds = odds + (odd,)
        before += tl.where(begin + (k - 3) < 0, even + odd, 0.0)
        after += tl.where(begin + (k - 3) >= length, even + odd, 0.0)
    # The same before the activation, and the sums over this program's own samples for α and 1 / β.
    x = _window(x_ptr, start, length, first, last, threads)
    inner_evens, inner_odds = (), ()
    by_alpha, by_inverse_beta = none, none
    for k in tl.static_range(14):
        time = begin + (k - 3)
        inside = (time >= 0) & (time < length)
        even = tl.where(inside, evens[k] + tl.where(time == 0, before, 0.0), 0.0)
        odd = tl.where(inside, odds[k] + tl.where(time == length - 1, after, 0.0), 0.0)
        y_even, y_odd = _up_pair(x, h, k + 5)
        y_even, y_odd = 2 * y_even, 2 * y_odd
        angle_even, angle_odd = _half_turn(alpha * y_even), _half_turn(alpha * y_odd)
        sine_even, sine_odd = _sine(angle_even), _sine(angle_odd)
        slope_even, slope_odd = 2 * sine_even * _cosine(angle_even), 2 * sine_odd * _cosine(angle_odd)
        if k >= 3 and k < 11:
            by_alpha += even * slope_even * y_even + odd * slope_odd * y_odd
            by_inverse_beta += even * sine_even * sine_even + odd * sine_odd * sine_odd
        inner_evens = inner_evens + (even + even * slope_even * (alpha * inverse_beta),)
        inner_odds = inner_odds + (odd + odd * slope_odd * (alpha * inverse_beta),)
    # Back to the lower rate, samples −3 … 10; what falls outside belongs to the first and last sample.
    inner_evens = (none, none, none) + inner_evens + (none, none, none)
    inner_odds = (none, none, none) + inner_odds + (none, none, none)
    outer = ()
    before, after = none, none
    for k in tl.static_range(14):
        value = 2 * _down(inner_evens, inner_odds, h, k + 3)
        before += tl.where(begin + (k - 3) < 0, value, 0.0)
        after += tl.where(begin + (k - 3) >= length, value, 0.0)
        outer = outer + (value,)
    gx = ()
    for k in tl.static_range(8):
        time = begin + k
        gx = gx + (outer[k + 3] + tl.where(time == 0, before, 0.0) + tl.where(time == length - 1, after, 0.0),)
    time = start + tl.arange(0, OUTPUTS * threads)
    tl.store(gx_ptr + row * length + time, _join(gx).to(gx_ptr.dtype.element_ty), mask=time < length)
    part = row * tl.num_programs(1) + tl.program_id(1)
    tl.store(sums_ptr + 2 * part, tl.sum(by_alpha * inverse_beta, 0))
    tl.store(sums_ptr + 2 * part + 1, tl.sum(by_inverse_beta, 0))


def forward(x: Tensor, alpha: Tensor, inverse_beta: Tensor, lowpass: Tensor) -> Tensor:
    """See `codec.layers.anti_aliased`; x `[B, C, T]` contiguous, float32, bfloat16 or float16, T at least 1."""
    z = torch.empty_like(x)
    rows, length = x.shape[0] * x.shape[1], x.shape[2]
    grid = (rows, triton.cdiv(length, OUTPUTS.value * THREADS))  # CUDA's first axis takes 2^31 programs, others 65,535
    with torch.cuda.device_of(x):
        forward_kernel[grid](x, z, alpha, inverse_beta, lowpass, length, x.shape[1], THREADS, num_warps=THREADS // 32)
    return z


def backward(
    gz: Tensor, x: Tensor, alpha: Tensor, inverse_beta: Tensor, lowpass: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, α and 1 / β; the latter two are summed in a fixed order."""
    gx = torch.empty_like(x)
    rows, length = x.shape[0] * x.shape[1], x.shape[2]
    blocks = triton.cdiv(length, OUTPUTS.value * THREADS)
    sums = x.new_empty((x.shape[0], x.shape[1], blocks, 2), dtype=torch.float32)
    with torch.cuda.device_of(x):
        backward_kernel[rows, blocks](
            x, gz, gx, alpha, inverse_beta, lowpass, sums, length, x.shape[1], THREADS, num_warps=THREADS // 32
        )
    by_alpha, by_inverse_beta = sums.sum((0, 2)).unsqueeze(1).unbind(-1)
    return gx, by_alpha.clone(), by_inverse_beta.clone()
