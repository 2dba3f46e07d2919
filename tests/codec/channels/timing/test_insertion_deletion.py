"""Insertions and deletions: counts two-sidedly, posteriors against enumeration, calibration, what markers give back."""

import time
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from codec import BinarySymmetricChannel, ConvolutionalCode, InsertionDeletionChannel, Markers, ProtectedChannel
from codec.channels import draw_generator
from codec.channels.timing import DriftModel, bit_posteriors


def enumerated(received, ones, model, known_length):
    """Posteriors and likelihood as sums over every message and every sequence of events."""
    law = model.insertion_law
    posterior, total = np.zeros(len(ones)), 0.0
    for sent in product((0, 1), repeat=len(ones)):
        prior = np.prod([q if bit else 1 - q for bit, q in zip(sent, ones, strict=True)])

        @cache
        def rest(i, j, sent=sent):
            """P(received[j:] | sent[i:])."""
            if i == len(sent):
                return float(j == len(received)) if known_length else 0.5 ** (len(received) - j)
            found = 0.0
            for k in range(min(model.most_insertions, len(received) - j) + 1):
                found += law[k] * 0.5**k * model.deletion * rest(i + 1, j + k)
                if j + k < len(received):
                    arrives = 1 - model.flip if received[j + k] == sent[i] else model.flip
                    found += law[k] * 0.5**k * (1 - model.deletion) * arrives * rest(i + 1, j + k + 1)
            return found

        p = prior * rest(0, 0)
        total += p
        posterior += p * np.array(sent)
    return posterior / total, np.log(total)


@pytest.mark.parametrize("known_length", [True, False])
@pytest.mark.parametrize("model", [
    DriftModel(0.2, 0.15), DriftModel(0.1, 0.3, 0.1, 3), DriftModel(0.3, 0.0, 0.05), DriftModel(0.0, 0.3)])  # fmt: skip
def test_posteriors_are_those_of_all_messages_and_events(model, known_length):
    rng = np.random.default_rng(0)
    length = 6
    for size in (length, length + 1 if model.insertion else length - 1, length - 2 if model.deletion else length + 2):
        # Without flips a marker could contradict what we make up.
        ones = rng.choice([0.0, 0.5, 0.5, 0.3, 1.0] if model.flip else [0.5, 0.3], length)
        received = rng.integers(0, 2, size).astype(np.uint8)
        expected, likelihood = enumerated(tuple(received.tolist()), ones, model, known_length)
        assert np.isfinite(likelihood)
        found = bit_posteriors(received, ones, model, (-length, 3 * length), known_length=known_length)
        np.testing.assert_allclose(found[0], expected, atol=1e-12)
        assert found[1] == pytest.approx(likelihood, abs=1e-10)


def test_receptions_are_as_probable_as_the_model_says():
    """Over all receptions of up to the longest length, likelihoods sum to one."""
    model, ones = DriftModel(0.2, 0.3, 0.1, 2), np.array([0.5, 1.0, 0.5])
    total = 0.0
    for size in range(10):
        for received in product((0, 1), repeat=size):
            found = bit_posteriors(np.array(received, dtype=np.uint8), ones, model, (-3, 6))
            total += np.exp(found[1]) if found else 0.0
    assert total == pytest.approx(1.0)


@pytest.mark.parametrize(("p_d", "p_i", "most"), [(0.02, 0.0, 1), (0.0, 0.05, 1), (0.03, 0.2, 3)])
def test_bits_are_deleted_and_inserted_at_the_stated_rates(p_d, p_i, most):
    """By one kind alone the length tells the count; of both, the sent bits told apart from inserted ones by value."""
    count = 100_000
    channel = InsertionDeletionChannel(p_d, p_i, most_insertions=most)
    ones = channel.damage(torch.ones(count, dtype=torch.uint8), draw_generator(0, "clip", channel.family, 0))
    zeros = channel.damage(torch.zeros(count, dtype=torch.uint8), draw_generator(0, "clip", channel.family, 0))
    arrived = int((ones != zeros).sum())  # the same events: inserted bits are equal in both
    assert len(ones) == len(zeros)
    assert binomtest(arrived, count, 1 - p_d).pvalue > 1e-4
    inserted = len(ones) - arrived
    law = channel.model.insertion_law
    number = np.arange(most + 1)
    mean, variance = law @ number, law @ number**2 - (law @ number) ** 2
    assert channel.model.mean_insertions == pytest.approx(sum(p_i**k for k in number[1:]))
    assert abs(inserted - count * mean) <= 4 * (count * variance) ** 0.5
    if inserted:
        assert binomtest(int(ones[ones == zeros].sum()), inserted, 0.5).pvalue > 1e-4


