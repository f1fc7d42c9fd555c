"""What is said where the compiled kernels are missing; imported before whatever needs them."""

import importlib

from xnorlit.errors import UserError

_KERNELS = "xnorlit.packed._kernels"


class KernelsMissingError(UserError, ImportError):
    """The compiled part is not there, or does not start on this machine."""


try:
    importlib.import_module(_KERNELS)
except ImportError as error:
    missing = isinstance(error, ModuleNotFoundError) and error.name == _KERNELS
    why = "are missing: no C++ compiler worked when xnorlit was installed" if missing else f"do not start ({error})"
    raise KernelsMissingError(
        f"the packed engine's compiled kernels {why}. Install a C++ compiler (Debian, Ubuntu: apt install "
        "build-essential) and xnorlit once more (in a checkout: make -B setup); all but the packed engine works "
        "without."
    ) from error
