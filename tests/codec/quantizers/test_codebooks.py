"""Codebooks of both kinds: k-means, usage statistics, restarts, moving means, exact resume (ranks: test_ranks.py)."""

import copy

import pytest
import torch

from callbacks import CodecEMA
from codec.quantizers import RVQ, Codebook, EMACodebook, LearnedCodebook
from tests.codec.quantizers.test_rvq import both_kinds, clusters
from tests.support.training import VoiceData, quiet_trainer, tiny_module


def vectors(seed: int = 0, *, count: int = 400) -> torch.Tensor:
    """`[N, 8]` around 40 centres."""
    return clusters(seed, batch=1, frames=count)[0].T.contiguous()


def trained(kind: type[Codebook], batches: int = 1, *, size: int = 32, **settings) -> Codebook:
    """After some batches, and long enough for `decay` to be in force."""
    torch.manual_seed(0)
    book = kind(size, 8, **settings)
    for seed in range(batches):
        book.match(vectors(seed))
    book.batches += 10**9 * (batches > 0)
    return book


def starve(book: Codebook, entries: slice) -> None:
    """Put entries where no vector is, and their usage to zero."""
    with torch.no_grad():
        book.table[entries] = -1e6 * vectors().mean(0)
    book.usage[entries] = 0.0


@both_kinds
def test_the_first_batch_places_the_entries_by_kmeans(kind):
    drawn, clustered = (trained(kind, batches=0, size=40, kmeans_rounds=rounds) for rounds in (0, 10))
    error = [(book.match(vectors()).entries - vectors()).square().mean().item() for book in (drawn, clustered)]
    assert error[1] < 0.6 * error[0]
    spread = vectors().var(0).mean().item()
    assert error[1] < 0.25 * spread
    found = drawn.table[:, None] == vectors()[None]  # without rounds, vectors of the batch as they are
    if kind is LearnedCodebook:
        assert found.all(-1).any(1).all()
        assert found.all(-1).any(0).sum() == 40  # different ones


@both_kinds
def test_kmeans_entries_are_the_means_of_their_vectors(kind):
    """The fixed point of k-means, reached after many rounds, whatever the similarity."""
    book = trained(kind, kmeans_rounds=60, decay=0.999999).eval()
    indices = book.match(vectors()).indices
    for entry in indices.unique():
        torch.testing.assert_close(book.table[entry], vectors()[indices == entry].mean(0), atol=1e-4, rtol=1e-4)


@both_kinds
def test_idle_entries_restart_on_different_vectors_of_the_batch(kind):
    book = trained(kind)
    starve(book, slice(0, 16))
    others = book.table[16:].detach().clone()
    book.decay = 0.999999  # holds moving means still
    indices = book.match(vectors(7)).indices
    origin = torch.cdist(book.table[:16], vectors(7)).min(1)
    assert origin.values.max() < 1e-2
    assert len(origin.indices.unique()) == 16
    torch.testing.assert_close(book.table[16:], others, atol=1e-3, rtol=1e-3)
    assert len(indices.unique()) >= 29  # of 32: the restarted ones are in use at once


@both_kinds
def test_an_entry_restarts_below_its_share_only(kind):
    for usage, restarts in ((0.29, True), (0.31, False)):
        book = trained(kind, restart_below=0.3, decay=0.999999)
        starve(book, slice(0, 1))
        book.usage[:] = 1.0
        book.usage[0] = usage
        book.match(vectors(1))
        assert (book.table[0].abs().max().item() < 100) is restarts
        assert (book.usage[0].item() == pytest.approx(1.0, abs=1e-3)) is restarts


@both_kinds
def test_zero_never_restarts(kind):
    book = trained(kind, restart_below=0.0)
    starve(book, slice(0, 4))
    for seed in range(5):
        book.match(vectors(seed))
    assert book.table[:4].abs().min(1).values.max() > 100


@both_kinds
@pytest.mark.parametrize("batch", [1, 100])
def test_usage_follows_the_counts(kind, batch):
    """A moving mean, 1 for an even share, that no batch size changes; it starts with a short memory."""
    book = trained(kind, decay=0.8, restart_below=0.0)
    book.batches.fill_(batch)
    expected = book.usage.clone()
    for seed, count in ((1, 400), (2, 100), (3, 900)):
        kept = 0.8 if batch == 100 else (1 + seed) / (10 + seed)
        indices = book.match(vectors(seed, count=count)).indices
        expected = kept * expected + (1 - kept) * torch.bincount(indices, minlength=32) / (count / 32)
    torch.testing.assert_close(book.usage, expected)
    assert book.usage.mean().item() == pytest.approx(1.0, abs=1e-5)


