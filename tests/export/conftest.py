import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.packed.tiny import NETWORKS, graph, tensors_of
from xnorlit.commands import main as cli
from xnorlit.export.pack import Packed

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CLASSES, TRAIN, VAL = ("ant", "bee", "cat", "dog", "elk", "fox"), 48, 20


@pytest.fixture(scope="module")
def packed():
    """A tiny network of random weights, as `pack` gives it."""
    given = graph(NETWORKS["signs"], classes=5)
    return Packed(given, tensors_of(given))


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A tree of 6 classes that differ in brightness; all images have different sizes."""
    root = tmp_path_factory.mktemp("trained") / "photos"
    generator = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for index in range(count):
            label = index % len(CLASSES)
            folder = root / split / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 60, (30 + index, 70 - index, 3)) + 38 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03d}.png")
    return root


@pytest.fixture(scope="session")
def trained(photos):
    """The folder of runs, with one finished run of each arm, xnor and float."""
    root = photos.parent / "runs"
    before = sys.argv
    for arm in ("xnor", "float"):
        words = ["fit", "-c", EXPERIMENTS / "cifar10" / "base.yaml", "-c", EXPERIMENTS / "cifar10" / f"{arm}.yaml"]
        settings = {
            "data.source": photos, "data.backend": "folder", "data.workers": 0, "data.batch_size": 8,
            "run.root": root, "run.wandb": "off", "trainer.max_epochs": 2, "trainer.precision": "32-true",
        }  # fmt: skip
        assert cli.main([str(w) for w in words] + [f"--{key}={value}" for key, value in settings.items()]) == 0
    sys.argv = before
    return root


@pytest.fixture(scope="session")
def run(trained):
    """The finished XNOR run."""
    return trained / "cifar10" / "pair-0" / "xnor" / "seed-0"


@pytest.fixture
def xnorlit(capsys, monkeypatch):
    """Run a command line in this process; return its exit status, output and messages."""

    def call(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["xnorlit"])
        capsys.readouterr()
        status = cli.main([str(word) for word in words])
        return status, *capsys.readouterr()

    return call
