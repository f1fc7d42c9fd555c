"""ImageNet's flat validation folder: 50,000 files whose classes are in a file of the devkit or in a mapping.

Accepted formats, each with the class as a synset such as n01440764:

- `ILSVRC2012_validation_ground_truth.txt` of the devkit: line i is the ILSVRC2012_ID of image i, which `meta.mat` next
  to it maps to a synset;
- `LOC_val_solution.csv` of Kaggle: `ImageId,PredictionString`, the string beginning with the synset;
- lines of `file synset` or `synset file`, in any order;
- lines of one synset each, in the order of the sorted files.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from xnorlit.data import tree
from xnorlit.data.listing import Listing
from xnorlit.data.tree import ImageFiles
from xnorlit.errors import UserError

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_KNOWN = (
    GROUND_TRUTH,
    "LOC_val_solution.csv",
    "imagenet_2012_validation_synset_labels.txt",
    "val_labels.txt",
    "val_annotations.txt",
    "val.txt",
)
_SYNSET = re.compile(r"n\d{8}")


def scan_flat(folder: Path, classes: tuple[str, ...], labels_file: Path | None, around: Path) -> ImageFiles:
    """Scans a flat validation folder; its listing and hash equal those of the layout with class folders.

    Args:
        folder: The images.
        classes: Classes of the training split, which must include all synsets.
        labels_file: The ground truth or mapping; None to search for it.
        around: Root of the data set, which is searched for the file.

    Raises:
        UserError: There is no such file, or it does not fit the images or the classes.
    """
    files = tree.flat_images(folder)
    path = labels_file or _find_labels(folder, around)
    try:
        synsets = _read(path, files)
    except (KeyError, IndexError, TypeError, ValueError, csv.Error) as error:  # UnicodeDecodeError is a ValueError
        raise UserError(
            f"{path} does not state the classes of the validation images ({type(error).__name__}: {error}). Expected "
            f"{GROUND_TRUTH} of the devkit, LOC_val_solution.csv, or lines of `file synset`."
        ) from error
    missing = [name for name in files if name not in synsets]
    if missing:
        raise UserError(f"{path} lacks {missing[0]} ({len(missing)} of {len(files)} images of {folder}).")
    number = {name: label for label, name in enumerate(classes)}
    unknown = sorted({synset for synset in synsets.values() if synset not in number})
    if unknown:
        raise UserError(
            f"{path} names the class {unknown[0]}, which train/ does not have ({len(unknown)} such classes). "
            f"Expected classes like {classes[0]}."
        )
    # Sorted as class folders would be.
    files.sort(key=lambda name: (synsets[name], name))
    labels = np.array([number[synsets[name]] for name in files], np.int64)
    return ImageFiles(folder, Listing(classes, [f"{synsets[name]}/{name}" for name in files], labels), files)


def _find_labels(folder: Path, around: Path) -> Path:
    places = [folder, around, folder.parent, *around.glob("*devkit*"), *around.glob("*devkit*/data"), around / "data"]
    places += [around.parent, *around.parent.glob("*devkit*/data")]
    places += list(around.parents)[1:3]  # Kaggle keeps its CSV three folders above the images
    for place in places:
        for name in _KNOWN:
            if (place / name).is_file():
                return place / name
    raise UserError(
        f"{folder} holds images but no class folders, and {around} has no file that states their classes. "
        f"Expected {GROUND_TRUTH} with meta.mat (of ILSVRC2012_devkit_t12), LOC_val_solution.csv, or lines of "
        "`file synset`; put it there or give it with --val-labels FILE."
    )


def _read(path: Path, files: list[str]) -> dict[str, str]:
    if not path.is_file():
        raise UserError(f"{path} is missing. Expected the file that states the classes of the validation images.")
    if path.suffix == ".csv":
        with path.open(newline="") as lines:
            pairs = [(row["ImageId"], row["PredictionString"].split()[0]) for row in csv.DictReader(lines)]
        return _by_file(pairs, files)
    words = [line.split() for line in path.read_text().splitlines() if line.strip()]
    if all(len(line) == 1 for line in words):
        if len(words) != len(files):
            raise UserError(f"{path} has {len(words)} lines, but there are {len(files)} validation images.")
        column = [line[0] for line in words]
        if all(word.isdigit() for word in column):
            synset_of = _devkit_synsets(path)
            column = [synset_of[int(word)] for word in column]
        return dict(zip(files, column, strict=True))
    pairs = [(line[1], line[0]) if _SYNSET.fullmatch(line[0]) else (line[0], line[1]) for line in words]
    return _by_file(pairs, files)


def _by_file(pairs: Iterable[tuple[str, str]], files: list[str]) -> dict[str, str]:
    file_of_stem = {Path(name).stem: name for name in files}
    found = ((file_of_stem.get(Path(name).stem), synset) for name, synset in pairs)
    return {name: synset for name, synset in found if name is not None}


def _devkit_synsets(ground_truth: Path) -> dict[int, str]:
    meta = ground_truth.with_name("meta.mat")
    if not meta.is_file():
        raise UserError(
            f"{ground_truth} numbers the classes, but {meta.name}, which names them, is not next to it. "
            "Both are in ILSVRC2012_devkit_t12/data."
        )
    from scipy.io import loadmat  # here, because it is slow to import

    synsets = loadmat(meta, squeeze_me=True, struct_as_record=False)["synsets"]
    return {int(synset.ILSVRC2012_ID): str(synset.WNID) for synset in synsets}
