"""Write .beton files in one process; equal inputs give equal bytes.

FFCV's own writer hangs when a worker raises, leaves processes and shared memory behind when interrupted, and orders its
pages at random. Here threads encode (Pillow releases the interpreter's lock) and one loop writes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xnorlit.data.beton import ALLOCATION, FIELD, FIELDS, HEADER, METADATA_START, PAGE_BYTES, SAMPLE, VERSION
from xnorlit.errors import UserError


class Encoded(NamedTuple):
    """One sample as it is stored."""

    name: str
    mode: int
    """`beton.JPEG` or `beton.RAW`."""
    height: int
    width: int
    data: bytes
    label: int


def write(path: Path, samples: Iterable[Encoded], limit: int) -> int:
    """Write a .beton file of at most `limit` samples and return how many there were.

    Args:
        path: New file; the header is written last, so an interrupted file is not mistaken for a complete one.
        samples: In the order of the listing.
        limit: Largest number of samples, for which space for metadata is reserved.

    Raises:
        UserError: A stored image is larger than a page.
    """
    rows = np.zeros(limit, SAMPLE)
    table = np.zeros(limit, ALLOCATION)
    data_start = _aligned(METADATA_START + limit * SAMPLE.itemsize)
    count, pointer = 0, data_start
    with path.open("wb") as file:
        file.seek(data_start)
        for count, sample in enumerate(samples, start=1):
            size = len(sample.data)
            if size > PAGE_BYTES:
                raise UserError(
                    f"{sample.name} takes {size / 2**20:.1f} MiB ({sample.width} x {sample.height}), more than a "
                    f"page of {PAGE_BYTES >> 20} MiB. Store it smaller (--shorter-side) or as JPEG (--jpeg 1)."
                )
            if pointer // PAGE_BYTES != (pointer + size - 1) // PAGE_BYTES:
                pointer = _aligned(pointer)  # an image must lie within one page
                file.seek(pointer)
            file.write(sample.data)
            rows[count - 1] = ((sample.mode, sample.width, sample.height, pointer), sample.label)
            table[count - 1] = (count - 1, pointer, size)
            pointer += size
        file.write(table[:count].tobytes())
        file.seek(HEADER.itemsize)
        file.write(_fields().tobytes())
        file.write(rows[:count].tobytes())
        file.seek(0)
        file.write(np.array([(VERSION, len(FIELDS), PAGE_BYTES, count, pointer)], HEADER).tobytes())
    return count


def _fields() -> np.ndarray:
    fields = np.zeros(len(FIELDS), FIELD)
    for field, (name, kind) in zip(fields, FIELDS, strict=True):
        field["type_id"] = kind
        field["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
    return fields


def _aligned(pointer: int) -> int:
    return -(-pointer // PAGE_BYTES) * PAGE_BYTES
