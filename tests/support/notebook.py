"""Runs the notebook of the manual; `python -m tests.support.notebook` stores what it printed and drew in it."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.support.paths import ROOT

NOTEBOOK = ROOT / "docs" / "python.ipynb"


def run_notebook(folder: Path, *, timeout: int = 300) -> nbformat.NotebookNode:
    """Execute all cells in a folder, with this interpreter; returns the notebook with its outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.metadata.kernelspec.name = "python3"
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=place)
    client.execute()
    for cell in notebook.cells:
        cell.metadata.clear()  # times of execution
        if "outputs" in cell:  # warnings name files of this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    nbformat.write(run_notebook(ROOT), NOTEBOOK)
    sys.exit(0)
