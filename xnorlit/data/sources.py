"""From the user's source to its splits: a named set, a folder tree, or .beton files."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xnorlit.data import sidecar, splits, synthetic, tree
from xnorlit.data.beton import Beton
from xnorlit.data.listing import Listing
from xnorlit.data.pictures import is_text
from xnorlit.data.tree import ImageFiles
from xnorlit.edge.names import at_home
from xnorlit.errors import UserError, did_you_mean

Triple = tuple[float, float, float]

# Per channel in 0..255 units, as torchvision and the CIFAR literature state them in 0..1.
IMAGENET_MEAN: Triple = (123.675, 116.28, 103.53)
IMAGENET_STD: Triple = (58.395, 57.12, 57.375)
CIFAR10_MEAN: Triple = (125.31, 122.95, 113.87)
CIFAR10_STD: Triple = (62.99, 62.09, 66.70)

SYNTHETIC_COUNTS = {"train": 6000, "val": 1000}
NAMED = ("synthetic", "cifar10", "imagenette", "imagenet")
TRAIN_IMAGES = {
    "synthetic": SYNTHETIC_COUNTS["train"],
    "cifar10": 50_000,
    "imagenette": 9_469,
    "imagenet": 1_281_167,
}
"""How many training images the named sets have."""


@dataclass(frozen=True, eq=False)
class ImageArray:
    """A split of images of one size, generated or unpacked at first use.

    Args:
        listing: Names, labels, classes.
        make: Gives uint8 [N, H, W, 3].
    """

    listing: Listing
    make: Callable[[], NDArray[np.uint8]]

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """uint8 [N, H, W, 3]."""
        return self.make()

    def open(self, index: int) -> Image.Image:
        """A sample as 8-bit RGB."""
        return Image.fromarray(self.images[index])


@dataclass(frozen=True, eq=False)
class BetonFile:
    """A split in a .beton, checked against its sidecar."""

    beton: Beton
    listing: Listing


Split = ImageArray | ImageFiles | BetonFile


@dataclass(frozen=True, eq=False)
class Source:
    """A data set's splits and what is known about its pixels."""

    name: str
    kind: Literal["synthetic", "named", "tree", "beton"]
    splits: dict[str, Split]
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    note: str = ""
    """A remark about these splits, for the printed line."""


def find(source: str, root: Path, *, image_size: int, need_val: bool = True) -> Source:
    """The splits that a name or a path stands for.

    Args:
        source: A name of `NAMED`, a folder tree, a folder with .beton files, or a train.beton.
        root: Folder of the named sets, which are downloaded there.
        image_size: Of the synthetic images.
        need_val: False if a part of train will be held out.

    Raises:
        UserError: There is nothing of that name, or it is not an image set.
    """
    if source == "synthetic":
        return _synthetic(image_size)
    if source == "cifar10":
        return _cifar10(root)
    if source == "imagenette":
        return replace(_tree(_imagenette(root), need_val), name="imagenette", kind="named")
    if source == "imagenet":
        return replace(_tree(_imagenet(root), need_val), name="imagenet", kind="named")
    if not is_text(source):
        raise UserError(f"the name of the folder {source} is not UTF-8. Rename it: a run's configuration names it.")
    path = at_home(source)
    if not path.exists():
        raise UserError(
            f"there is no image set named {source}, and no such file or folder.{did_you_mean(source, NAMED)} "
            f"Expected {', '.join(NAMED)}, a folder with train/ and val/ (or test/), or .beton files."
        )
    if path.suffix == ".beton" or (path.is_dir() and list(path.glob("*.beton"))):
        return _betons(path, need_val)
    if path.is_file():
        raise UserError(f"{path} is a file. Expected a folder with train/ and val/ (or test/), or a .beton file.")
    return _tree(path, need_val)


def _synthetic(size: int) -> Source:
    found: dict[str, Split] = {}
    for seed, (split, count) in enumerate(SYNTHETIC_COUNTS.items()):
        names = [f"synthetic/{size}px/seed-{seed}/{index:06d}" for index in range(count)]
        listing = Listing(synthetic.CLASSES, names, synthetic.labels(count))
        found[split] = ImageArray(listing, lambda count=count, seed=seed: synthetic.generate(count, size, seed))
    note = "not photographs: DATA=cifar10 for real ones"
    return Source("synthetic", "synthetic", found, synthetic.MEAN, synthetic.STD, note)


def _cifar10(root: Path) -> Source:
    from xnorlit.data import downloads

    found: dict[str, Split] = {}
    for split in ("train", "val"):
        images, labels, classes = downloads.cifar10(root, train=split == "train")
        names = [f"{split}/{index:05d}" for index in range(len(labels))]
        found[split] = ImageArray(Listing(classes, names, labels), lambda images=images: images)
    return Source("cifar10", "named", found, CIFAR10_MEAN, CIFAR10_STD, "val is CIFAR-10's test split")


def _imagenette(root: Path) -> Path:
    from xnorlit.data import downloads

    return downloads.imagenette(root)


def _imagenet(root: Path) -> Path:
    for place in (root / "imagenet", root):
        if any(tree.split_folder(place / inner, "train") for inner in splits.NESTED):
            return place
    raise UserError(
        f"imagenet cannot be downloaded by a program, and it is not in {root}. Ask for access at https://image-net.org "
        "(ILSVRC2012, tasks 1 and 2: 138 GB train, 6.3 GB val, and the devkit), unpack it into val/ and train/ with a "
        "folder per class, and pass DATA=/path/to/it (--data.source /path/to/it)."
    )


def _tree(path: Path, need_val: bool) -> Source:
    found = splits.find(path, need_val=need_val)
    note = "val is test/: there is no val/" if found.get("val") is found.get("test", ()) else ""
    return Source(path.resolve().name, "tree", dict(found), note=note)


def _betons(path: Path, need_val: bool) -> Source:
    folder, train = (path.parent, path) if path.suffix == ".beton" else (path, path / "train.beton")
    paths = {"train": train} | {split: folder / f"{split}.beton" for split in ("val", "test")}
    if not need_val and not paths["val"].exists():
        del paths["val"]
    if not paths["test"].exists():
        del paths["test"]
    elif "val" in paths and not paths["val"].exists():
        paths["val"] = paths["test"]
    found: dict[str, Split] = {split: open_beton(beton) for split, beton in paths.items()}
    classes = {split: part.listing.classes for split, part in found.items()}
    for split, names in classes.items():
        if names != classes["train"]:
            raise UserError(
                f"{paths[split]} has other classes than {train}. Expected two files of the same `xnorlit prepare`."
            )
    note = "val is test.beton: there is no val.beton" if paths.get("val") == paths.get("test", ()) else ""
    return Source(folder.resolve().name, "beton", found, note=note)


def open_beton(path: Path) -> BetonFile:
    """A .beton and its listing, checked against its sidecar."""
    opened, described = sidecar.verify(path)
    return BetonFile(opened, sidecar.listing(opened, described))
