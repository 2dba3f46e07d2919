"""RVQ: gradients of value and commitment, learning of codebooks, erasures, dropout, equal tables on ranks."""

from itertools import pairwise

import pytest
import torch

from codec.quantizers.rvq import RVQ, EMACodebook, LearnedCodebook


def clusters(seed: int = 0, *, batch: int = 4, dim: int = 8, frames: int = 50) -> torch.Tensor:
    """Latents `[B, D, F]` around 40 centres."""
    centres = 3 * torch.randn(40, dim, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(40, (batch, frames), generator=generator)
    return (centres[picks] + 0.3 * torch.randn(batch, frames, dim, generator=generator)).transpose(1, 2)


def rvq(stages: int = 3, *, kind: type = EMACodebook, dim: int = 8, width: int = 8, **settings) -> RVQ:
    torch.manual_seed(0)
    return RVQ(dim, [kind(16, width) for _ in range(stages)], **settings)


@pytest.mark.parametrize("kind", [EMACodebook, LearnedCodebook])
def test_gradient_through_eight_stages_is_one(kind):
    latents = clusters().requires_grad_()
    rvq(8, kind=kind)(latents).latents.sum().backward()
    torch.testing.assert_close(latents.grad, torch.ones_like(latents))


@pytest.mark.parametrize("kind", [EMACodebook, LearnedCodebook])
@pytest.mark.parametrize("width", [8, 4])
def test_commitment_of_every_stage_moves_the_encoder(kind, width):
    """Quantizers of k and of k + 1 stages differ in the encoder's gradient by the last stage's commitment."""
    seen = []
    for stages in (1, 2, 3):
        latents, quantizer = clusters().requires_grad_(), rvq(3, kind=kind, width=width)
        quantizer(clusters(1))  # seeds the tables
        quantizer.codebooks = quantizer.codebooks[:stages]
        (quantizer(latents).loss * stages).backward()
        seen.append(latents.grad)
    assert seen[0].abs().max() > 0
    for one, more in pairwise(seen):
        assert (more - one).abs().max() > 1e-6


@pytest.mark.parametrize("width", [8, 4])
@pytest.mark.parametrize("kind", [EMACodebook, LearnedCodebook])
def test_decode_gives_the_latents_of_forward(kind, width):
    quantizer = rvq(kind=kind, width=width)
    quantizer(clusters())
    quantizer.eval()
    latents, codes, _ = quantizer(clusters(1))
    assert codes.shape == (4, 3, 50)
    torch.testing.assert_close(quantizer.decode(codes), latents)


def test_an_erased_stage_contributes_nothing():
    quantizer = rvq(width=8).eval()
    codes = torch.randint(16, (1, 3, 5))
    erased = torch.zeros(1, 3, 5, dtype=torch.bool)
    erased[0, 1:, 2] = True
    decoded = quantizer.decode(codes, erased)
    torch.testing.assert_close(decoded[0, :, 2], quantizer.codebooks[0].entries()[codes[0, 0, 2]])
    torch.testing.assert_close(decoded[..., :2], quantizer.decode(codes)[..., :2])


def test_more_stages_leave_less_behind():
    quantizer = rvq(4)
    for seed in range(20):
        quantizer(clusters(seed))
    quantizer.eval()
    latents = clusters(100)
    codes = quantizer(latents).codes
    errors = []
    for kept in (1, 2, 3, 4):
        erased = torch.zeros_like(codes, dtype=torch.bool)
        erased[:, kept:] = True
        errors.append((quantizer.decode(codes, erased) - latents).square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * errors[0]


def test_a_mean_follows_its_vectors():
    """One entry, constant input: the table moves to it by the decay's law."""
    book = EMACodebook(1, 2, decay=0.9, restart_below=0.0)
    book.match(torch.zeros(10, 2))
    for _ in range(5):
        book.match(torch.ones(10, 2))
    torch.testing.assert_close(book.table, torch.full((1, 2), 1 - 0.9**5))


def test_dead_entries_restart_on_vectors_of_the_batch():
    book = EMACodebook(32, 8, restart_below=0.5)
    for seed in range(3):
        book.match(clusters(seed).transpose(1, 2).flatten(0, 1))
    book.table[:16] = 1e6
    book.counts[:16] = 0
    book.sums[:16] = 0
    for seed in range(30):
        used = book.match(clusters(seed).transpose(1, 2).flatten(0, 1)).indices
    assert book.table.abs().max() < 100
    assert len(used.unique()) >= 29  # 90 %


def test_a_broken_batch_leaves_the_table_alone():
    book = EMACodebook(4, 2)
    book.match(torch.randn(20, 2))
    before = book.table.clone()
    book.match(torch.full((20, 2), float("nan")))
    assert torch.equal(book.table, before)


def test_evaluation_learns_nothing():
    quantizer = rvq().eval()
    before = {k: v.clone() for k, v in quantizer.state_dict().items()}
    quantizer(clusters())
    assert all(torch.equal(v, before[k]) for k, v in quantizer.state_dict().items())


def test_dropout_uses_fewer_stages_in_training_only():
    quantizer = rvq(3, dropout=1.0)
    quantizer(clusters())
    torch.manual_seed(0)
    output = quantizer(clusters(1, batch=64))
    full = quantizer.decode(output.codes)
    assert (output.latents - full).abs().amax((1, 2)).min() > 0  # every clip lacks its last stage
    quantizer.eval()
    output = quantizer(clusters(1))
    torch.testing.assert_close(output.latents, quantizer.decode(output.codes))


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        RVQ(8, [])
    with pytest.raises(ValueError, match=r"dropout 1\.5"):
        rvq(dropout=1.5)
