"""Read an untrusted safetensors file with numpy and json only."""

import json
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from xnorlit.edge.fields import distinct
from xnorlit.errors import UserError

# Little-endian on every machine, as the format specifies.
DTYPES = {"U8": np.dtype("u1"), "I8": np.dtype("i1"), "I32": np.dtype("<i4"), "F32": np.dtype("<f4")}
LARGEST_HEADER = 16 * 2**20
MOST_DIMENSIONS = 5  # planes of weights: plane, output, row, column, octet


def read(path: Path | str) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the tensors of a file; every length is checked against the file before anything is read.

    The layout: 8 bytes, the header's length; the header, a JSON object of `{name: {dtype, shape, data_offsets}}` and
    `__metadata__`; the bytes of the tensors at their offsets, without gaps or overlaps.

    Args:
        path: The file.

    Raises:
        UserError: The file is missing, truncated or damaged; the message names the field.

    Source: github.com/huggingface/safetensors, "Format".
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header, start = _header(file, size, path)
            metadata = _metadata(header.pop("__metadata__", {}), path)
            spans = sorted(
                (_span(name, entry, size - start, path) for name, entry in header.items()), key=lambda s: s[0]
            )
            end = 0
            for first, last, name, *_ in spans:
                if first != end:
                    raise damaged(path, f"tensor {name!r}: its bytes begin at {first}, where {end} was expected")
                end = last
            if end != size - start:
                raise damaged(path, f"{size - start - end} bytes after the last tensor")
            return metadata, {
                name: _load(file, start + first, dtype, shape, name, path) for first, _, name, dtype, shape in spans
            }
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}). Give a file that `xnorlit pack` wrote."
        ) from None


def damaged(path: Path | str, what: str) -> UserError:
    """The error for a file that is not what `xnorlit pack` writes."""
    return UserError(f"{path}: {what}. The file is damaged or of another kind; pack the run again.")


def _header(file: BinaryIO, size: int, path: Path) -> tuple[dict[str, Any], int]:
    if size < 8:
        raise damaged(path, f"{size} bytes are too few for a packed network")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, LARGEST_HEADER):
        raise damaged(path, f"its header claims {length} bytes, the file has {size}")
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise damaged(path, "its header is not a JSON object")
    return header, 8 + length


def _metadata(found: Any, path: Path) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise damaged(path, "__metadata__ is not an object of strings")
    return found


def _span(name: str, entry: Any, size: int, path: Path) -> tuple[int, int, str, np.dtype, tuple[int, ...]]:
    """Offsets, name, dtype and shape of a tensor whose bytes lie inside the file and match its shape."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise damaged(path, f"tensor {name!r}: expected dtype, shape and data_offsets")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise damaged(path, f"tensor {name!r}: dtype {entry['dtype']!r} is none of {', '.join(DTYPES)}")
    shape, offsets = (entry[key] for key in ("shape", "data_offsets"))
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or len(shape) > MOST_DIMENSIONS:
        raise damaged(path, f"tensor {name!r}: shape or data_offsets are not lists of counts")
    if 0 in shape:  # otherwise the other extents could be anything
        raise damaged(path, f"tensor {name!r}: its shape {shape} holds no values")
    first, last = offsets
    if not first <= last <= size or last - first != math.prod(shape) * dtype.itemsize:
        raise damaged(
            path, f"tensor {name!r}: {dtype} of shape {shape} cannot lie at {first} to {last} of {size} bytes"
        )
    return first, last, name, dtype, tuple(shape)


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _load(file: BinaryIO, at: int, dtype: np.dtype, shape: tuple[int, ...], name: str, path: Path) -> np.ndarray:
    file.seek(at)
    found = np.fromfile(file, dtype, math.prod(shape))
    if found.size != math.prod(shape):
        raise damaged(path, f"tensor {name!r}: the file ends inside it")
    return found.reshape(shape)
