"""Call a packed network through the C interface, `xnorlit.h`, of the compiled kernels."""

import ctypes
from typing import Any

import numpy as np

from xnorlit.errors import UserError
from xnorlit.packed import _kernels


class _Error(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int), ("message", ctypes.c_char * 256))


class Network:
    """A packed network on one thread; call it like the packed engine, with images, to get logits.

    Args:
        content: The bytes of a packed file.

    Raises:
        UserError: The kernels were built without the C interface, or it refuses the file.
    """

    def __init__(self, content: bytes) -> None:
        self._library: Any = ctypes.CDLL(_kernels.__file__)
        if not hasattr(self._library, "xnorlit_load"):
            raise UserError("the compiled kernels have no C interface. Install xnorlit again: pip install .")
        error, self._network = _Error(), ctypes.c_void_p()
        self._library.xnorlit_class_count.restype = ctypes.c_size_t
        size = ctypes.c_size_t(len(content))
        if self._library.xnorlit_load(content, size, None, ctypes.byref(self._network), ctypes.byref(error)):
            raise UserError(f"xnorlit_load: {error.message.decode()}")
        self._classes = self._library.xnorlit_class_count(self._network)

    def __del__(self) -> None:
        if getattr(self, "_network", None):
            self._library.xnorlit_free(self._network)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits, `[N, classes]`.

        Args:
            images: uint8 `[N, S, S, 3]`.
        """
        error, logits = _Error(), np.empty((len(images), self._classes), np.float32)
        for image, row in zip(np.ascontiguousarray(images), logits, strict=True):
            given = ctypes.c_void_p(image.ctypes.data), ctypes.c_size_t(image.size)
            gives = ctypes.c_void_p(row.ctypes.data), ctypes.c_size_t(row.size)
            if self._library.xnorlit_run(self._network, *given, *gives, ctypes.byref(error)):
                raise UserError(f"xnorlit_run: {error.message.decode()}")
        return logits
