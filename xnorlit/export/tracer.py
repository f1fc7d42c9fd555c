"""A module's evaluation as a graph of torch.fx, the value of each node, and the user's line that calls it."""

import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from xnorlit.errors import UserError
from xnorlit.export.functions import Moving
from xnorlit.export.known import KNOWN, REGISTER, is_one_of, no_form, own_methods
from xnorlit.export.operands import first_line, refuse
from xnorlit.export.registry import registered
from xnorlit.layers import BinaryLayer

_FOREIGN = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parents[1]}{os.sep}")
_FRAME = re.compile(r'File "(.+?)", line (\d+)')


class _Tracer(fx.Tracer):
    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        # In torch 2.7 `F.avg_pool2d(x, x.size(3))` refuses the traced size before it asks the traced `x`.
        super().__init__(autowrap_functions=(F.avg_pool2d,))
        self._autowrap_search.append(F)
        self.leaves = leaves

    @override
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # A class of the user's with a forward of its own may call what the engine knows; other methods it calls inside.
        kept = (isinstance(m, kind) and "forward" not in own_methods(m, kind) for kind in self.leaves)
        ours = isinstance(m, BinaryLayer) or type(m) in registered() or any(kept)
        return ours or super().is_leaf_module(m, module_qualified_name)

    @override
    def create_node(self, *given: Any, **named: Any) -> fx.Node:
        """A node that knows the lines that led to it; torch's own record of them first imports its compiler."""
        node = super().create_node(*given, **named)
        lines = [
            f'File "{frame.f_code.co_filename}", line {line}' for frame, line in traceback.walk_stack(sys._getframe(1))
        ]
        node.stack_trace = "\n".join(reversed(lines))
        return node


def _leaves(model: nn.Module) -> tuple[type[nn.Module], ...]:
    layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    behind = {type(layer.binarizer.post_layer(len(layer.weight))) for layer in layers}
    return (*KNOWN, *registered(), *(kind for kind in behind if issubclass(kind, nn.Module)))


def graph_of(model: nn.Module) -> fx.Graph:
    """The graph of a module's evaluation; every module that it calls is one that the engine knows.

    Args:
        model: The module, in evaluation mode.

    Raises:
        UserError: It cannot be traced, or calls another module.
    """
    parameters = list(inspect.signature(model.forward).parameters.values())
    plain = {p.name: p.default for p in parameters[1:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    missing = [name for name, default in plain.items() if default is inspect.Parameter.empty]
    if not parameters or missing:
        raise UserError(
            f"{type(model).__name__} cannot be packed: its forward takes {', '.join(missing) or 'nothing'}"
            f"{' besides the images' if missing else ''}. Give a module whose forward takes images alone."
        )
    leaves = _leaves(model)
    try:
        graph = _Tracer(leaves).trace(model, plain or None)
    except Exception as error:  # a user's forward may do anything with proxy values
        place = _users_line([(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)])
        raise UserError(
            f"{type(model).__name__} cannot be packed: its forward cannot be traced{place} ({error}). Control flow "
            "must not depend on the values of a tensor; it may depend on the mode and on settings."
        ) from error
    modules = dict(model.named_modules())
    for node in graph.nodes:
        if node.op == "call_module":
            _check_known(modules[node.target], node, leaves)
    return graph


def _check_known(module: nn.Module, node: fx.Node, leaves: tuple[type[nn.Module], ...]) -> None:
    name, place, kind = str(node.target), place_of(node.stack_trace), type(module).__name__
    known = type(module) in registered() or is_one_of(module, leaves)  # a registered layer is compared with its form
    bases = sorted((base for base in leaves if isinstance(module, base)), key=lambda base: len(base.__mro__))
    if bases and not known:
        own = " and ".join(own_methods(module, bases[-1]))
        why = f"{kind}{place} has its own {own}, which the engine does not know; {REGISTER}, or use a plain"
        refuse(True, name, f"{why} {bases[-1].__name__}")
    refuse(not known, name, no_form(kind, f"{kind}{place}"))
    check_statistics(module, name, place)


def check_statistics(module: nn.Module, name: str, place: str) -> None:
    """Refuse a norm whose evaluation depends on the batch."""
    if isinstance(module, _BatchNorm):
        refuse(
            module.running_mean is None,
            name,
            f"{type(module).__name__}{place} has no running statistics, so an image's result depends on its batch; use "
            "track_running_stats=True",
        )


class Values(fx.Interpreter):
    """Run a graph once and record the value of each node.

    A tensor that depends on the images is recorded as `Moving`. Other tensors and plain Python values are recorded
    themselves, anything else as `...`.
    """

    def __init__(self, model: nn.Module, graph: fx.Graph, image_size: int) -> None:
        super().__init__(model, graph=graph)
        self.extra_traceback = False
        self.image_size = image_size
        self.found: dict[fx.Node, Any] = {}

    def of(self, images: Tensor) -> dict[fx.Node, Any]:
        """The value of each node for some images."""
        self.run(images, enable_io_processing=False)
        return self.found

    @override
    def run_node(self, n: fx.Node) -> Any:
        try:
            value = super().run_node(n)
        except Exception as error:  # a layer may raise anything for a map that does not fit it
            side = self.image_size
            raise UserError(
                f"{name_of(n)} cannot be packed: an image of {side} x {side} pixels "
                f"and 3 channels does not get through it{place_of(n.stack_trace)} ({first_line(error)}). Give the "
                "image_size that the network was trained with."
            ) from error
        self.found[n] = self._noted(n, value)
        return value

    def _noted(self, n: fx.Node, value: Any) -> Any:
        if isinstance(value, Tensor):
            # A tensor expanded to an image's shape does not depend on the images.
            inputs = n.all_input_nodes[:1] if n.target in ("expand_as", "expand", "view_as") else n.all_input_nodes
            given = [self.found[one] for one in inputs]
            if n.op == "placeholder" or any(isinstance(one, Moving) or one is ... for one in given):
                return Moving(n, tuple(value.shape))
            return value[:1] if n.target in ("expand_as", "expand") else value
        numbers = isinstance(value, tuple) and all(isinstance(each, int) for each in value)
        plain = int | float | bool | str | torch.dtype | torch.device | None
        return value if numbers or isinstance(value, plain) else ...


def function_of(node: fx.Node) -> str:
    """The name of the function or method that a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.name)


def name_of(node: fx.Node) -> str:
    """How an error names a node: the module that it calls, or the submodule that calls its function (`unit7.add`).

    The line of a call alone does not tell one submodule from another of its class.
    """
    if node.op in ("call_module", "get_attr"):
        return str(node.target)
    callers = [name for name, _ in node.meta.get("nn_module_stack", {}).values()]
    return f"{callers[-1]}.{function_of(node)}" if callers else node.name


def place_of(stack: str | None) -> str:
    """` (FILE:LINE)` of the user's code in the stack trace of a node; empty if unknown."""
    return _users_line([(file, int(line)) for file, line in _FRAME.findall(stack or "")])


def _users_line(frames: Sequence[tuple[str, int | None]]) -> str:
    begin = max((i + 1 for i, (file, _) in enumerate(frames) if file == __file__), default=0)
    users = [f"{file}:{line}" for file, line in frames[begin:] if not file.startswith(_FOREIGN) and Path(file).exists()]
    return f" ({users[-1]})" if users else ""
