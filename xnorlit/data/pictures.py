"""Turn a picture's file into the pixels of validation: upright 8-bit RGB, cut to the central box, resized.

The data module, the page and `xnorlit classify` share this code, which needs only Pillow and numpy.
"""

import hashlib
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from xnorlit.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

_WIDE_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")

# Folders in which a NAS, a Mac's archives and a recycle bin keep copies and thumbnails under the pictures' names.
_NOT_PICTURES = frozenset({"@eadir", "@recycle", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "lost+found"})

# How the loaded pixels hold a PNG's transparent value, which Pillow keeps in the file's bits, by Pillow's raw mode.
_TRANSPARENT: dict[Any, Callable[[Any], Any]] = {
    "L;2": lambda grey: 85 * grey,
    "L;4": lambda grey: 17 * grey,
    "RGB;16B": lambda colour: tuple(channel >> 8 for channel in colour),
}

# Tags of a TIFF: bits per sample, and whether 0 is white (0) or black (1).
_BITS, _WHITE = 258, 262

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge, in pixels."""


class UnreadableImageError(UserError):
    """A file that is listed as an image but could not be decoded completely.

    Attributes:
        reason: The reason, without the file's name.
    """

    reason: str = ""


def is_image(name: str) -> bool:
    """Whether a name has an image's suffix and is not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def is_folder_of_pictures(name: str) -> bool:
    """Whether a folder of that name may hold pictures: it is neither hidden nor one of a system's own folders."""
    return not name.startswith(".") and name.casefold() not in _NOT_PICTURES


def class_folders(folder: Path) -> dict[str, str]:
    """The class and the name of each folder of pictures in a folder, sorted by class.

    A class has the name of its folder in composed characters (NFC), because a Mac may store a name decomposed.

    Raises:
        UserError: A name is not UTF-8, or two folders belong to one class.
    """
    found: dict[str, str] = {}
    for entry in os.scandir(folder):
        if not _is_folder(entry) or not is_folder_of_pictures(entry.name):
            continue
        name = unicodedata.normalize("NFC", entry.name)
        if not is_text(name):
            raise UserError(f"the name of the folder {entry.path} is not UTF-8. Rename it: it names a class.")
        if name in found:
            raise UserError(
                f"{folder} has two folders named {name}, one in composed and one in decomposed Unicode characters. "
                "Move their pictures into one of them."
            )
        found[name] = entry.name
    return dict(sorted(found.items()))


def is_text(name: str) -> bool:
    """Whether a name is Unicode text; Python returns a name that is not UTF-8 with surrogates in it."""
    return not any("\ud800" <= char <= "\udfff" for char in name)


def listing_sha256(classes: Sequence[str], names: Iterable[str], labels: Iterable[int]) -> str:
    """SHA-256 of the names and labels of samples in order.

    Args:
        classes: Class names, by label.
        names: A name per sample; bytes of a file's name that are not UTF-8 are hashed as they are on disk.
        labels: A label per sample.
    """
    digest = hashlib.sha256("\0".join(classes).encode())
    for name, label in zip(names, labels, strict=True):
        digest.update(f"\n{name}\0{label}".encode(errors="surrogateescape"))
    return digest.hexdigest()


Refusal = Callable[[Path, OSError | UserError], None]
"""What happens to a folder that cannot be searched, and why it cannot."""


def _refused(_: Path, error: OSError | UserError) -> None:
    raise error


def names_below(folder: Path, prefix: str, refuse: Refusal = _refused) -> Iterator[str]:
    """`PREFIX/name` of each image at any depth below a folder, unordered; `is_folder_of_pictures` selects the folders.

    Links to folders are followed.

    Args:
        folder: Folder to search.
        prefix: Its name in the results.
        refuse: Called with each folder that cannot be searched; the search goes on with the others if it returns.

    Raises:
        OSError: A folder cannot be read.
        UserError: A link leads back to a folder that it lies in.
    """
    try:
        above = {_identity(each) for each in folder.resolve().parents}
    except OSError as error:
        refuse(folder, error)
        return
    yield from _names_below(folder, prefix, above, refuse)


