"""The notebook of the manual: it runs from the first cell to the last, and what is stored in it came from that."""

import json
from pathlib import Path

import pytest

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

from tests.support.notebook import NOTEBOOK, run_notebook


def outputs(notebook) -> list[str]:
    """The printed lines of all cells."""
    return [o.text for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stdout"]


def test_the_stored_outputs_are_complete_small_and_of_no_place():
    text = NOTEBOOK.read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert len(text) < 300_000 and [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {kind for cell in cells for output in cell["outputs"] for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds
    words = "".join(str(output.get("text", "")) for cell in cells for output in cell["outputs"])
    assert "/" not in words.replace("bit/s", "").replace(" / 32768", "") and "Traceback" not in words


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    done = outputs(run_notebook(tmp_path))
    assert any("mel distance" in line for line in done) and any("torch.int16" in line for line in done)