def test_flips_of_what_arrives_have_the_stated_rate():
    channel = InsertionDeletionChannel(0.0, 0.0, flip_rate=0.05)
    bits = torch.randint(2, (1, 500, 20), dtype=torch.uint8)
    received = channel(bits, draw_generator(0, "clip", channel.family, 0))
    np.testing.assert_allclose(torch.where(received > 0.5, 1 - received, received).numpy(), 0.05, rtol=1e-5)
    wrong = int(((received > 0.5) != (bits > 0)).sum())
    assert channel.error_rate == pytest.approx(0.05) and binomtest(wrong, 10_000, 0.05).pvalue > 1e-4


def test_realisations_are_nested_over_rates():
    bits = torch.arange(2000).remainder(2).to(torch.uint8)
    low, high = (
        InsertionDeletionChannel(p, 0.0).damage(bits, draw_generator(0, "clip", "insertion-deletion", 0))
        for p in (0.01, 0.05)
    )
    assert len(high) < len(low) < 2000
    remaining = iter(low.tolist())
    assert all(any(bit == other for other in remaining) for bit in high.tolist())  # a subsequence


def test_without_events_every_bit_arrives_and_is_certain():
    bits = torch.randint(2, (2, 30, 16), dtype=torch.uint8)
    for markers in (None, Markers([0, 1], 8)):
        received = InsertionDeletionChannel(0.0, 0.0, markers=markers)(bits, torch.Generator())
        assert received.dtype == torch.uint8 and torch.equal(received, bits)
    sent = torch.randint(2, (40, 4, 4), dtype=torch.uint8)
    received = InsertionDeletionChannel(0.02, 0.0)(sent, torch.Generator().manual_seed(0))
    certain = ((received == 0) | (received == 1)).flatten(1)
    assert torch.equal(certain.any(1), certain.all(1)) and 0.5 < certain.all(1).double().mean() < 0.9  # 0.98^16 = 0.72
    assert torch.equal(received[certain.all(1)], sent[certain.all(1)].float())