def test_moving_means_are_sums_over_counts():
    """The table of moving sums over moving counts (VQ-VAE-2, equation of its appendix), kept as table and usage."""
    book = trained(EMACodebook, decay=0.7, restart_below=0.0)
    counts, sums = book.usage.clone(), book.table * book.usage[:, None]
    for seed in (1, 2, 3):
        new = vectors(seed)
        indices = book.match(new).indices
        chosen = torch.nn.functional.one_hot(indices, 32).float() * 32 / len(new)
        counts, sums = 0.7 * counts + 0.3 * chosen.sum(0), 0.7 * sums + 0.3 * chosen.T @ new
        torch.testing.assert_close(book.table, sums / counts[:, None], atol=1e-5, rtol=1e-4)


def test_a_mean_follows_its_vectors():
    """Constant input: the entry moves to it by the decay's law."""
    book = EMACodebook(2, 2, decay=0.9, restart_below=0.0)
    book.match(torch.tensor([[0.0, 0.0], [100.0, 100.0]]).repeat(10, 1))
    book.batches += 1000
    for _ in range(5):
        book.match(torch.tensor([[1.0, 1.0], [100.0, 100.0]]).repeat(10, 1))
    low = book.table[book.table[:, 0].argmin()]
    torch.testing.assert_close(low, torch.full((2,), 1 - 0.9**5))


def test_the_learned_loss_pulls_entries_towards_their_vectors():
    book = trained(LearnedCodebook, decay=0.999999, restart_below=0.0)
    indices, entries, loss = book.match(vectors(1))
    loss.backward()
    assert not entries.requires_grad
    total = torch.zeros_like(book.table).index_add_(0, indices, entries - vectors(1))
    torch.testing.assert_close(book.table.grad, 2 * total / vectors().numel())


def test_stale_moments_hardly_move_a_restarted_entry():
    """AdamW's momentum has decayed by the time an entry restarts, so the docstring may leave the moments alone."""
    book = trained(LearnedCodebook, decay=0.9)
    optimizer = torch.optim.AdamW(book.parameters(), lr=0.01, betas=(0.8, 0.9), weight_decay=0.0)
    for seed in range(20):
        optimizer.zero_grad()
        book.match(vectors(seed)).loss.backward()
        optimizer.step()
    for seed in range(20, 100):
        new = vectors(seed)
        new = new[book.nearest(new) != 0]  # the first entry is needed no more
        place = book.table[0].detach().clone()
        optimizer.zero_grad()
        loss = book.match(new).loss
        if not torch.equal(book.table[0], place):
            break
        loss.backward()
        optimizer.step()
    assert 30 < seed < 99  # it restarted after its usage had run out
    place = book.table[0].detach().clone()
    book.table.grad = torch.zeros_like(book.table)
    optimizer.step()
    assert (book.table[0] - place).abs().max() < 0.01 * 0.05  # 5 % of the learning rate


@both_kinds
def test_a_broken_batch_teaches_nothing(kind):
    book = trained(kind)
    starve(book, slice(0, 4))
    before = copy.deepcopy(book.state_dict())
    for value in (float("nan"), float("inf")):
        broken = vectors(1)
        broken[17, 3] = value
        book.match(broken)
        for name, expected in before.items():
            assert torch.equal(book.state_dict()[name], expected), name


@both_kinds
def test_a_broken_first_batch_leaves_kmeans_to_the_next(kind):
    torch.manual_seed(0)
    book = kind(32, 8)
    book.match(torch.full((400, 8), float("nan")))
    assert book.batches == 0
    book.match(vectors())
    assert book.batches == 1
    assert len(book.match(vectors()).indices.unique()) >= 29


@both_kinds
def test_fewer_vectors_than_entries(kind):
    book = trained(kind, batches=0)
    book.match(vectors(0, count=5))
    assert book.table.isfinite().all()
    assert torch.cdist(book.table, vectors(0, count=5)).min(1).values.max() < 1.0
    assert (book.usage == 0).sum() >= 32 - 5  # k-means counted, so the next batch restarts what it left empty


