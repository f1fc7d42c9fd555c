import numpy as np
import pytest
from PIL import Image

from tests.one_parser import share_parser

CLASSES, TRAIN, VAL = ("ant", "bee", "cat"), 32, 7


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder tree of 3 classes that differ in brightness, with 32 training and 7 validation images of 32 px."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for index in range(count):
            label = index % len(CLASSES)
            folder = root / split / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 100, (32, 32, 3)) + 70 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03d}.png")
    return root


@pytest.fixture(scope="session")
def big_photo(tmp_path_factory):
    """A tree of two classes with one image of 256 px each in either split: enough for a step of an ImageNet recipe."""
    root = tmp_path_factory.mktemp("big")
    for split in ("train", "val"):
        for label, name in enumerate(("dark", "light")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for copy in range(2):
                Image.new("RGB", (256, 256), (100 * label + 50 * copy,) * 3).save(folder / f"{copy}.png")
    return root


@pytest.fixture(autouse=True)
def no_account(monkeypatch):
    """Tests never log in. One test turns on W&B's offline mode."""
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(autouse=True)
def one_parser(monkeypatch):
    """The commands of a process share a parser; tests of other folders, and new processes, build their own."""
    share_parser(monkeypatch.setattr)
