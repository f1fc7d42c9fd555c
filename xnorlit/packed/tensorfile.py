"""Read the bytes of a packed file, and the description and the tensors in bytes that the kernels have accepted."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from xnorlit.edge.fields import FieldError
from xnorlit.errors import UserError
from xnorlit.packed import _kernels

METADATA = "xnorlit.packed"
# Little-endian on every machine, as the format specifies.
DTYPES = {"U8": np.dtype("u1"), "I8": np.dtype("i1"), "I32": np.dtype("<i4"), "F32": np.dtype("<f4")}
_LENGTH = 8  # bytes of the header's length, with which the file begins


def content(path: Path) -> np.ndarray:
    """The bytes of a file, uint8; a file whose first bytes are not those of a packed one is not read to its end.

    Args:
        path: The file.

    Raises:
        UserError: The file cannot be read, or the length of its header is impossible.
    """
    try:
        with path.open("rb") as file:
            _kernels.header_bytes(file.read(_LENGTH), os.fstat(file.fileno()).st_size)
            file.seek(0)
            return np.fromfile(file, np.uint8)
    except FieldError as error:
        raise damaged(path, str(error)) from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}). Give a file that `xnorlit pack` wrote.") from None


def parts(content: np.ndarray) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description of the network, as JSON, and the tensors by name, which are views of the bytes.

    The layout: 8 bytes, the header's length; the header, a JSON object of `{name: {dtype, shape, data_offsets}}` and
    `__metadata__`; the bytes of the tensors at their offsets.

    Args:
        content: The bytes of a file that the kernels have accepted.

    Source: github.com/huggingface/safetensors, "Format".
    """
    start = _LENGTH + int.from_bytes(content[:_LENGTH].tobytes(), "little")
    header = json.loads(content[_LENGTH:start].tobytes().decode())
    description = json.loads(header.pop("__metadata__")[METADATA])
    tensors = {}
    for name, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        tensors[name] = content[first:last].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return description, tensors


def damaged(path: Path | str, what: str) -> UserError:
    """The error for a file that is not what `xnorlit pack` writes."""
    return UserError(f"{path}: {what}. The file is damaged or of another kind; pack the run again.")