@both_kinds
def test_a_copy_from_the_state_goes_on_bit_for_bit(kind):
    settings = {"decay": 0.8, "restart_below": 0.5}
    book = trained(kind, 3, **settings)
    resumed = kind(32, 8, **settings)
    resumed.load_state_dict(copy.deepcopy(book.state_dict()))
    for seed in range(3, 8):
        for one in (book, resumed):
            torch.manual_seed(seed)
            one.match(vectors(seed))
    for name, value in book.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert book.state_dict().keys() == {"table", "usage", "batches"}


def fit(steps: int, resume=None):
    """A tiny training run of an RVQ codec that restarts entries, drops stages and averages weights."""
    module = tiny_module()
    books = [kind(8, 4, decay=0.7, restart_below=0.5) for kind in (EMACodebook, LearnedCodebook)]
    module.codec.quantizer = RVQ(16, books, dropout=0.5)
    trainer = quiet_trainer(max_steps=steps, callbacks=[CodecEMA(0.9)])
    trainer.fit(module, VoiceData(), ckpt_path=resume)
    return trainer


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    fit(3).save_checkpoint(tmp_path / "part.ckpt")
    fit(6).save_checkpoint(tmp_path / "whole.ckpt")
    fit(6, tmp_path / "part.ckpt").save_checkpoint(tmp_path / "resumed.ckpt")
    whole, resumed = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("whole", "resumed"))
    assert whole["state_dict"]["codec.quantizer.codebooks.1.batches"] == 6
    for part in ("state_dict", "codec_ema", "optimizer_states"):
        torch.testing.assert_close(whole[part], resumed[part], rtol=0, atol=0)


def test_impossible_settings_are_refused():
    for wrong in ({"size": 1}, {"dim": 0}, {"kmeans_rounds": -1}, {"decay": 1.0}, {"restart_below": 1.0}):
        name, value = next(iter(wrong.items()))
        with pytest.raises(ValueError, match=rf"^{name} {value} must"):
            LearnedCodebook(**wrong)


@both_kinds
def test_the_device_is_asked_for_the_first_batch_only(kind, monkeypatch):
    """Until a batch was learned from, and after loading a state, whose batches the host does not know."""
    asked, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: asked.append(1) or tolist(self))
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda self: pytest.fail("waited for the device"))
    book = kind(8, 8)
    for batch, count in ((vectors() * float("nan"), 1), (vectors(), 2), (vectors(1), 2), (vectors(2), 2)):
        book.match(batch)
        assert len(asked) == count
    fresh = kind(8, 8)
    table, state = fresh.table.detach().clone(), book.state_dict()
    fresh.match(vectors())
    fresh.load_state_dict(kind(8, 8).state_dict())
    fresh.match(vectors())  # fresh again: placed by k-means
    assert not torch.equal(fresh.table, table) and fresh.batches.item() == 1
    resumed = kind(8, 8)
    resumed.load_state_dict(state)
    random = torch.get_rng_state()
    resumed.match(vectors(3))
    torch.set_rng_state(random)
    book.match(vectors(3))
    assert torch.equal(book.table, resumed.table) and torch.equal(book.usage, resumed.usage)


@both_kinds
def test_the_nearest_entry_is_that_of_float64_where_a_matrix_product_errs(kind):
    """Entries and vectors far from the origin: an expanded square loses the digits that decide."""
    torch.manual_seed(0)
    book = kind(64, 8).eval()
    table = torch.randn(64, 8, dtype=torch.float64) * 1e-3 + 3.0
    vectors = torch.randn(4000, 8, dtype=torch.float64) * 1e-3 + 3.0
    with torch.no_grad():
        book.table.copy_(table)
    found = book.nearest(vectors.float())
    exact = (book.table.double(), vectors.float().double())
    if kind is LearnedCodebook:
        exact = tuple(torch.nn.functional.normalize(values, dim=-1) for values in exact)
    gaps = (exact[1][:, None] - exact[0]).square().sum(-1)
    chosen = gaps.gather(1, found[:, None])[:, 0]
    slack = 1e-6 if kind is EMACodebook else 2e-2  # normalising in float32 rounds to 6e-8 of differences of 1e-4
    assert (chosen.sqrt() <= gaps.min(1).values.sqrt() * (1 + slack)).all()
    if kind is EMACodebook:
        expanded = torch.cdist(vectors.float(), book.table, compute_mode="use_mm_for_euclid_dist").argmin(-1)
        assert (expanded != found).float().mean() > 0.05
