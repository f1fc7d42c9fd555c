"""torch.compile: generated kernels for the float twin, with its weights rearranged beforehand."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._inductor import config

from xnorlit.bench.turns import Call

# Weights become constants of the graph, so norms are folded and oneDNN rearranges the weights once. Without caches,
# the seconds of compiling are those of the first time.
OPTIONS = {"freezing": True}
UNCACHED = {"force_disable_caches": True}


class CompileError(Exception):
    """Why torch.compile did not work here; usually a compiler is missing."""


def compiled(function: Callable[[Tensor], Any], x: Tensor) -> tuple[Call, float]:
    """The compiled function, and the seconds of compiling.

    Args:
        function: A module, or a function of a tensor.
        x: Its input; the result is valid for this shape and the current number of threads.

    Raises:
        CompileError: It could not be compiled.
    """
    torch.compiler.reset()
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(), config.patch(UNCACHED):  # not an option of torch.compile since PyTorch 2.14
            warnings.simplefilter("ignore")
            call = torch.compile(function, options=OPTIONS, dynamic=False)  # type: ignore[call-overload]
            call(x)
    except Exception as error:  # of the compiler, the linker, Triton or anything else
        raise CompileError(f"cannot compile here: {type(error).__name__}: {_first_line(error)}") from None
    return lambda: call(x), time.perf_counter() - start


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else "no message"
