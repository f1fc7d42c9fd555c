"""Find the splits of a folder: which subfolders are train, val and test."""

from pathlib import Path

from xnorlit.data import imagenet, tree
from xnorlit.data.pictures import class_folders
from xnorlit.data.tree import ImageFiles
from xnorlit.errors import UserError

# Where common downloads, such as Kaggle's ImageNet, have these folders.
NESTED = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")


def find(root: Path, val_labels: Path | None = None, *, need_val: bool = True) -> dict[str, ImageFiles]:
    """The splits of an ImageFolder tree, or of ImageNet in either of its layouts: train, and val, and test if present.

    Without val/, test/ serves as both.

    Args:
        root: Folder with train/ and val/ or test/.
        val_labels: Classes of a flat validation folder; default: search for it.
        need_val: False if a part of train will be held out.

    Raises:
        UserError: A split or a class is missing or empty, or the splits' classes differ.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder. Expected one with train/ and val/ (or test/), a folder per class.")
    home = next((root / inner for inner in NESTED if tree.split_folder(root / inner, "train")), None)
    if home is None:
        inside = ", ".join(list(class_folders(root))[:5]) or "no folders"
        raise UserError(
            f"{root} has no train/ (it holds {inside}). Expected train/ and val/ (or test/), each "
            "with a folder per class."
        )
    train_folder = tree.split_folder(home, "train")
    assert train_folder is not None
    found = {"train": tree.scan(train_folder)}
    for split in ("val", "test"):
        folder = tree.split_folder(home, split)
        if folder is None:
            continue
        if split == "test" and not class_folders(folder):
            continue  # ImageNet's test split has no public labels
        found[split] = _scan_like(folder, found["train"], val_labels, root)
    if "val" not in found and "test" in found:
        found["val"] = found["test"]
    if "val" not in found and need_val:
        raise UserError(
            f"{home} has train/ but neither val/ nor test/. Expected one to measure accuracy on. Add it, or hold out a "
            "part of train with --data.holdout 0.1."
        )
    return found


def _scan_like(folder: Path, train: ImageFiles, val_labels: Path | None, root: Path) -> ImageFiles:
    classes = train.listing.classes
    if not class_folders(folder) and tree.flat_images(folder):
        return imagenet.scan_flat(folder, classes, val_labels, root)
    files = tree.scan(folder)
    if files.listing.classes != classes:
        only_train = sorted(set(classes) - set(files.listing.classes))
        only_here = sorted(set(files.listing.classes) - set(classes))
        sides = [
            f"only in {name}: {', '.join(which[:5])}"
            for name, which in ((train.root, only_train), (folder, only_here))
            if which
        ]
        raise UserError(
            f"the classes of {train.root} and {folder} differ ({'; '.join(sides)}). Expected the same folders."
        )
    return files
