"""The error for missing compiled kernels; imported before anything that needs them."""

import importlib

from xnorlit.errors import UserError

_KERNELS = "xnorlit.packed._kernels"


class KernelsMissingError(UserError, ImportError):
    """The compiled kernels are missing, or do not start on this machine."""


try:
    importlib.import_module(_KERNELS)
except ImportError as error:
    missing = isinstance(error, ModuleNotFoundError) and error.name == _KERNELS
    why = "are missing: no C++ compiler worked when xnorlit was installed" if missing else f"do not start ({error})"
    raise KernelsMissingError(
        f"the packed engine's compiled kernels {why}. Install a C++ compiler (Debian, Ubuntu: apt install "
        "build-essential) and reinstall xnorlit (in a checkout: make -B setup). Everything else works without "
        "them."
    ) from error
