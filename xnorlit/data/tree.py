"""Image folders on disk: one folder per class."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xnorlit.data.listing import Listing
from xnorlit.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
TRAIN_NAMES = ("train", "training")
VAL_NAMES = ("val", "valid", "validation")
TEST_NAMES = ("test", "testing")


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """A split of image files.

    Args:
        root: Folder that the listing's names are relative to.
        listing: Names, labels, classes.
    """

    root: Path
    listing: Listing

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self.root / self.listing.names[index]


def find_split(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of a split's usual folder names that exists in `root`."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def scan(folder: Path) -> ImageFiles:
    """The classes of a folder (its subfolders, sorted) and their images (at any depth, sorted).

    Raises:
        UserError: Fewer than two classes, or a class without images.
    """
    classes = tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not _hidden(entry.name)))
    if len(classes) < 2:
        found = f"one class, {classes[0]}" if classes else "no class folder"
        raise UserError(
            f"{folder} holds {found}. Expected a folder for each of two or more classes, "
            f"such as {folder}/cat/*.jpg and {folder}/dog/*.jpg."
        )
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = sorted(_images(folder / name, name))
        if not images:
            raise UserError(
                f"Class {name} of {folder} holds no image. Expected files ending in {', '.join(sorted(SUFFIXES))}; "
                "add some or remove the folder."
            )
        names += images
        labels += [label] * len(images)
    return ImageFiles(folder, Listing(classes, names, np.array(labels, np.int64)))


def _images(folder: Path, prefix: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if _hidden(entry.name):
            continue
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            yield from _images(Path(entry.path), name)
        elif Path(entry.name).suffix.lower() in SUFFIXES:
            yield name


def _hidden(name: str) -> bool:
    return name.startswith(".")
