"""Selects the kernels: the fastest that the processor supports, or those that `XNORLIT_KERNEL` names."""

import os

from xnorlit.errors import UserError
from xnorlit.packed import _kernels

VARIABLE = "XNORLIT_KERNEL"
KNOWN = ("avx512", "avx2", "neon", "portable")


def chosen_isa() -> str:
    """The name of the kernels that new engines use; all of them compute the same integers.

    Raises:
        UserError: The environment variable names kernels that do not exist or that this processor cannot run.
    """
    runnable = _kernels.isas()
    name = os.environ.get(VARIABLE, "")
    if not name:
        return runnable[0]
    if name not in runnable:
        what = "which this processor cannot run" if name in KNOWN else "which is not the name of any kernels"
        raise UserError(
            f"{VARIABLE} is {name!r}, {what}. This processor runs: {', '.join(runnable)}. "
            "Set it to one of these, or unset it for the fastest."
        )
    return name
