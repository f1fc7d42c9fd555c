"""The .beton file: FFCV's format (version 2) read and checked without FFCV.

    header | field descriptions | one row of metadata per sample | pages of pixels | allocation table

FFCV answers a truncated, empty or foreign file with a bare ValueError, IndexError or AssertionError, and decodes a
damaged JPEG to a flat picture. So files are checked here first. Our datasets have two fields: `image` (RGB) and `label`
(int).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xnorlit.errors import UserError

VERSION = 2
PAGE_BYTES = 1 << 23
JPEG, RAW = 0, 1

HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ]
)
FIELD = np.dtype([("type_id", "<u1"), ("name", "<u1", 16), ("arguments", "<u1", 1024)])
FIELDS = (("image", 2), ("label", 1))  # names with FFCV's type numbers: RGBImageField, IntField
IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
# FFCV aligns the fields of a row but not those within an image.
SAMPLE = np.dtype({"names": ["image", "label"], "formats": [IMAGE, "<i8"], "offsets": [0, 16], "itemsize": 24})
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
METADATA_START = HEADER.itemsize + len(FIELDS) * FIELD.itemsize


@dataclass(frozen=True, eq=False)
class Beton:
    """A .beton file that has passed the cheap checks: everything about its samples except their pixels.

    Args:
        path: The file.
        samples: `SAMPLE` [N].
        sizes: Stored bytes of each sample's image, int64 [N].
    """

    path: Path
    samples: NDArray[np.void]
    sizes: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class numbers, int64 [N]."""
        return self.samples["label"].astype(np.int64)

    @property
    def heights(self) -> NDArray[np.int64]:
        """Stored heights in pixels, int64 [N]."""
        return self.samples["image"]["height"].astype(np.int64)

    @property
    def widths(self) -> NDArray[np.int64]:
        """Stored widths in pixels, int64 [N]."""
        return self.samples["image"]["width"].astype(np.int64)


def open_beton(path: Path) -> Beton:
    """Read a .beton file's tables and check that they describe this file.

    Does not read the pixels: `sidecar.verify` compares the whole file with its hash.

    Raises:
        UserError: The file is missing, empty, not a .beton, has other fields, or is truncated.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing. Expected a .beton file; `xnorlit prepare SRC DST` writes one.")
    size = path.stat().st_size
    if size < METADATA_START:
        raise _broken(path, f"it has {size} bytes, fewer than the {METADATA_START} of an empty .beton's header")
    header = np.fromfile(path, HEADER, 1)[0]
    if header["version"] != VERSION:
        raise _broken(path, f"it does not start like one of version {VERSION} (it states version {header['version']})")
    _check_fields(path, int(header["num_fields"]))

    count, table_start = int(header["num_samples"]), int(header["alloc_table_ptr"])
    table_end = table_start + count * ALLOCATION.itemsize
    if table_start == 0:
        raise _broken(path, "its header was never finished")
    if size < table_end:
        raise _broken(path, f"it is truncated: its header announces {table_end:,} bytes, the file has {size:,}")
    if size > table_end or table_start < METADATA_START + count * SAMPLE.itemsize:
        raise _broken(path, f"its header announces {count:,} samples in {table_end:,} bytes, the file has {size:,}")
    samples = np.fromfile(path, SAMPLE, count, offset=METADATA_START)
    table = np.fromfile(path, ALLOCATION, count, offset=table_start)
    return Beton(path, samples, _stored_sizes(path, samples, table, table_start))


def _check_fields(path: Path, count: int) -> None:
    fields = np.fromfile(path, FIELD, min(count, 64), offset=HEADER.itemsize)
    found = tuple(
        (bytes(field["name"]).split(b"\0")[0].decode("ascii", "replace"), int(field["type_id"])) for field in fields
    )
    if found != FIELDS:
        names = ", ".join(f"{name} (type {kind})" for name, kind in found) or "none"
        raise UserError(
            f"{path} is a .beton with other fields: {names}. Expected image (RGBImageField, type 2) then label "
            "(IntField, type 1). Write it again with `xnorlit prepare SRC DST`."
        )


def _stored_sizes(path: Path, samples: NDArray[np.void], table: NDArray[np.void], end: int) -> NDArray[np.int64]:
    image = samples["image"]
    order = np.argsort(table["ptr"], kind="stable")
    pointers = table["ptr"][order]
    place = np.searchsorted(pointers, image["data_ptr"])
    whole = (place < len(pointers)) & (pointers[np.minimum(place, len(pointers) - 1)] == image["data_ptr"])
    if not whole.all():
        raise _broken(path, f"sample {np.argmin(whole)} has no pixels")
    sizes = table["size"][order][place].astype(np.int64)
    inside = (image["data_ptr"] + sizes.astype(np.uint64) <= end) & (image["height"] > 0) & (image["width"] > 0)
    pixels = image["height"].astype(np.int64) * image["width"] * 3
    inside &= (image["mode"] == JPEG) | ((image["mode"] == RAW) & (sizes == pixels))
    if not inside.all():
        raise _broken(path, f"the entry of sample {np.argmin(inside)} is invalid")
    return sizes


def _broken(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is not a complete .beton file: {why}. Write it again with `xnorlit prepare SRC DST` (or delete it, if "
        "it is in the cache: the next run prepares it again)."
    )


def free_bytes(folder: Path) -> int:
    """Bytes that this user can still write to the file system of a folder, or of its nearest existing parent."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
