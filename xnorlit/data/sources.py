"""Image sources: named sets, folder trees and .beton files."""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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

# Per channel, 0 to 255; torchvision and the CIFAR literature give them from 0 to 1.
IMAGENET_MEAN: Triple = (123.675, 116.28, 103.53)
IMAGENET_STD: Triple = (58.395, 57.12, 57.375)
CIFAR10_MEAN: Triple = (125.31, 122.95, 113.87)
CIFAR10_STD: Triple = (62.99, 62.09, 66.70)

SYNTHETIC_COUNTS = {"train": 6000, "val": 1000}


@dataclass(frozen=True, eq=False)
class ImageArray:
    """A split of images of one size, generated or unpacked at first use.

    Args:
        listing: Names, labels, classes.
        make: Makes the images, uint8 [N, H, W, 3].
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


def content(split: Split) -> str:
    """A hash of the sizes of a split's files, or of the pixels of a .beton; empty for generated images.

    Args:
        split: The split.
    """
    if isinstance(split, ImageArray):
        return ""
    if isinstance(split, BetonFile):
        return sidecar.load(split.beton.path).beton_sha256
    digest = hashlib.sha256()
    for index in range(len(split.listing)):
        digest.update(f"{split.path(index).stat().st_size};".encode())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Source:
    """The splits of a data set, with mean and deviation."""

    name: str
    kind: Literal["synthetic", "named", "tree", "beton"]
    splits: dict[str, Split]
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    note: str = ""
    """A remark about these splits, for the printed line."""


@dataclass(frozen=True)
class Named:
    """Everything known about an image set with a name, also before it is downloaded.

    Attributes:
        load: Loads its splits, downloading them if necessary, given the folder of the named sets, the size of generated
            images, and whether val is needed.
        counts: Images of each split.
        sizes: Smallest and largest (height, width), by area; None if they must be read from the images.
        classes: Classes by label; empty if its folders name them.
        wnids: Class folders named by a WordNet number, such as n01440764, and what each one shows.
        mean: Mean of each channel, 0 to 255.
        std: Standard deviation of each channel, 0 to 255.
        recipe: The recipe for it and for folders with its classes; if empty, the size of the images decides.
        licence: What is known about the rights to its images; empty if nothing is known.
        note: A remark about its splits, for the printed line.
    """

    load: Callable[[Path, int, bool], dict[str, Split]]
    counts: dict[str, int]
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
    classes: tuple[str, ...] = ()
    wnids: dict[str, str] = field(default_factory=dict)
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    recipe: str = ""
    licence: str = ""
    note: str = ""


def readable(classes: Iterable[str]) -> tuple[str, ...]:
    """Class names for display only, never for comparison: "tench" for "n01440764", from `Named.wnids`.

    Args:
        classes: Names of the class folders.
    """
    return tuple(_WORDS.get(name, name) for name in classes)


def recipe_for(classes: Iterable[str]) -> str | None:
    """The recipe of the named set with these classes, in any spelling of their folders; None if there is none.

    Args:
        classes: Names of the class folders.
    """
    seen = {_plain(name) for name in readable(classes)}
    for named in NAMED.values():
        if named.recipe and named.wnids and seen == {_plain(name) for name in named.wnids.values()}:
            return named.recipe
    return None


def find(source: str, root: Path, *, image_size: int, need_val: bool = True) -> Source:
    """The splits that a name or a path stands for.

    Args:
        source: A name of `NAMED`, a folder tree, a folder with .beton files, or a train.beton.
        root: Folder of the named sets, which are downloaded there.
        image_size: Size of the synthetic images.
        need_val: False if a part of train will be held out.

    Raises:
        UserError: Nothing has that name, or it is not an image set.
    """
    if named := NAMED.get(source):
        found, kind = named.load(root, image_size, need_val), "synthetic" if source == "synthetic" else "named"
        return Source(source, kind, found, named.mean, named.std, named.note)
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


def _tree(path: Path, need_val: bool) -> Source:
    found = splits.find(path, need_val=need_val)
    note = "val is test/, because there is no val/" if found.get("val") is found.get("test", ()) else ""
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
                f"{paths[split]} has other classes than {train}. Expected two files from the same `xnorlit prepare`."
            )
    note = "val is test.beton, because there is no val.beton" if paths.get("val") == paths.get("test", ()) else ""
    return Source(folder.resolve().name, "beton", found, note=note)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).casefold()


def open_beton(path: Path) -> BetonFile:
    """A .beton and its listing, checked against its sidecar."""
    opened, described = sidecar.verify(path)
    return BetonFile(opened, sidecar.listing(opened, described))


def _synthetic(_: Path, size: int, __: bool) -> dict[str, Split]:
    found: dict[str, Split] = {}
    for seed, (split, count) in enumerate(SYNTHETIC_COUNTS.items()):
        names = [f"synthetic/{size}px/seed-{seed}/{index:06d}" for index in range(count)]
        listing = Listing(synthetic.CLASSES, names, synthetic.labels(count))
        found[split] = ImageArray(listing, lambda count=count, seed=seed: synthetic.generate(count, size, seed))
    return found


def _cifar10(root: Path, _: int, __: bool) -> dict[str, Split]:
    from xnorlit.data import downloads

    found: dict[str, Split] = {}
    for split in ("train", "val"):
        images, labels, classes = downloads.cifar10(root, train=split == "train")
        names = [f"{split}/{index:05d}" for index in range(len(labels))]
        found[split] = ImageArray(Listing(classes, names, labels), lambda images=images: images)
    return found


def _imagenette(root: Path, _: int, need_val: bool) -> dict[str, Split]:
    from xnorlit.data import downloads

    return dict(splits.find(downloads.imagenette(root), need_val=need_val))


def _imagenet(root: Path, _: int, need_val: bool) -> dict[str, Split]:
    for place in (root / "imagenet", root):
        if any(tree.split_folder(place / inner, "train") for inner in splits.NESTED):
            return dict(splits.find(place, need_val=need_val))
    raise UserError(
        f"imagenet cannot be downloaded by a program, and it is not in {root}. Ask for access at https://image-net.org "
        "(ILSVRC2012, tasks 1 and 2: 138 GB train, 6.3 GB val, and the devkit), unpack it into val/ and train/ with a "
        "folder per class, and pass DATA=/path/to/it (--data.source /path/to/it)."
    )


NAMED = {
    "synthetic": Named(
        load=_synthetic,
        counts=SYNTHETIC_COUNTS,
        classes=synthetic.CLASSES,
        mean=synthetic.MEAN,
        std=synthetic.STD,
        recipe="synthetic",
        licence="Apache-2.0: xnorlit generates them",
        note="not photographs: --data cifar10 for real ones",
    ),
    "cifar10": Named(
        load=_cifar10,
        counts={"train": 50_000, "val": 10_000},
        sizes=((32, 32), (32, 32)),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        mean=CIFAR10_MEAN,
        std=CIFAR10_STD,
        licence=(
            "CIFAR-10 (Krizhevsky, 2009) states no licence; its photographs are of Tiny Images, collected from the web "
            "and withdrawn in 2020"
        ),
        note="val is CIFAR-10's test split",
    ),
    "imagenette": Named(
        load=_imagenette,
        counts={"train": 9_469, "val": 3_925},
        sizes=((320, 320), (320, 480)),
        wnids={
            "n01440764": "tench",
            "n02102040": "English springer",
            "n02979186": "cassette player",
            "n03000684": "chain saw",
            "n03028079": "church",
            "n03394916": "French horn",
            "n03417042": "garbage truck",
            "n03425413": "gas pump",
            "n03445777": "golf ball",
            "n03888257": "parachute",
        },
        recipe="imagenette",
        licence=(
            "Imagenette (Howard, 2019) is published under Apache-2.0; its photographs are of ImageNet, whose terms of "
            "access allow research and teaching that is not commercial"
        ),
    ),
    "imagenet": Named(
        load=_imagenet,
        counts={"train": 1_281_167, "val": 50_000},
        licence="ImageNet's terms of access allow research and teaching that is not commercial",
    ),
}
"""The named sets, one record each. A name has precedence over a folder of that name, which is `./NAME`."""

_WORDS = {wnid: name for named in NAMED.values() for wnid, name in named.wnids.items()}