@pytest.mark.parametrize("options", [
    {"markers": Markers([0, 0, 1], 9)},
    {"markers": Markers([0, 1], 8), "flip_rate": 0.03, "known_length": False},
    {"most_insertions": 3},
])  # fmt: skip
def test_probabilities_are_calibrated(options):
    """Of the bits that are ones with probability p, a share p are ones."""
    channel = InsertionDeletionChannel(0.03, 0.02, **options)
    bits = torch.randint(2, (40, 20, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    received = channel(bits, draw_generator(0, "clip", channel.family, 0))
    for low in (0.0, 0.05, 0.2, 0.4, 0.55, 0.7, 0.9):
        inside = (received >= low) & (received < low + 0.1)
        ones, count, mean = int(bits[inside].sum()), int(inside.sum()), received[inside].double().mean().item()
        assert count > 60 and binomtest(ones, count, mean).pvalue > 1e-5


def wrong_share(channel, bits):
    received = channel(bits, draw_generator(0, "clip", channel.family, 0))
    return ((received > 0.5) != (bits > 0)).double().mean().item()


def test_markers_find_the_place_again():
    """At 1 % deletions and insertions a clip is mostly lost without markers, and nearly whole with them."""
    bits = torch.randint(2, (2, 100, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    without = wrong_share(InsertionDeletionChannel(0.01, 0.01), bits)
    sparse = wrong_share(InsertionDeletionChannel(0.01, 0.01, markers=Markers([0, 0, 1], 32)), bits)
    dense = wrong_share(InsertionDeletionChannel(0.01, 0.01, markers=Markers([0, 0, 1], 8)), bits)
    assert 0.2 < without < 0.5 and 0.02 < sparse < 0.12 and 0.01 < dense < 0.05
    assert dense < sparse < without


def test_an_error_correcting_code_takes_its_probabilities():
    bits = torch.randint(2, (1, 60, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    inner = InsertionDeletionChannel(0.01, 0.01, markers=Markers([0, 0, 1], 8))
    coded = ProtectedChannel(inner, ConvolutionalCode(), interleave=30)
    assert wrong_share(coded, bits) < 0.3 * wrong_share(inner, bits)
    assert coded.channel_bits(60, 8) == inner.channel_bits(60, 17)  # rows with the tail, then markers


def test_markers_are_counted_and_stand_behind_every_so_many_bits():
    markers = Markers([0, 0, 1], 4)
    assert markers.insert(torch.ones(6, dtype=torch.uint8)).tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1]
    for length in range(1, 14):
        layout = markers.layout(length)
        assert len(layout) == markers.sent_bits(length) and int((layout < 0).sum()) == length
    channel = InsertionDeletionChannel(0.01, 0.01, markers=markers)
    assert channel.channel_bits(10, 16) == 160 + 40 * 3
    assert InsertionDeletionChannel(0.01, 0.01).channel_bits(10, 16) == 160


def test_a_reception_beyond_the_largest_drift_is_lost():
    channel = InsertionDeletionChannel(0.3, 0.0, max_drift=2, markers=Markers())
    received = channel(torch.ones(1, 20, 8, dtype=torch.uint8), torch.Generator().manual_seed(0))
    assert (received == 0.5).all()


def test_a_clip_of_ten_seconds_takes_about_a_second():
    bits = torch.randint(2, (1, 500, 16), dtype=torch.uint8)
    channel, start = InsertionDeletionChannel(0.005, 0.005, markers=Markers()), time.process_time()
    received = channel(bits, torch.Generator().manual_seed(0))
    assert time.process_time() - start < 3 and ((received > 0.5) != (bits > 0)).double().mean() < 0.05


@pytest.mark.parametrize(("make", "match"), [
    (lambda: InsertionDeletionChannel(1.0, 0.0), "leaves nothing"),
    (lambda: InsertionDeletionChannel(-0.1, 0.0), "deletion_rate -0.1"),
    (lambda: InsertionDeletionChannel(0.1, 1.2), "insertion_rate 1.2"),
    (lambda: InsertionDeletionChannel(0.1, 0.1, flip_rate=2), "flip_rate 2"),
    (lambda: InsertionDeletionChannel(0.1, 0.1, most_insertions=0), "most_insertions 0"),
    (lambda: InsertionDeletionChannel(0.1, 0.1, max_drift=0), "max_drift 0"),
    (lambda: Markers([]), "pattern"),
    (lambda: Markers([0, 2]), "pattern"),
    (lambda: Markers([0, 1], 0), "spacing 0"),
    (lambda: InsertionDeletionChannel(0.1, 0.1)(torch.zeros(8, dtype=torch.uint8), torch.Generator()), "frame"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_names_tell_settings_apart_and_curves_run_over_rates():
    channels = [
        InsertionDeletionChannel(0.01, 0.01), InsertionDeletionChannel(0.02, 0.01),
        InsertionDeletionChannel(0.01, 0.01, markers=Markers()), InsertionDeletionChannel(0.01, 0.01, flip_rate=0.1),
        InsertionDeletionChannel(0.01, 0.01, most_insertions=2), InsertionDeletionChannel(0.01, 0.01, max_drift=9),
        InsertionDeletionChannel(0.01, 0.01, known_length=False),
    ]  # fmt: skip
    assert len({channel.name for channel in channels}) == 7
    assert channels[0].curve == channels[1].curve == channels[3].curve != channels[2].curve
    assert BinarySymmetricChannel(0.1).error_rate == pytest.approx(
        InsertionDeletionChannel(0.0, 0.0, flip_rate=0.1).error_rate
    )
