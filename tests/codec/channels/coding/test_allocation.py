"""Unequal protection by a ladder of codes: places, round trips, delay; the allocation against a search of all."""

import itertools
import math

import pytest
import torch

from codec import load_codec
from codec.channels import AWGNChannel, BinarySymmetricChannel, Link, draw_generator
from codec.channels.coding import (
    LDPC5G,
    ConvolutionalCode,
    OptimizedProtection,
    ProtectedChannel,
    ReedSolomon,
    Repetition,
    UnequalProtection,
)
from codec.channels.coding.allocation import best_allocation, read_sensitivities, residual_error_rate
from codec.errors import InvalidValue, UnreadableFile
from tests.codec.channels.coding.test_fec import random_bits

SHORT = ConvolutionalCode(("5", "7"))
LADDER = [None, SHORT, Repetition(3), ConvolutionalCode(("5", "7"), puncture=("10", "11"))]


@pytest.mark.parametrize("length", [1, 4, 7, 40, 1000])
@pytest.mark.parametrize("assignment", [[0], [1, 1, 1], [0, 1, 2, 3], [2, 0, 0, 1, 1, 3, 3]])
def test_each_position_has_its_code(length, assignment):
    code, bits = UnequalProtection(LADDER, assignment), random_bits(3, length)
    sent = code.encode(bits)
    assert sent.shape == (3, code.coded_length(length))
    assert torch.equal(code.decode(sent, length, error_rate=0.0), bits)
    received = sent ^ (torch.rand(sent.shape, generator=torch.Generator().manual_seed(1)) < 0.05)
    ones = code.decode(received, length, error_rate=0.05)
    parts = {index: places for index, *places in code._parts(length)}
    for index, (payload, places) in parts.items():
        assert (payload % len(assignment)).unique().tolist() == [
            p for p in range(min(len(assignment), length)) if assignment[p] == index
        ]
        own = LADDER[index]
        if own is None:
            assert torch.equal(sent[:, places], bits[:, payload])
            continue
        assert torch.equal(sent[:, places], own.encode(bits[:, payload]))
        assert torch.equal(ones[:, payload], own.decode(received[:, places], len(payload), error_rate=0.05))
    assert sum(len(places) for _, places in parts.values()) == sent.shape[1]


def test_coded_bits_of_all_codes_are_sent_side_by_side():
    code = UnequalProtection(LADDER, [0, 1, 2, 3])
    sent = code.coded_length(4000)
    for _, payload, places in code._parts(4000):
        late = places / sent - torch.linspace(0, 1, len(places))
        assert late.abs().max() < 0.01
        assert len(payload) == 1000


def test_rate_and_delay_are_those_of_its_codes():
    code = UnequalProtection([None, SHORT, LDPC5G(20, rate=0.5)], [0, 1, 1, 0])
    assert code.rate == pytest.approx(4 / 6)
    channel = BinarySymmetricChannel(0.1)
    assert ProtectedChannel(channel, code, interleave=4).delay_frames == 7
    assert ProtectedChannel(channel, UnequalProtection(LADDER, [0, 2]), interleave=4).delay_frames == 6
    assert ProtectedChannel(channel, UnequalProtection(LADDER, [0, 0, 1]), interleave=4).delay_frames == 8
    blocks = UnequalProtection([None, LDPC5G(20, rate=0.5)], [1, 0, 1, 1, 1])  # a block in five frames
    assert blocks.block_bits == 25
    delay = ProtectedChannel(channel, blocks, frame_bits=5).delay_frames
    assert 2 * 4 <= delay <= 2 * 4 + 1
    assert blocks.name == "unequal(1: uncoded, 0 2-4: ldpc5g-20-40)"


def brute_force(sensitivities, shares, codes, *, budget, frames):
    best = math.inf
    for chosen in itertools.product(range(len(codes)), repeat=len(sensitivities)):
        cost = 0
        for index in set(chosen):
            bits = frames * chosen.count(index)
            cost += bits if codes[index] is None else codes[index].coded_length(bits)
        if cost <= budget:
            best = min(best, sum(s * shares[index] for s, index in zip(sensitivities, chosen, strict=True)))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_no_assignment_loses_less_within_the_budget(seed):
    draw = torch.Generator().manual_seed(seed)
    sensitivities = torch.rand(5, generator=draw, dtype=torch.float64).tolist()
    sensitivities[seed % 5] = sensitivities[(seed + 2) % 5]
    codes = [None, Repetition(3), SHORT, ConvolutionalCode(("5", "7"), puncture=("10", "11")), Repetition(2)]
    shares = (torch.rand(5, generator=draw, dtype=torch.float64) * 0.1).tolist()
    if seed % 2:  # as they would be
        shares = [0.1, 0.028, 0.02, 0.06, 0.1]
    frames = 10
    for budget in (50, 60, 75, 90, 102, 130):
        chosen = best_allocation(sensitivities, shares, codes, budget=budget, frames=frames)
        loss = sum(s * shares[index] for s, index in zip(sensitivities, chosen, strict=True))
        assert loss == pytest.approx(brute_force(sensitivities, shares, codes, budget=budget, frames=frames), rel=1e-9)
        code = UnequalProtection(codes, chosen)
        assert code.coded_length(frames * 5) <= budget
    with pytest.raises(InvalidValue, match="less than any"):
        best_allocation(sensitivities, shares, codes, budget=49, frames=frames)


