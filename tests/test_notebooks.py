"""Every notebook runs with and without stored runs, draws its figures, and is committed without output."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

from scripts import notebooks as script
from tests.faults import forked  # noqa: F401 - computes a gradient before any fork
from tests.processes import status_of
from tests.runs.factory import FLOAT_BITS, write_run
from xnorlit.commands import main as cli
from xnorlit.commands.resolve import resolved
from xnorlit.runs.config import flatten
from xnorlit.sweep import Job
from xnorlit.sweep.grid import Grid, plan
from xnorlit.sweep.grid.argv import Base
from xnorlit.sweep.grid.plan import planned
from xnorlit.sweep.table import brief

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# The number of pictures of each notebook, and words that it must print.
SHOWN = {
    "01_pair": (3, ("McNemar", "matched: only model.binarizer differs")),
    "02_scale_gradient": (3, ("every combination", "XNOR-alpha-K", "One standard error of a cell: ")),
    "03_bits": (2, ("every combination", "weight_bits", "One standard error of a cell: ")),
    "04_inside": (4, ("% after 4 epochs", "conv2: ", "input channels are dead")),
    "05_your_own": (2, ("sine and float: matched", "differ for 0 of", "packed.safetensors")),
    "06_your_network": (1, ("blocks.0", "matched: only model.binarizer differs", "differ for 0 of")),
}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_stored_without_output(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_defines_nothing_that_belongs_in_the_package(notebook):
    """Only the subject of a notebook may be defined in it: the binarizer of one, the network of another."""
    code = ["".join(c["source"]) for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    made = [line for cell in code for line in cell.splitlines() if line.startswith(("def ", "class "))]
    subjects = {
        "05_your_own": ["class SineSign(xl.Binarizer):"],
        "06_your_network": ["class Block(nn.Module):", "class Net(nn.Module):"],
    }
    assert made == subjects.get(notebook.stem, [])
    (own,) = [cell for cell in code if made and made[0] in cell] or [""]
    assert len(own.splitlines()) <= 30


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout whose recipe for the built-in images uses a few small pictures instead, with its brief pair."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "experiments", root / "experiments")
    generator = np.random.default_rng(0)
    for split, count in (("train", 48), ("val", 24)):
        for index in range(count):
            folder = root / "photos" / split / "abcdefghij"[index % 10]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 60, (32, 32, 3)) + 20 * (index % 10)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03d}.png")
    base = root / "experiments" / brief.RECIPE / "base.yaml"
    recipe = yaml.safe_load(base.read_text())
    recipe["data"] |= {"source": str(root / "photos"), "backend": "folder", "workers": 0, "batch_size": 8}
    recipe["trainer"] |= {"precision": "32-true"}
    base.write_text(yaml.safe_dump(recipe))
    before = sys.argv
    for arm in ("float", "xnor"):
        overlay = str(base.with_name(f"{arm}.yaml"))
        words = brief.argv(arm, root / "brief", experiments=root / "experiments")
        assert cli.main(["fit", *words, "-c", overlay, "--run.arm", arm]) == 0
    sys.argv = before
    return root


def copied(notebook: Path, root: Path) -> Path:
    ignored = shutil.ignore_patterns("results")
    shutil.copytree(ROOT / "notebooks", root / "notebooks", dirs_exist_ok=True, ignore=ignored)
    return root / "notebooks" / notebook.name


def shown_by(outputs: list[dict[str, Any]], printed: list[str]) -> tuple[list[str], str]:
    """The pictures among some outputs, and all text without rich's colours."""
    pictures = [output["image/png"] for output in outputs if "image/png" in output]
    plain = re.sub(r"\x1b\[[\d;]*m", "", " ".join([*printed, *(output.get("text/plain", "") for output in outputs)]))
    return pictures, " ".join(plain.split())


def executed(notebook: Path, root: Path) -> tuple[list[str], str]:
    """The pictures and the printed text of a notebook, executed as by `make notebooks`."""
    content, problem = script.run(copied(notebook, root))
    assert not problem, problem
    outputs = [output for cell in content.cells for output in cell.get("outputs", [])]
    return shown_by([output.get("data", {}) for output in outputs], [output.get("text", "") for output in outputs])


class Shell(InteractiveShell):
    """IPython without a terminal or a kernel."""

    def enable_gui(self, gui: str | None = None) -> None:
        """Do nothing: figures are pictures."""


def executed_in_a_fork(notebook: Path, root: Path) -> tuple[list[str], str]:
    """The same by IPython in a fork: a kernel would import torch, Lightning and matplotlib for many seconds."""
    file, found = copied(notebook, root), root / "shown.json"

    def answers(jobs: list[Job]) -> list[dict[str, Any]]:
        return [flatten(answer["config"]) for answer in resolved([job.argv for job in jobs])]

    def work() -> None:
        os.chdir(file.parent)
        plan.settings = answers  # no process; tests/sweep/grid/test_command.py starts it
        shell = Shell.instance()
        shell.run_line_magic("matplotlib", "inline")
        outputs, printed = [], []
        for cell in nbformat.read(file, as_version=4).cells:
            if cell.cell_type == "code":
                with capture_output() as captured:
                    ended = shell.run_cell(cell.source)
                if not ended.success:
                    print(captured.stdout, captured.stderr)  # noqa: T201
                    ended.raise_error()
                printed += [captured.stdout, captured.stderr]
                outputs += [output.data for output in captured.outputs]
        found.write_text(json.dumps(shown_by(outputs, printed)))

    assert status_of(work) == 0
    pictures, text = json.loads(found.read_text())
    return pictures, text


