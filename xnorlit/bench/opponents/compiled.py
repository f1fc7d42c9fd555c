"""torch.compile: the float twin's kernels generated and its weights laid out beforehand."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._inductor import config

from xnorlit.bench.turns import Call

# Weights become constants of the graph: norms are folded and oneDNN lays the weights out once. Without caches the
# seconds of compiling are those of a first time.
OPTIONS = {"freezing": True}
UNCACHED = {"force_disable_caches": True}


class CompileError(Exception):
    """Why torch.compile did not work here; a compiler is missing, as a rule."""


def compiled(function: Callable[[Tensor], Any], x: Tensor) -> tuple[Call, float]:
    """The call of the compiled function, and the seconds that compiling took.

    Args:
        function: A module, or a function of a tensor.
        x: Its input; the result is for this shape and for the number of threads set now.

    Raises:
        CompileError: It could not be compiled.
    """
    torch.compiler.reset()
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(), config.patch(UNCACHED):  # no option of torch.compile since PyTorch 2.14
            warnings.simplefilter("ignore")
            call = torch.compile(function, options=OPTIONS, dynamic=False)  # type: ignore[call-overload]
            call(x)
    except Exception as error:  # the compiler's, the linker's, Triton's: anything
        raise CompileError(f"cannot compile here: {type(error).__name__}: {_first_line(error)}") from None
    return lambda: call(x), time.perf_counter() - start


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else "no message"
