"""Pictures and files for several tests of the data room."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from xnorlit.data import beton, beton_writer

SIZE, COUNT, CLASSES = 16, 60, 3
# Names that file systems allow: not UTF-8, line breaks, terminal controls, shell syntax, four-byte characters.
HOSTILE = [b"\xff\xfe.png", b"a\nb\t.png", b"\x1b[31m.png", b"-rf 'x' $(y).png", b"\xf0\x9f\x90\x9d.png"]


def photographs(count=COUNT, size=SIZE, seed=0):
    """Smooth random pictures: noise would not survive JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC)) for each in coarse]
    )


def jpeg(image, quality=95):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def write_beton(path, images, mode=beton.RAW):
    encoded = (
        beton_writer.Encoded(
            str(index), mode, *image.shape[:2], image.tobytes() if mode == beton.RAW else jpeg(image), index % CLASSES
        )
        for index, image in enumerate(images)
    )
    beton_writer.write(Path(path), encoded, len(images))
    return beton.open_beton(Path(path))
