"""Statistics of traces, by hand and by definition, and the command that prints them beside fitted models."""

import re

import numpy as np
import pytest
import torch

from codec import GilbertElliottLossChannel, ThreeStateLossChannel
from codec.channels import draw_generator
from codec.channels.packets import PacketTrace, loss_statistics, write_trace
from codec.channels.packets.__main__ import main


def test_runs_of_a_trace_by_hand():
    found = loss_statistics([c == "1" for c in "1100010110"])
    assert (found.packets, found.loss_share) == (10, 0.5)
    assert found.bursts.tolist() == [1, 2] and found.gaps.tolist() == [2, 0, 1]
    assert found.mean_burst == pytest.approx(5 / 3) and found.mean_gap == pytest.approx(5 / 3)
    clean = loss_statistics([False] * 4)
    assert clean.bursts.tolist() == [] and np.isnan(clean.mean_burst) and clean.mean_gap == 4


@pytest.fixture
def trace_file(tmp_path):
    """A trace that three states draw, with a delay for what arrives."""
    channel = ThreeStateLossChannel(0.02, 0.2, 0.3, 0.4)
    generator = draw_generator(0, "clip", channel.family, 0)
    lost = (channel(torch.zeros(3000, 1, dtype=torch.uint8), generator)[:, 0] == 0.5).numpy()
    delays = np.where(lost, np.nan, np.random.default_rng(0).exponential(0.01, 3000))
    delays -= np.nanmin(delays)
    write_trace(tmp_path / "trace.csv", PacketTrace(lost, 0.02, delays))
    return tmp_path / "trace.csv"


def test_the_command_sets_the_trace_beside_its_models(trace_file, capsys):
    assert main([str(trace_file)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("3000 packets of 20 ms")
    rows = {line[:22].strip(): re.findall(r"-?\d+\.\d+", line[22:]) for line in printed.splitlines()}
    trace, *fitted = map(float, rows["lost"])
    assert len(fitted) == 3 and all(abs(share - trace) < 0.3 for share in fitted)
    for kind, of in (("bursts", "1"), ("gaps", "64 and more")):
        assert f"{kind} of {of}" in rows
        shares = np.array([list(map(float, row)) for name, row in rows.items() if name.startswith(f"{kind} of")])
        np.testing.assert_allclose(shares.sum(0), 100, atol=0.05)
    simple, *hidden = map(float, rows["log-likelihood"])
    assert all(likelihood > simple for likelihood in hidden)
    assert printed.count("class_path: codec.GilbertElliottLossChannel") == 2


def test_its_lines_make_the_models_again(trace_file, capsys):
    yaml = pytest.importorskip("yaml")
    assert main([str(trace_file), "--buffer-seconds", "0.03", "--shortest-gap", "16"]) == 0
    printed = capsys.readouterr().out
    rows = yaml.safe_load("\n".join(line for line in printed.splitlines() if line.startswith("- {")))
    kinds = {"codec.GilbertElliottLossChannel": GilbertElliottLossChannel}
    kinds["codec.ThreeStateLossChannel"] = ThreeStateLossChannel
    models = [kinds[row["class_path"]](**row["init_args"]) for row in rows]
    shares = re.findall(r"\d+\.\d+", next(line for line in printed.splitlines() if line.startswith("lost ")))
    np.testing.assert_allclose([100 * model.error_rate for model in models], [float(s) for s in shares[1:]], atol=0.01)
    assert float(shares[0]) > 8  # late ones beside the lost ones: exp(−3) = 5 %


@pytest.mark.parametrize(("text", "options", "match"), [
    ("0000", [], "cannot be fitted"),
    ("0x00", [], "line 1 holds 'x'"),
    ("0101", ["--buffer-seconds", "0.1"], "has no delays"),
    ("0101", ["--shortest-gap", "0"], "shortest_gap 0"),
])  # fmt: skip
def test_mistakes_give_one_sentence(tmp_path, capsys, text, options, match):
    (tmp_path / "trace.txt").write_text(text)
    assert main([str(tmp_path / "trace.txt"), *options]) == 2
    printed = capsys.readouterr()
    assert not printed.out and printed.err.count("\n") == 1 and match in printed.err
