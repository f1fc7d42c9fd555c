"""The door for C (xnorlit.h) of the compiled kernels, called from Python without anything in between."""

import ctypes

import numpy as np

from xnorlit.packed import _kernels

OK, BAD_ARGUMENT, BAD_FILE = 0, 1, 2


class Error(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int), ("message", ctypes.c_char * 256))


class Options(ctypes.Structure):
    _fields_ = (("threads", ctypes.c_int), ("isa", ctypes.c_char_p))


LIBRARY = ctypes.CDLL(_kernels.__file__)
POINTER, SIZE, TEXT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
TYPES = {
    "load": (ctypes.c_int, POINTER, SIZE, POINTER, POINTER, POINTER),
    "run": (ctypes.c_int, POINTER, POINTER, SIZE, POINTER, SIZE, POINTER),
    "free": (None, POINTER),
    "image_size": (SIZE, POINTER),
    "pixel_count": (SIZE, POINTER),
    "class_count": (SIZE, POINTER),
    "class_name": (TEXT, POINTER, SIZE),
    "network_name": (TEXT, POINTER),
    "isa": (TEXT, POINTER),
    "crop": (ctypes.c_double, POINTER),
    "squash": (ctypes.c_int, POINTER),
    "resident_bytes": (SIZE, POINTER),
    "arena_bytes": (SIZE, POINTER),
}


def function(name):
    found = getattr(LIBRARY, f"xnorlit_{name}")
    found.restype, *found.argtypes = TYPES[name]
    return found


class RefusedError(Exception):
    """The library's code and message."""

    def __init__(self, error):
        self.code, self.message = error.code, error.message.decode()
        super().__init__(self.message)


class Network:
    """A network that C has loaded, freed with this."""

    def __init__(self, content, isa="", threads=1):
        error, self.handle = Error(), POINTER()
        options = Options(threads, isa.encode() or None)
        code = function("load")(
            content, len(content), ctypes.byref(options), ctypes.byref(self.handle), ctypes.byref(error)
        )
        assert code == error.code
        assert bool(self.handle) == (code == OK)
        assert (error.message == b"") == (code == OK)
        if code != OK:
            raise RefusedError(error)

    def __del__(self):
        function("free")(self.handle)

    def __getattr__(self, name):
        return function(name)(self.handle)

    @property
    def classes(self):
        names = [function("class_name")(self.handle, i) for i in range(self.class_count + 1)]
        assert names.pop() is None
        return tuple(name.decode() for name in names)

    def run(self, pixels, logits):
        error = Error()
        code = function("run")(
            self.handle, pixels.ctypes.data, pixels.size, logits.ctypes.data, logits.size, ctypes.byref(error)
        )
        assert code == error.code
        if code != OK:
            raise RefusedError(error)

    def __call__(self, images):
        logits = np.empty((len(images), self.class_count), np.float32)
        for image, row in zip(np.ascontiguousarray(images), logits, strict=True):
            self.run(image, row)
        return logits


def refusal(content):
    """The error for a file that is not a packed network; `None` for a valid one."""
    try:
        Network(content)
    except RefusedError as refused:
        if refused.code != BAD_FILE:
            raise
        return refused.message
    return None
