"""Image folders on disk: one folder per class, under train/ and val/ or test/."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from xnorlit.data import pictures
from xnorlit.data.listing import Listing
from xnorlit.data.pictures import SUFFIXES, class_folders, is_image, names_below
from xnorlit.errors import UserError

SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """A split of image files.

    Args:
        root: Folder that the files are relative to.
        listing: Names, labels, classes.
        files: The file of each sample; a flat folder's names differ from its files.
    """

    root: Path
    listing: Listing
    files: Sequence[str]

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self.root / self.files[index]

    def open(self, index: int) -> Image.Image:
        """A sample as 8-bit RGB."""
        return pictures.read_rgb(self.path(index))

    def shape(self, index: int) -> tuple[int, int]:
        """Height and width of a sample, from the file's header if the format has one."""
        try:
            with Image.open(self.path(index)) as image:
                width, height = image.size
                turned = pictures.orientation(image) >= 5
                if turned and image.format not in ("JPEG", "MPO", "PNG", "WEBP"):
                    raise ValueError("Pillow's versions differ in whether the header's sides are turned already")
        except Exception:  # Pillow's plug-ins raise almost any exception on broken files.
            height, width = self.open(index).size[::-1]  # raises the error that names the file
            turned = False
        return (width, height) if turned else (height, width)


def split_folder(root: Path, split: str) -> Path | None:
    """The first of a split's usual folder names that exists in `root`."""
    return next((root / name for name in SPLIT_FOLDERS[split] if (root / name).is_dir()), None)


def scan(folder: Path) -> ImageFiles:
    """The classes of a folder (its subfolders, sorted) and their images (at any depth, sorted).

    Raises:
        UserError: Fewer than two classes, or a class without images.
    """
    folders = class_folders(folder)
    classes = tuple(folders)
    if len(classes) < 2:
        found = f"one class, {classes[0]}" if classes else "no class folder"
        raise UserError(
            f"{folder} holds {found}. Expected a folder for each of two or more classes, "
            f"such as {folder}/cat/*.jpg and {folder}/dog/*.jpg."
        )
    names: list[str] = []
    files: list[str] = []
    labels: list[int] = []
    for label, (name, inside) in enumerate(folders.items()):
        images = sorted(names_below(folder / inside, name))
        if not images:
            raise UserError(
                f"class {name} of {folder} holds no image. Expected files ending in {', '.join(sorted(SUFFIXES))}; "
                "add some or remove the folder."
            )
        names += images
        files += [inside + image.removeprefix(name) for image in images]
        labels += [label] * len(images)
    return ImageFiles(folder, Listing(classes, names, np.array(labels, np.int64)), files)


def flat_images(folder: Path) -> list[str]:
    """Names of the images directly in the folder, sorted."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_file() and is_image(entry.name))
