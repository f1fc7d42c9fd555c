"""The validation images behind the predictions, if their folder is on this machine."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from xnorlit.data.pictures import UnreadableImageError, class_folders, listing_sha256, names_below, read_rgb
from xnorlit.errors import UserError
from xnorlit.runs import Predictions

_FOLDERS = ("val", "valid", "validation", "test", "testing")
_LARGEST = 128  # pixels per side: two dozen images stay below 200 KiB


@dataclass(frozen=True)
class Photographs:
    """The image of each prediction.

    Args:
        folder: The split's folder.
        names: Files by position in the split's listing, relative to the folder.
    """

    folder: Path
    names: Sequence[str]

    def as_url(self, index: int) -> str | None:
        """An image as a data URL, at most 128 pixels wide and high; None if its file cannot be read.

        Args:
            index: Position in the listing.
        """
        try:
            image = read_rgb(self.folder / self.names[index])
        except UnreadableImageError:
            return None
        small = max(image.size) <= 48  # JPEG would blur so few pixels, and PNG is as small
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        image.save(file, *(("PNG",) if small else ("JPEG",)), **({} if small else {"quality": 85}))
        kind = "png" if small else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def find(predictions: Predictions, sources: Sequence[Path]) -> Photographs | str:
    """The predicted images, or the reason why they are not shown.

    A folder counts only if its names and labels have the listing's hash; otherwise it holds other images.

    Args:
        predictions: The predictions of a run.
        sources: Folders to search: a set with val/ or test/, or that split itself.
    """
    tried = []
    for source in dict.fromkeys(sources):
        for folder in [*(source / name for name in _FOLDERS), source]:
            if not folder.is_dir() or (listed := _listed(folder, predictions.classes)) is None:
                continue
            files, digest = listed
            if digest == predictions.listing_sha256:
                return Photographs(folder, files)
            tried.append(str(folder))
    if tried:
        return f"{', '.join(tried)}: file names differ from those of the runs' validation set."
    searched = ", ".join(map(str, dict.fromkeys(sources))) or "no folder"
    return f"no folder of classes with the validation images was found (searched: {searched})."


def _listed(folder: Path, classes: tuple[str, ...]) -> tuple[list[str], str] | None:
    """Each picture's file and the listing's hash, as in the data module; None if the folder has other classes."""
    try:
        folders = class_folders(folder)
        if set(folders) != set(classes):
            return None
        of_class = [sorted(names_below(folder / folders[name], name)) for name in classes]
    except (OSError, UserError):
        return None
    names = [name for listed in of_class for name in listed]
    labels = [label for label, listed in enumerate(of_class) for _ in listed]
    files = [folders[name.partition("/")[0]] + "/" + name.partition("/")[2] for name in names]
    return files, listing_sha256(classes, names, labels)