# Of two grids, the combinations that have finished: the third of the scales lacks one.
GRIDS = {
    "scale-gradient": lambda cell: "K" not in cell["model.binarizer"] or cell["model.binarizer.gradient"] != "paper",
    "bits": lambda cell: {cell[f"model.binarizer.{which}_bits"] for which in ("weight", "input")} <= {1, 32},
}


@pytest.fixture(scope="module")
def grids(checkout):
    """The folder of runs of the grids, each run configured as its grid asks."""
    root, before = checkout / "grids", sys.argv
    for name, finished in GRIDS.items():
        grid = Grid.load(checkout / "experiments" / "ablations" / f"{name}.yaml")
        trials = [trial for trial in planned(grid, Base(root=root)) if finished(trial.parameters)]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(checkout)
            configs = [answer["config"] for answer in resolved([trial.job.argv for trial in trials])]
        for number, (trial, config) in enumerate(zip(trials, configs, strict=True)):
            place = trial.job.place
            real = place.arm == "W32-A32"
            summary = {"bits": {"float": FLOAT_BITS, "packed": FLOAT_BITS, "binary": 0}} if real else {}
            run = write_run(
                root, place.arm, place.seed, experiment=place.experiment, right=600 + 9 * number, summary=summary
            )
            (run / "config.yaml").write_text(yaml.safe_dump(config))
    sys.argv = before
    return root


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_draws_stored_runs(notebook, checkout, grids, tmp_path):
    shutil.copytree(checkout / "experiments", tmp_path / "experiments")
    for stored in ("runs", "notebooks/results/runs"):
        shutil.copytree(checkout / "brief", tmp_path / stored)
    shutil.copytree(grids, tmp_path / "runs", dirs_exist_ok=True)
    # One notebook shows that a kernel does the same; the slow test below executes each by one.
    execute = executed if notebook == NOTEBOOKS[0] else executed_in_a_fork
    pictures, text = execute(notebook, tmp_path)
    count, words = SHOWN[notebook.stem]
    assert len(pictures) == count
    assert [word for word in words if word not in text] == []
    assert "a demonstration, not a measurement" not in text


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_trains_its_runs_if_none_are_stored(notebook, tmp_path):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    pictures, text = executed(notebook, tmp_path)
    count, words = SHOWN[notebook.stem]
    assert len(pictures) == count
    assert [word for word in words if word not in text] == []
    assert not (tmp_path / "runs").exists(), "what a notebook trains is kept apart from the user's own runs"


def write(folder: Path, name: str, *code: str) -> Path:
    folder.mkdir(exist_ok=True)
    cells = [nbformat.v4.new_code_cell(cell) for cell in code]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def test_make_notebooks_writes_pages_and_leaves_the_notebooks_as_they_were(tmp_path, capfd):
    file = write(
        tmp_path, "01_good", "import sys, os\nprint(sys.executable)", "print('[epoch]   1/2'); print(os.getcwd())"
    )
    before = file.read_bytes()
    assert script.main([], tmp_path) == 0
    assert file.read_bytes() == before
    page = (tmp_path / "results" / "01_good.html").read_text()
    assert sys.executable in page, "the kernel is this very Python"
    assert str(tmp_path) in page, "a notebook runs where it lies, as in Jupyter"
    assert "http" not in "".join(line for line in page.splitlines() if "<script" in line or "<link" in line)
    output = capfd.readouterr().out
    assert "[draw]    1/1  01_good ..." in output
    assert "[epoch]   1/2" in output, "how far a training is, is seen while it runs"


def test_a_failing_cell_is_named_with_its_message_and_the_others_run(tmp_path, capfd):
    write(tmp_path, "01_bad", "x = 1", "raise ValueError('no such run')", "never = 1")
    write(tmp_path, "02_good", "x = 1")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "01_bad.html").write_text("of before")
    assert script.main([], tmp_path) == 1
    error = capfd.readouterr().err
    assert "01_bad.ipynb, code cell 2 of 3: ValueError: no such run" in error
    assert "1 of 2 notebooks failed: 01_bad." in error
    results = {file.name for file in (tmp_path / "results").iterdir()}
    assert results == {"01_bad.html", "01_bad.failed.html", "02_good.html"}
    assert (tmp_path / "results" / "01_bad.html").read_text() == "of before"
    write(tmp_path, "01_bad", "x = 1")
    assert script.main(["01"], tmp_path) == 0
    assert not (tmp_path / "results" / "01_bad.failed.html").exists()


def test_a_kernel_that_dies_is_reported_with_its_signal(tmp_path, capfd):
    write(tmp_path, "01_killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert script.main([], tmp_path) == 1
    assert "01_killed.ipynb, the kernel died: signal 9, Killed (after" in capfd.readouterr().err


def test_a_name_that_matches_no_notebook_is_refused(tmp_path, capfd):
    write(tmp_path, "01_good", "x = 1")
    assert script.main(["07"], tmp_path) == 2
    assert "no notebook begins with 07. Known: 01_good." in capfd.readouterr().err
