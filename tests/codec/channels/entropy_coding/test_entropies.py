"""Entropies against closed forms and scipy, bounds where frames are few, and the adaptive code length."""

import math

import numpy as np
import pytest
from scipy.stats import entropy

from codec.channels.entropy_coding import AdaptiveDigit, adaptive_bits, code_entropies
from codec.channels.entropy_coding.adaptive import earlier_equal
from codec.channels.entropy_coding.entropies import plug_in, split_digits


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def of(rows, part, order):
    (found,) = [row for row in rows if (row.part, row.order) == (part, order)]
    return found


def markov(stay: float, frames: int) -> np.ndarray:
    """A symmetric two-state chain `[1, F]`."""
    changes = random(5).random(frames) > stay
    return (np.cumsum(changes) % 2)[None]


def test_plug_in_is_the_entropy_of_the_shares():
    counts = random().integers(0, 50, 300)
    assert plug_in(counts) == pytest.approx(entropy(counts, base=2))
    assert plug_in(np.zeros(3, dtype=int)) == 0.0


@pytest.mark.parametrize(("chances", "bits"), [
    ([0.5, 0.5], 1.0), ([0.1, 0.9], -0.1 * math.log2(0.1) - 0.9 * math.log2(0.9)), ([0.125] * 8, 3.0),
])  # fmt: skip
def test_independent_frames_have_the_closed_form_in_both_orders(chances, bits):
    codes = random(1).choice(len(chances), size=(1, 40_000), p=chances)
    for row in code_entropies([codes], [[len(chances)]]):
        assert row.part == "frame" and row.coverage > 0.99
        assert row.corrected == pytest.approx(bits, abs=0.01)
        assert row.low <= row.corrected <= row.high + 1e-12


def test_a_markov_chain_has_its_conditional_entropy():
    rows = code_entropies([markov(0.9, 40_000)], [[2]])
    assert of(rows, "frame", 0).corrected == pytest.approx(1.0, abs=0.01)
    assert of(rows, "frame", 1).corrected == pytest.approx(entropy([0.1, 0.9], base=2), abs=0.01)


def test_pairs_do_not_reach_across_clips():
    clips = [np.array([[0, 0, 0, 0]]), np.array([[1, 1, 1, 1]])] * 500
    assert of(code_entropies(clips, [[2]]), "frame", 1).low == pytest.approx(0.0, abs=1e-12)
    assert of(code_entropies([np.concatenate(clips, 1)], [[2]]), "frame", 1).low > 0.5


def test_the_correction_takes_most_of_the_bias():
    """Of 400 frames over 64 values the plug-in estimate lacks (m - 1) / (2 N ln 2) bits, 0.114."""
    rows = [code_entropies([random(seed).integers(0, 64, (1, 400))], [[64]])[0] for seed in range(60)]
    assert np.mean([row.low for row in rows]) == pytest.approx(6 - 63 / (800 * math.log(2)), abs=0.01)
    assert np.mean([row.low - 6 for row in rows]) < -0.1
    corrected = [min(row.low + 63 / (800 * math.log(2)), 6) for row in rows]
    assert [row.corrected for row in rows if row.coverage >= 0.95] == pytest.approx(
        [value for value, row in zip(corrected, rows, strict=True) if row.coverage >= 0.95], abs=0.005
    )


def test_too_few_frames_give_bounds_and_no_number():
    codes = random(2).integers(0, 65_536, (1, 2000))
    rows = code_entropies([codes], [[4] * 8])
    joint = of(rows, "frame", 0)
    assert math.isnan(joint.corrected) and joint.low < 11 and joint.coverage < 0.1
    assert joint.high == pytest.approx(16, abs=0.02) and joint.best == joint.high  # the digits' sum
    assert of(rows, "frame", 1).low < 1 and of(rows, "frame", 1).high == pytest.approx(16, abs=0.1)
    assert of(rows, "dimension 3", 0).corrected == pytest.approx(2, abs=0.01)


def test_digits_that_depend_on_each_other_have_a_smaller_joint_entropy():
    one = random(3).integers(0, 4, 20_000)
    rows = code_entropies([np.stack([one + 4 * one, one])], [[4, 4], [4]])  # all three digits are equal
    assert [of(rows, part, 0).best for part in ("codebook 0, dimension 1", "codebook 0", "codebook 1", "frame")] == (
        pytest.approx([2, 2, 2, 2], abs=0.01)
    )
    assert of(rows, "frame", 0).sent == 6 and len(rows) == 2 * (2 + 1 + 1 + 1)


def test_the_code_length_is_that_of_the_model_step_by_step():
    clips = [random(4).integers(0, 12, (1, frames)) ** 2 % 12 for frames in (30, 1, 50)]
    for order in (0, 1):
        models, bits = [AdaptiveDigit(4, order), AdaptiveDigit(3, order)], 0.0
        for clip in clips:
            before = [None, None]
            for code in clip[0]:
                for i, value in enumerate(int(part) for part in split_digits(code, (4, 3))):
                    chances = models[i].probabilities(before[i])
                    assert chances.sum() == pytest.approx(1) and (chances > 0).all()
                    bits -= math.log2(chances[value])
                    models[i].update(before[i], value)
                    before[i] = value
        assert adaptive_bits(clips, [[4, 3]], order=order) == pytest.approx(bits)


def test_the_code_length_approaches_the_entropy_from_above():
    codes = markov(0.9, 30_000)
    bits = entropy([0.1, 0.9], base=2)
    assert 0 < adaptive_bits([codes], [[2]]) / 30_000 - bits < 0.01
    assert adaptive_bits([codes], [[2]], order=0) / 30_000 == pytest.approx(1, abs=0.01)


def test_of_a_start_alone_nothing_is_saved():
    assert adaptive_bits([np.array([[3], [200]])], [[4, 4], [256]]) == pytest.approx(12)
    assert adaptive_bits([np.zeros((1, 0), dtype=int)], [[4]]) == 0


def test_earlier_equal_entries_are_counted():
    values = random(6).integers(0, 5, 40)
    assert earlier_equal(values).tolist() == [int((values[:i] == value).sum()) for i, value in enumerate(values)]
