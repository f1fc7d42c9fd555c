"""From a picture's file to the pixels that validation shows a network: upright 8-bit RGB, the central box, resized.

The data module, the page and `xnorlit classify` share it; it needs Pillow and numpy alone.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from xnorlit.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

_WIDE_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")

Box = tuple[int, int, int, int]
"""Left, top, right and bottom edge, in pixels."""


class UnreadableImageError(UserError):
    """A file that was listed as an image and could not be decoded whole.

    Attributes:
        reason: Why, without the file's name.
    """

    reason: str = ""


def is_image(name: str) -> bool:
    """True of a name that ends like an image's and is not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def names_below(folder: Path, prefix: str) -> Iterator[str]:
    """`PREFIX/name` of each image at any depth below a folder, in no order; hidden folders are left out.

    Args:
        folder: To look into.
        prefix: What it is called in the names.
    """
    for entry in os.scandir(folder):
        name = f"{prefix}/{entry.name}"
        if entry.is_dir() and not entry.name.startswith("."):
            yield from names_below(Path(entry.path), name)
        elif is_image(entry.name):
            yield name


def read_rgb(path: Path) -> Image.Image:
    """An image file as 8-bit RGB, turned upright as its EXIF orientation says.

    Grey becomes three equal channels, CMYK is converted, 16 bits are scaled (not clipped) to 8, and what is
    transparent shows white.

    Raises:
        UnreadableImageError: The file is missing, not an image, or cut short.
    """
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError) as error:
        # Pillow's format plug-ins raise all of these on broken files.
        found = UnreadableImageError(
            f"{path} cannot be read as an image: {error}. "
            "Mend or remove it, or leave such files out with `xnorlit prepare --skip-bad`."
        )
        found.reason = _reason(error)
        raise found from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture of a kind that Pillow reads"
    return getattr(error, "strerror", None) or str(error)


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as 8-bit RGB, upright; see `read_rgb`."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in _WIDE_GREY:
        grey = np.asarray(image).astype(np.float64)
        # Mode I holds what a 16-bit file had; a file that used 8 bits only is left alone.
        scale = 255 / 65535 if image.mode != "I" or grey.max() > 255 else 1
        image = Image.fromarray(np.round(np.clip(grey * scale, 0, 255)).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; convert it to 8 or 16 bits")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def central(heights: NDArray[np.int64], widths: NDArray[np.int64], ratio: float, squash: bool) -> NDArray[np.int64]:
    """The middle of images of these sizes: top, left, height and width of the box, int64 [4, N].

    Args:
        heights: In pixels, int64 [N].
        widths: In pixels, int64 [N].
        ratio: Side of the box over the shorter side.
        squash: Take `ratio` of both sides instead.
    """
    height, width = part(heights, widths, ratio, squash)
    return np.stack([(heights - height) // 2, (widths - width) // 2, height, width])


def part(heights: NDArray[np.int64], widths: NDArray[np.int64], ratio: float, squash: bool) -> NDArray[np.int64]:
    """Height and width of a box of relative size, int64 [2, N]; arguments as of `central`."""
    shorter = np.minimum(heights, widths)
    sides = np.stack([heights, widths] if squash else [shorter, shorter])
    return np.maximum(1, np.round(ratio * sides)).astype(np.int64)


def cut(image: Image.Image, box: Box, size: int) -> Image.Image:
    """A box of an RGB image, resized to size x size by Pillow's BILINEAR, which averages when it reduces."""
    if box != (0, 0, *image.size):
        image = image.crop(box)
    if image.size != (size, size):
        # After the cut: with Pillow's own `box` the filter would reach over the box's edges.
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return image


def as_validated(path: Path, size: int, ratio: float, squash: bool) -> NDArray[np.uint8]:
    """A picture as validation with a central crop shows it, uint8 [size, size, 3].

    Args:
        path: Its file.
        size: In pixels.
        ratio: See `central`.
        squash: See `central`.

    Raises:
        UnreadableImageError: See `read_rgb`.
    """
    image = read_rgb(path)
    sides = np.array([image.height]), np.array([image.width])
    top, left, height, width = central(*sides, ratio, squash)[:, 0].tolist()
    return np.asarray(cut(image, (left, top, left + width, top + height), size))