def _names_below(folder: Path, prefix: str, above: set[tuple[int, int]], refuse: Refusal) -> Iterator[str]:
    try:
        here = _identity(folder)
        if here in above:
            raise UserError(
                f"{folder} links to {folder.resolve()}, a folder that contains it, so the search would never end. "
                "Remove the link."
            )
        entries = list(os.scandir(folder))
    except (OSError, UserError) as error:
        refuse(folder, error)
        return
    for entry in entries:
        name = f"{prefix}/{entry.name}"
        if not _is_folder(entry):
            if is_image(entry.name):
                yield name
        elif is_folder_of_pictures(entry.name):
            yield from _names_below(Path(entry.path), name, above | {here}, refuse)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def read_rgb(path: Path, *, coarse: bool = False) -> Image.Image:
    """An image file as 8-bit RGB, turned upright as its EXIF orientation says.

    Grey becomes three equal channels, CMYK is converted, 12 and 16 bits are scaled (not clipped) to 8, and transparent
    pixels become white. Invalid metadata is ignored, as in every viewer.

    Args:
        path: The file.
        coarse: Decode a JPEG at an eighth of its size, which suffices to find out whether it can be read.

    Raises:
        UnreadableImageError: The file is missing, not an image, or cut short.
    """
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            raise ValueError("it is a pipe, socket or device, not a file")  # Opening a pipe would wait forever.
        with Image.open(path) as image:
            if coarse:
                image.draft(None, (1, 1))
            return to_rgb(image)
    except Exception as error:  # Pillow's format plug-ins raise almost any exception on broken files.
        found = UnreadableImageError(
            f"{path} cannot be read as an image: {reason_of(error)}. "
            "Repair or remove it, or skip such files with `xnorlit prepare --skip-bad`."
        )
        found.reason = reason_of(error)
        raise found from error


def reason_of(error: Exception) -> str:
    """Why a picture or a folder cannot be read; the system's reasons are without its name."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture of a kind that Pillow reads"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def orientation(image: Image.Image) -> int:
    """EXIF orientation of an opened image, 1 to 8; 1 (upright) if its metadata is missing or broken."""
    try:
        said = image.getexif().get(_ORIENTATION)
    except Exception:  # struct.error, SyntaxError, TypeError and others, depending on the bytes
        return 1
    return int(float(said)) if isinstance(said, Real) and said in _UPRIGHT else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as 8-bit RGB, upright; see `read_rgb`."""
    tile, tags = getattr(image, "tile", None), getattr(image, "tag_v2", {})
    in_8_bits = _TRANSPARENT.get(tile[0][3]) if tile and image.format == "PNG" else None
    image.load()
    if in_8_bits and "transparency" in image.info:
        image.info["transparency"] = in_8_bits(image.info["transparency"])
    turn = _UPRIGHT.get(orientation(image))  # Pillow itself turns a TIFF when it loads it, and updates the metadata.
    if turn is not None:
        image = image.transpose(turn)
    if image.mode in _WIDE_GREY:
        image = _in_8_bits(image, tags)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; convert it to 8 or 16 bits")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy, and keep other threads waiting


def _in_8_bits(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Grey of more than 8 bits in 8; `tags` are those of a TIFF."""
    grey = np.asarray(image).astype(np.float64)
    if image.mode == "I":
        if grey.min() < 0 or grey.max() > 65535:  # An unsigned value of 32 bits may become negative.
            raise ValueError("pixels below 0 or above 65535 have no agreed range; convert it to 8 or 16 bits")
        most = 65535 if grey.max() > 255 else 255  # A file that used only 8 bits is not scaled.
    else:
        most = 2 ** tags.get(_BITS, (16,))[0] - 1
    scaled = np.round((most - grey if tags.get(_WHITE) == 0 else grey) * (255 / most)).astype(np.uint8)
    scaled[grey == image.info.get("transparency", -1)] = 255
    return Image.fromarray(scaled)


def central(heights: NDArray[np.int64], widths: NDArray[np.int64], ratio: float, squash: bool) -> NDArray[np.int64]:
    """The middle of images of these sizes: top, left, height and width of the box, int64 [4, N].

    Args:
        heights: Heights in pixels, int64 [N].
        widths: Widths in pixels, int64 [N].
        ratio: Side of the box over the shorter side.
        squash: Take `ratio` of both sides instead.
    """
    height, width = part(heights, widths, ratio, squash)
    return np.stack([(heights - height) // 2, (widths - width) // 2, height, width])


def part(heights: NDArray[np.int64], widths: NDArray[np.int64], ratio: float, squash: bool) -> NDArray[np.int64]:
    """Height and width of a box of relative size, int64 [2, N]; see `central` for the arguments."""
    shorter = np.minimum(heights, widths)
    sides = np.stack([heights, widths] if squash else [shorter, shorter])
    return np.maximum(1, np.round(ratio * sides)).astype(np.int64)


def cut(image: Image.Image, box: Box, size: int) -> Image.Image:
    """A box of an RGB image, resized to size x size by Pillow's BILINEAR, which averages when it reduces."""
    if box != (0, 0, *image.size):
        image = image.crop(box)
    if image.size != (size, size):
        # Resized after the cut, because with Pillow's own `box` the filter would read beyond the edges.
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return image


def as_validated(path: Path, size: int, ratio: float, squash: bool) -> NDArray[np.uint8]:
    """A picture as in validation with a central crop, uint8 [size, size, 3].

    Args:
        path: Its file.
        size: Size in pixels.
        ratio: See `central`.
        squash: See `central`.

    Raises:
        UnreadableImageError: See `read_rgb`.
    """
    image = read_rgb(path)
    sides = np.array([image.height]), np.array([image.width])
    top, left, height, width = central(*sides, ratio, squash)[:, 0].tolist()
    return np.asarray(cut(image, (left, top, left + width, top + height), size))
