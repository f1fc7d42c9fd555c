"""The wheel and the sdist work outside the checkout: README's example, and the commands with packaged recipes."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_shown import pictures

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


class Installed:
    """A new virtual environment outside the checkout, with xnorlit in it, and a folder to work in.

    Everything but xnorlit comes from this environment, through a path file: nothing is fetched, and torch is not
    unpacked again. The path file does not carry over this environment's own xnorlit, which is installed as editable.
    """

    def __init__(self, home: Path, archive: Path):
        venv.create(home / "venv", symlinks=True)
        self.python = home / "venv" / "bin" / "python"
        self.work = home / "work"
        self.work.mkdir()
        names = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        self.environment = {name: value for name, value in os.environ.items() if name not in names}
        self.environment |= {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        self.site = Path(self.run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        theirs = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.site / "others.pth").write_text("".join(f"{path}\n" for path in sorted(theirs)))
        pip = (sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check")
        self.run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", archive)

    def run(self, *words: "str | Path") -> str:
        done = subprocess.run(
            [str(word) for word in words], cwd=self.work, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def xnorlit(self, *words: "str | Path") -> str:
        return self.run(self.python.with_name("xnorlit"), *words)

    def files(self) -> set[str]:
        """The package's files, without bytecode."""
        found = (self.site / "xnorlit").rglob("*")
        return {str(file.relative_to(self.site)) for file in found if "__pycache__" not in file.parts}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, and the wheel that is built from it, as `make wheel` builds them."""
    dist = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(request: pytest.FixtureRequest, archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory):
    return Installed(tmp_path_factory.mktemp(request.param), archives[request.param])


def test_the_package_is_the_installed_one_with_its_kernels_and_recipes(installed):
    code = "import xnorlit, xnorlit.packed._kernels as kernels; print(xnorlit.__file__); print(kernels.__file__)"
    for path in installed.run(installed.python, "-c", code).split():
        assert Path(path).is_relative_to(installed.site)
    packaged = installed.site / "xnorlit" / "experiments"
    for folder in ("", "synthetic", "cifar10", "ablations"):
        assert {file.name for file in (packaged / folder).glob("*.yaml")} == {
            file.name for file in (ROOT / "experiments" / folder).glob("*.yaml")
        }
    assert not list(packaged.glob("*/records")), "records of runs are for readers of the repository"
    zoo = {file.name for file in (ROOT / "xnorlit" / "zoo").iterdir()}
    assert {file.name for file in (installed.site / "xnorlit" / "zoo").iterdir()} == zoo
    assert not (installed.site / "xnorlit" / "packed" / "kernels").exists(), "the sources stay in the sdist"
    assert (installed.site / "xnorlit" / "packed" / "include" / "xnorlit.h").exists(), "the header for C comes along"


def test_the_example_of_the_readme_runs(installed):
    example = re.search(r"^```python\n(.*?import xnorlit as xl.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert example, "README has no example that imports xnorlit as xl"
    (installed.work / "example.py").write_text(example[1])
    installed.run(installed.python, "example.py")


def test_torchvisions_resnet18_is_binarised_trained_packed_and_run_without_torch(installed):
    photos = pictures(installed.work / "photos", {"train": 4, "test": 3}, (34, 40))
    told = installed.run(installed.python, ROOT / "examples" / "resnet18.py", photos)
    assert "its 16 binary layers" in told
    assert "logits equal bit for bit: True\n" in told
    assert told.endswith("6 of 6 predictions are equal without torch\n")


def test_a_pair_is_trained_packed_classified_and_reported_with_the_packaged_recipes(installed):
    before = installed.files()
    brief = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1")
    for arm in ("xnor", "float"):
        told = installed.xnorlit("train", arm, *brief, "--run.wandb", "off")
        assert f"{installed.site}/xnorlit/experiments/synthetic/base.yaml" in told
    run = installed.work / "runs" / "synthetic" / "pair-0" / "xnor" / "seed-0"
    assert (run / "summary.json").is_file()

    installed.xnorlit("pack", run)
    (packed,) = run.rglob("*packed*.safetensors")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(installed.work / "black.png")
    assert "black.png" in installed.xnorlit("classify", packed, "black.png")

    installed.xnorlit("report", "--wandb", "off")
    assert list((installed.work / "runs").rglob("*.html"))

    assert "6 missing" in installed.xnorlit("ablate", "smallest", "--dry-run")
    assert installed.files() == before, "nothing is written into the package"


def test_the_users_own_recipes_come_first(installed):
    own = installed.work / "experiments" / "synthetic"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("run: {arm: mine}\nmodel: {binarizer: BWN}\n")
    told = installed.xnorlit("train", "mine", "--trainer.fast_dev_run", "1")
    assert "-c experiments/synthetic/mine.yaml" in told
