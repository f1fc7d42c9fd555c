"""From image files of any kind to 8-bit RGB, and from an image and its placement to a training picture."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from xnorlit.errors import UserError

_WIDE_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class UnreadableImageError(UserError):
    """A file that was listed as an image and could not be decoded whole."""


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
        raise UnreadableImageError(
            f"{path} cannot be read as an image: {error}. "
            "Mend or remove it, or leave such files out with `xnorlit prepare --skip-bad`."
        ) from error


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


def render(image: Image.Image, row: np.void, size: int, reflect: bool) -> NDArray[np.uint8]:
    """The picture that a placement describes, uint8 [size, size, 3].

    Args:
        image: RGB.
        row: One element of `augment.PLACEMENT`.
        size: In pixels.
        reflect: What a shifted window shows outside the image: the mirror image, or zeros.
    """
    box = (row["left"], row["top"], row["left"] + row["width"], row["top"] + row["height"])
    if box != (0, 0, *image.size):
        image = image.crop(box)
    if image.size != (size, size):
        # After the cut: with Pillow's own `box` the filter would reach over the box's edges.
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    picture = np.asarray(image)[None]
    return shift(picture, np.array([row]), reflect)[0]


def shift(pictures: NDArray[np.uint8], rows: NDArray[np.void], reflect: bool) -> NDArray[np.uint8]:
    """Moves the window over each padded picture and mirrors it, uint8 [N, size, size, 3] to the same.

    Args:
        pictures: The boxes, already at their size.
        rows: `augment.PLACEMENT` [N]; only down, right and flip are read.
        reflect: What lies outside: the mirror image, or zeros.
    """
    size = pictures.shape[1]
    pad = int(max(np.abs(rows["down"]).max(initial=0), np.abs(rows["right"]).max(initial=0)))
    if pad:
        around = ((0, 0), (pad, pad), (pad, pad), (0, 0))
        pictures = np.pad(pictures, around, mode="reflect") if reflect else np.pad(pictures, around)
    out = np.empty((len(rows), size, size, 3), np.uint8)
    places = zip((rows["down"] + pad).tolist(), (rows["right"] + pad).tolist(), rows["flip"].tolist(), strict=True)
    for target, picture, (top, left, flip) in zip(out, pictures, places, strict=True):
        window = picture[top : top + size, left : left + size]
        target[:] = window[:, ::-1] if flip else window
    return out
