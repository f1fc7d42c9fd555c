"""Every notebook runs from stored runs, and stands in git without output."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.runs.factory import write_run

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_stored_without_output(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_from_stored_runs(notebook, tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "runs", "xnor", seed, right=640 + seed)
        write_run(tmp_path / "runs", "float", seed, right=750)
    (tmp_path / "notebooks").mkdir()
    content = nbformat.read(notebook, as_version=4)
    NotebookClient(content, timeout=120, resources={"metadata": {"path": tmp_path / "notebooks"}}).execute()
    pictures = [
        output for cell in content.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2
    assert "McNemar" in json.dumps(content)
