"""Opposing configurations differ in the quantizer and the run's name alone, and spend equally many bits a frame."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from codec.quantizers import Quantizer
from codec.quantizers.codes import code_bits
from tests.support.building import build
from tests.support.paths import CONFIGS

QUANTIZER = ("model", "init_args", "codec", "init_args", "quantizer")
RUN = ("trainer", "logger", "init_args", "name")

PAIRS = [
    (["fsq"], ["rvq"], 16),
    (["fsq", "overlays/fsq_32bit"], ["rvq", "overlays/rvq_32bit"], 32),
    (["quickstart"], ["quickstart", "small/quickstart_rvq"], 16),
    (["small/fsq"], ["small/fsq", "small/rvq"], 16),
    (["fsq"], ["fsq", "overlays/bsq"], 16),
    (["quickstart"], ["quickstart", "small/quickstart_bsq"], 16),
    (["small/fsq"], ["small/fsq", "small/bsq"], 16),
    (["quickstart"], ["quickstart", "small/quickstart_nested"], 16),
    (["quickstart"], ["quickstart", "small/quickstart_rvq_channel"], 16),
]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


def take(config: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Remove and return what a configuration holds at a path."""
    for key in path[:-1]:
        config = config[key]
    return config.pop(path[-1])


def merge(below: Any, above: Any) -> Any:
    """Lay one configuration over another as the command line does; another class replaces the part."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    if above.get("class_path", below.get("class_path")) != below.get("class_path"):
        return above
    return below | {key: merge(below.get(key), value) for key, value in above.items()}


def layered(names: list[str]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name in names:
        config = merge(config, read(name))
    return config


def run_name(names: list[str]) -> str:
    """Of the last file: its own, after its folder's where that is a name of its own."""
    path = Path(names[-1])
    return path.name if path.name.startswith("quickstart") or path.parent.name != "small" else f"small_{path.name}"


@pytest.mark.parametrize(("fsq", "rvq", "bits"), PAIRS)
def test_pairs_differ_in_the_quantizer_alone(fsq, rvq, bits):
    configs = [layered(names) for names in (fsq, rvq)]
    assert [take(config, RUN) for config in configs] == [run_name(fsq), run_name(rvq)]
    quantizers = [take(config, QUANTIZER) for config in configs]
    assert configs[0] == configs[1]
    built = [build(quantizer, Quantizer) for quantizer in quantizers]
    assert built[0].dim == built[1].dim
    assert [sum(code_bits(quantizer.codebook_sizes)) for quantizer in built] == [bits, bits]


@pytest.mark.parametrize(
    "name",
    "small/quickstart_rvq small/quickstart_bsq small/quickstart_nested small/quickstart_rvq_channel "
    "overlays/bsq overlays/fsq_32bit overlays/rvq_32bit small/fsq_32bit".split(),
)
def test_overlays_hold_a_quantizer_and_a_name(name):
    config = read(name)
    take(config, QUANTIZER)
    assert config == {
        "model": {"init_args": {"codec": {"init_args": {}}}},
        "trainer": {"logger": {"init_args": {"name": run_name([name])}}},
    }


def test_all_rvq_configurations_share_one_kind_of_codebook():
    """One kind of codebook for all RVQ configurations, with the same settings but for the number of stages."""
    books = []
    for names in (["rvq"], ["rvq", "overlays/rvq_32bit"], ["quickstart", "small/quickstart_rvq"]):
        books += take(layered(names), QUANTIZER)["init_args"]["codebooks"]
    assert len(books) == 2 + 4 + 2
    assert all(book == books[0] for book in books)


def test_the_small_recipes_are_trained_at_many_levels():
    """Teacher and student, FSQ and RVQ alike; continued and fine-tuned runs are laid over these."""
    gains = [read(name)["data"]["augmentation"]["gain_db"] for name in ("small/fsq", "small/student")]
    assert gains[0] == gains[1] and gains[0][0] <= -12 and gains[0][1] >= 3
    for overlay in ("small/rvq", "small/aware", "small/continued", "small/student_aware"):
        assert "augmentation" not in read(overlay).get("data", {})
