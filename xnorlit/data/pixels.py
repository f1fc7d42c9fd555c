"""Renders a training picture from an image and its placement."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xnorlit.data.pictures import cut


def render(image: Image.Image, row: np.void, size: int, reflect: bool) -> NDArray[np.uint8]:
    """The picture that a placement describes, uint8 [size, size, 3].

    Args:
        image: RGB.
        row: One element of `augment.PLACEMENT`.
        size: Size in pixels.
        reflect: Fill outside the image with the mirror image instead of zeros.
    """
    left, top, height, width = (int(row[name]) for name in ("left", "top", "height", "width"))
    picture = np.asarray(cut(image, (left, top, left + width, top + height), size))
    return shift(picture[None], np.array([row]), reflect)[0]


def shift(pictures: NDArray[np.uint8], rows: NDArray[np.void], reflect: bool) -> NDArray[np.uint8]:
    """Move the window over each padded picture and mirror it; uint8 [N, size, size, 3] before and after.

    Args:
        pictures: The boxes, already resized.
        rows: `augment.PLACEMENT` [N]; only down, right and flip are read.
        reflect: Fill outside with the mirror image instead of zeros.
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