def test_residual_error_rates_are_those_of_decoding():
    p = 0.1
    assert residual_error_rate(None, p) == p
    assert residual_error_rate(Repetition(3), p) == pytest.approx(3 * p**2 * (1 - p) + p**3, rel=0.1)
    assert residual_error_rate(Repetition(2), p) == pytest.approx(p**2 + p * (1 - p), rel=0.05)  # ties half wrong
    assert residual_error_rate(Repetition(3), p) == residual_error_rate(Repetition(3), p)


def write_losses(path, losses):
    rows = [f"bit {bit},{bit},0.1,stoi,{loss}" for bit, loss in enumerate(losses)]
    path.write_text("\n".join(["part,bits,flip_rate,metric,loss", *rows, "dimension 0,0 1,0.1,stoi,1.0"]))
    return path


def test_a_link_fits_the_allocation_to_its_codec(tmp_path):
    quantizer = load_codec("small_fsq").quantizer
    losses = [0.02 if bit in (3, 8) else 0.001 for bit in range(16)]
    file = write_losses(tmp_path / "sensitivity.csv", losses)
    code = OptimizedProtection(LADDER, 1.5, error_rate=0.1, sensitivities=file)
    connection = Link(code=code, interleave=16).connect(quantizer)
    assert "3 8" in connection.code.name
    assert connection.code.coded_length(16 * 250) <= 1.5 * 16 * 250
    channel = connection.protect(BinarySymmetricChannel(0.1))
    tails = [
        -(-code.memory // len(connection.code.positions[index]))
        for index in connection.code.used
        if isinstance(code := LADDER[index], ConvolutionalCode)
    ]
    assert channel.delay_frames == 30 + max(tails, default=0)
    assert connection.code.name in channel.name
    by_latent = Link(code=OptimizedProtection(LADDER, 1.5, error_rate=0.1)).connect(quantizer)
    chosen = by_latent.code.assignment  # even bits displace the latent four times as much
    shares = [residual_error_rate(LADDER[index], 0.1) for index in chosen]
    assert max(shares[::2]) <= min(shares[1::2])
    some = Link(code=OptimizedProtection(LADDER, 2.0), protected_bits=[0, 5, 7]).connect(quantizer)
    assert len(some.code.assignment) == 3


@pytest.mark.parametrize("code", [
    LDPC5G(64), ReedSolomon(12, 8), ConvolutionalCode(puncture=("11", "10")),
    UnequalProtection([None, ConvolutionalCode()], [0, 1] * 8),
], ids=lambda code: code.name)  # fmt: skip
def test_what_is_received_does_not_depend_on_the_batch(code):
    """Each clip by its own generator, whatever else was drawn and decoded before."""
    if isinstance(code, LDPC5G):
        pytest.importorskip("importlib_resources")
        try:
            code.encode(random_bits(1, 64))
        except Exception:
            pytest.skip("needs sionna")
    if isinstance(code, ReedSolomon):
        pytest.importorskip("reedsolo")
    channel = ProtectedChannel(AWGNChannel(1.0), code, interleave=4, frame_bits=16)
    clips = [random_bits(frames, 16, seed=frames) for frames in (20, 33, 48)]
    state = torch.random.get_rng_state()

    def receive(order):
        return {i: channel(clips[i], draw_generator(0, f"clip {i}", channel.family, 0)) for i in order}

    forward, backward, alone = receive([0, 1, 2]), receive([2, 1, 0]), receive([1])
    assert all(torch.equal(forward[i], backward[i]) for i in range(3))
    assert torch.equal(forward[1], alone[1])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(("build", "match"), [
    (lambda: UnequalProtection(LADDER, [4]), "assignment"), (lambda: UnequalProtection(LADDER, []), "assignment"),
    (lambda: UnequalProtection([ReedSolomon(12, 8)], [0]), "no symbols"),
    (lambda: OptimizedProtection([], 2.0), "codes"), (lambda: OptimizedProtection(LADDER, 0.9), "rate_budget 0.9"),
    (lambda: OptimizedProtection(LADDER, error_rate=1.5), "error_rate"),
    (lambda: OptimizedProtection(LADDER).encode(random_bits(1, 4)), "fitted"),
    (lambda: ConvolutionalCode(puncture=("11",)), "puncture"),
    (lambda: ConvolutionalCode(puncture=("10", "10")), "every step"),
    (lambda: ConvolutionalCode(puncture=("11", "00")), "every step"),
])  # fmt: skip
def test_impossible_settings_are_refused(build, match):
    with pytest.raises(InvalidValue, match=match):
        build()


def test_files_without_the_losses_are_refused(tmp_path):
    file = write_losses(tmp_path / "sensitivity.csv", [0.1, -0.2, 0.3])
    assert read_sensitivities(file, "stoi", 3).tolist() == pytest.approx([1.0, 0.0, 3.0])
    for arguments in ((file, "pesq_wb", 3), (file, "stoi", 4), (file, "stoi", 2), (tmp_path / "none.csv", "stoi", 3)):
        with pytest.raises(UnreadableFile):
            read_sensitivities(*arguments)
