"""The student beside its teacher: counts, chance levels and costs by hand, reports, any number of ranks."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks import AgreementReport
from callbacks.analysis.agreement_counts import AgreementRow, count_agreement, summarise_agreement
from callbacks.metrics import STOI
from codec import BSQ, FSQ, RVQ, LearnedCodebook
from tests.support.agreement_ranks import CLIPS, module, report
from tests.support.codec_fakes import CountingModule, loader, tiny_codec, trainer
from tests.support.paths import ROOT


def by_name(rows: list[AgreementRow]) -> dict[str, AgreementRow]:
    return {row.figure: row for row in rows}


def levels_to_codes(quantizer: FSQ, levels: list[list[int]]) -> torch.Tensor:
    return quantizer.levels_to_codes(torch.from_numpy(np.array(levels))[None])


def test_figures_and_chance_levels_are_those_counted_by_hand() -> None:
    quantizer = FSQ(8, (4, 3))
    teacher = levels_to_codes(quantizer, [[0, 1, 2, 3], [0, 0, 2, 1]])  # [d, F]
    student = levels_to_codes(quantizer, [[0, 2, 0, 3], [0, 1, 2, 1]])
    rows = by_name(summarise_agreement([count_agreement("a", quantizer, teacher, student)], quantizer))
    assert rows["exact code"].measured == 2 / 4
    assert rows["same level"].measured == pytest.approx((2 / 4 + 3 / 4) / 2)
    assert rows["within one level"].measured == pytest.approx((3 / 4 + 4 / 4) / 2)
    a, b = ([(0, 0), (1, 0), (2, 2), (3, 1)], [(0, 0), (2, 1), (0, 2), (3, 1)])  # the frames' pairs of levels
    pairs = [(a[i], b[j]) for i in range(4) for j in range(4) if i != j]
    assert rows["same level, dimension 1"].chance == pytest.approx(sum(x[0] == y[0] for x, y in pairs) / 12)
    assert rows["same level, dimension 2"].chance == pytest.approx(sum(x[1] == y[1] for x, y in pairs) / 12)
    assert rows["same level, dimension 1"].measured == 2 / 4
    assert rows["same level"].chance == pytest.approx(sum(x[d] == y[d] for x, y in pairs for d in (0, 1)) / 24)
    near = sum(abs(x[d] - y[d]) <= 1 for x, y in pairs for d in (0, 1))
    assert rows["within one level"].chance == pytest.approx(near / 24)
    assert rows["exact code"].chance == sum(x == y for x, y in pairs) / 12
    outputs = [quantizer.decode(codes)[0].T for codes in (teacher, student)]
    cosine = torch.cosine_similarity(*outputs, dim=1).mean().item()
    assert rows["cosine of quantizer outputs"].measured == pytest.approx(cosine, abs=1e-6)


def test_of_signs_bits_are_compared_not_codes_of_a_table_of_all() -> None:
    quantizer = BSQ(8, bits=16)
    teacher = torch.randint(2**16, (1, 1, 6), generator=torch.Generator().manual_seed(0))
    rows = by_name(summarise_agreement([count_agreement("a", quantizer, teacher, teacher ^ 0b100)], quantizer))
    assert rows["exact code"].measured == 0
    assert rows["same level"].measured == pytest.approx(15 / 16)
    assert rows["same level, dimension 3"].measured == 0


def test_independent_codes_agree_at_their_chance_level() -> None:
    """Skewed, unequal histograms: two-sided, within four standard errors of 20,000 frames."""
    quantizer = FSQ(8, (4, 3))
    generator = np.random.default_rng(0)
    shares = {4: [0.6, 0.2, 0.15, 0.05], 3: [0.1, 0.7, 0.2]}
    teacher, student = (
        levels_to_codes(quantizer, [generator.choice(n, 20_000, p=shares[n][:: 1 - 2 * who]) for n in (4, 3)])
        for who in (0, 1)
    )
    for figure, row in by_name(
        summarise_agreement([count_agreement("a", quantizer, teacher, student)], quantizer, draws=20_000)
    ).items():
        assert row.measured == pytest.approx(row.chance, abs=0.02), figure


def test_chance_counts_whole_codes_whose_dimensions_hang_together() -> None:
    """Two codes, all of whose levels differ: by their dimensions' histograms alone, chance would be half of a half."""
    quantizer = FSQ(8, (4, 4))
    teacher, student = torch.from_numpy(np.random.default_rng(0).choice([0, 5], (2, 1, 1, 4000)))
    rows = by_name(summarise_agreement([count_agreement("a", quantizer, teacher, student)], quantizer))
    assert rows["exact code"].chance == pytest.approx(0.5, abs=0.002)
    assert rows["exact code"].measured == pytest.approx(0.5, abs=0.04)  # five standard errors
    outputs = quantizer.decode(torch.tensor([[[0, 5]]]))[0]
    cosine = (1 + torch.cosine_similarity(outputs[:, 0], outputs[:, 1], dim=0).item()) / 2
    assert rows["cosine of quantizer outputs"].chance == pytest.approx(cosine, abs=0.05)


