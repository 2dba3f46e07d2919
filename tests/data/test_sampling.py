"""The training stream is a pure function of seed and draw index; samplers share items without loss or overlap."""

import itertools
import math
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from data.errors import DataError
from data.sampling import ClipTable, DrawBatchSampler, ShardSampler, draw_uniforms, seeded_generator


def first_batches(sampler: DrawBatchSampler, count: int) -> list[list[int]]:
    return list(itertools.islice(sampler, count))


def test_draws_depend_on_seed_index_and_attempt_only() -> None:
    assert draw_uniforms(3, 5, 0) == draw_uniforms(3, 5, 0)
    draws = {draw_uniforms(*key) for key in itertools.product(range(3), range(50), range(3))}
    assert len(draws) == 450


def test_draws_are_uniform_and_uncorrelated() -> None:
    draws = torch.tensor([draw_uniforms(0, i, 0) for i in range(4000)], dtype=torch.float64)
    assert (draws.mean(0) - 0.5).abs().max() < 4 * math.sqrt(1 / 12 / 4000)
    assert (draws.var(0) - 1 / 12).abs().max() < 0.006
    neighbours = torch.corrcoef(torch.stack((draws[:-1, 0], draws[1:, 0], draws[:-1, 1])))
    assert neighbours.triu(1).abs().max() < 4 / math.sqrt(4000)


def test_generator_sees_every_part_of_its_key() -> None:
    numbers = {torch.rand(1, generator=seeded_generator(*k)).item() for k in ((1, 23), (12, 3), ("1", 23), (23, 1))}
    assert len(numbers) == 4


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_together_draw_what_one_rank_draws(world_size: int) -> None:
    one = first_batches(DrawBatchSampler(4 * world_size), 6)
    ranks = [first_batches(DrawBatchSampler(4, rank, world_size=world_size), 6) for rank in range(world_size)]
    assert [[draw for rank in ranks for draw in rank[n]] for n in range(6)] == one


@pytest.mark.parametrize("start", [1, 7])
def test_stream_continues_from_any_batch(start: int) -> None:
    whole = first_batches(DrawBatchSampler(3, 1, world_size=2), 20)
    assert first_batches(DrawBatchSampler(3, 1, world_size=2, start_batch=start), 20 - start) == whole[start:]
    assert first_batches(DrawBatchSampler(3, 1, world_size=2, start_batch=lambda: start), 1) == [whole[start]]


def test_stream_has_no_length() -> None:
    with pytest.raises(TypeError):
        len(DrawBatchSampler(3))  # type: ignore[arg-type]


@pytest.mark.parametrize(("batch_size", "rank"), [(0, 0), (1, 2), (1, -1)])
def test_impossible_place_is_refused(batch_size: int, rank: int) -> None:
    with pytest.raises(DataError, match="rank < world_size"):
        DrawBatchSampler(batch_size, rank, world_size=2)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("items", [0, 1, 3, 10])
def test_shards_hold_every_item_once(world_size: int, items: int) -> None:
    shards = [ShardSampler(items, rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(itertools.chain.from_iterable(shards)) == list(range(items))
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]


def test_corpora_by_weight_and_clips_by_seconds() -> None:
    table = ClipTable([[1.0, 3.0], [100.0, 0.0, 100.0]], [3.0, 1.0])
    draws = 20000
    counts = [0] * 5
    for index in range(draws):
        counts[table.choose(draw_uniforms(1, index, 0).clip)] += 1
    for count, share in zip(counts, (0.1875, 0.5625, 0.125, 0.0, 0.125), strict=True):
        assert abs(count - share * draws) <= 4 * math.sqrt(draws * share * (1 - share))
    assert table.choose(0.0) == 0 and table.choose(1 - 1e-16) == 4


def test_last_clip_of_no_length_is_never_drawn() -> None:
    assert ClipTable([[1.0, 0.0]]).choose(1.0) == 0


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan]])
def test_weights_are_checked(weights: list[float]) -> None:
    with pytest.raises(DataError, match="one positive number for each of the 2 sources"):
        ClipTable([[1.0], [1.0]], weights)


def test_corpus_without_sound_is_refused() -> None:
    with pytest.raises(DataError, match="source 1 has no clip that can be read"):
        ClipTable([[1.0], [0.0]])


def test_choices_in_a_corpus_of_some_size_sum_each_block_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Summing again costs as much as a tenth of reading a WAV crop."""
    table = ClipTable([np.random.default_rng(0).random(3000) + 0.1])
    uniforms = np.random.default_rng(1).random(2000).tolist()
    monkeypatch.setattr("data.sampling.KEPT", 0)
    expected = [table.choose(uniform) for uniform in uniforms]
    monkeypatch.undo()
    summed = Mock(wraps=table._masses)
    monkeypatch.setattr(table, "_masses", summed)
    assert [table.choose(uniform) for uniform in uniforms] == expected
    assert summed.call_count == len(table._ends)