def test_equal_codes_agree_wholly_and_a_single_frame_has_no_chance() -> None:
    quantizer = FSQ(8, (4, 4))
    codes = torch.randint(16, (1, 1, 50))
    rows = summarise_agreement([count_agreement("a", quantizer, codes, codes)], quantizer)
    assert all(row.measured == pytest.approx(1.0) for row in rows)
    assert 0 < by_name(rows)["exact code"].chance < 0.2
    rows = summarise_agreement([count_agreement("a", quantizer, codes[..., :1], codes[..., :1])], quantizer)
    assert all(row.measured == pytest.approx(1.0) and np.isnan(row.chance) for row in rows)


def test_codebooks_without_order_have_no_neighbours() -> None:
    quantizer = RVQ(8, [LearnedCodebook(16, 4), LearnedCodebook(8, 4)])
    teacher = torch.tensor([[[0, 1, 15], [3, 3, 7]]])
    student = torch.tensor([[[0, 2, 15], [3, 3, 0]]])
    rows = by_name(summarise_agreement([count_agreement("a", quantizer, teacher, student)], quantizer))
    assert "within one level" not in rows
    assert rows["exact code"].measured == pytest.approx(1 / 3)
    assert rows["same codebook, codebook 2"].measured == pytest.approx(2 / 3)
    assert rows["same codebook"].chance == pytest.approx((0 / 6 + 2 / 6) / 2)


def test_a_report_in_test(tmp_path: Path) -> None:
    callback = report()
    trainer(tmp_path, [callback]).test(module(), loader(CLIPS), verbose=False)
    assert callback.report is not None
    found = json.loads((tmp_path / "agreement.json").read_text())
    assert found["frames"] == sum(-(-batch["audio"].shape[-1] // 320) for batch in CLIPS)
    assert len(found["clips"]) == 5
    with (tmp_path / "agreement.csv").open() as file:
        table = {row["figure"]: row for row in csv.DictReader(file)}
    for row in callback.agreement:
        assert float(table[row.figure]["measured"]) == row.measured
        assert float(table[row.figure]["chance"]) == row.chance
        assert 0 < row.measured < 1
    assert [(r["channel"], r["codec"], r["metric"]) for r in found["scores"][:2]] == [
        ("bsc-0", "teacher", "stoi"),
        ("bsc-0", "teacher", "si_sdr"),
    ]
    assert len(found["scores"]) == 2 * 2 * 2
    means = {(r["channel"], r["codec"], r["metric"]): r["mean"] for r in found["scores"]}
    assert len(found["differences"]) == 2 * 2
    for gap in found["differences"]:
        assert (gap["codec"], gap["baseline"], gap["pairs"]) == ("student", "teacher", 5)
        place = gap["channel"], gap["metric"]
        expected = means[place[0], "student", place[1]] - means[place[0], "teacher", place[1]]
        assert gap["difference"] == pytest.approx(expected, abs=1e-9)
        assert gap["low"] <= gap["difference"] <= gap["high"]
    assert [cost["encoder"] for cost in found["costs"]] == ["teacher", "student"]


def test_the_table_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback = report()
    trainer(tmp_path, [callback]).validate(module(), loader(CLIPS[:2]), verbose=False)
    text = capsys.readouterr().out
    for word in (
        "measured  ",
        "chance",
        "exact code",
        "within one level",
        "same level, dimension 4",
        "minus",
        "bsc-0.1",
    ):
        assert word in text
    assert "real-time factor" in text


def test_in_fit_the_figures_are_logged_and_nothing_is_scored(tmp_path: Path) -> None:
    callback, logger = report(), CSVLogger(tmp_path, name="", version="")
    runner = trainer(
        tmp_path,
        [callback],
        logger=logger,
        log_every_n_steps=1,
        max_epochs=1,
        limit_train_batches=1,
        enable_checkpointing=False,
    )
    runner.fit(module(), loader(CLIPS[:1]), loader(CLIPS))
    assert callback.report is None and not (tmp_path / "agreement.json").exists()
    with (tmp_path / "metrics.csv").open() as file:
        logged = [row for row in csv.DictReader(file) if row.get("agreement/same_level")]
    assert len(logged) == 1  # the sanity check is left alone
    assert float(logged[0]["agreement/same_level"]) == pytest.approx(by_name(callback.agreement)["same level"].measured)
    assert "agreement/same_level_dimension_1" in logged[0]


@pytest.mark.slow
def test_two_ranks_report_what_one_does(tmp_path: Path) -> None:
    single = report()
    trainer(tmp_path / "one", [single]).test(module(), loader(CLIPS), verbose=False)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = ROOT / "tests" / "support" / "agreement_ranks.py"
    result = subprocess.run(
        [*command, str(script), str(tmp_path)], capture_output=True, text=True, timeout=900, check=False,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    alone = json.loads((tmp_path / "one" / "agreement.json").read_text())
    for name in ("uneven", "empty"):
        together = json.loads((tmp_path / name / "agreement.json").read_text())
        for part in ("frames", "clips", "agreement", "scores", "differences"):
            assert together[part] == alone[part], part
        for rank in (0, 1):
            rows = torch.load(tmp_path / f"{name}_{rank}.pt", weights_only=True)
            assert rows == [tuple(row) for row in single.agreement]


def test_it_needs_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="module CountingModule has no teacher"):
        trainer(tmp_path, [AgreementReport(metrics=[STOI()])]).test(CountingModule(tiny_codec()), loader(CLIPS[:1]))
    with pytest.raises(ValueError, match="with unique names"):
        AgreementReport((0.1, 0.1))
