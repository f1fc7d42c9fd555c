"""The graph of a module's forward, traced by torch.fx without changing the module."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from xnorlit.layers import BinaryLayer


class _Tracer(fx.Tracer):
    """A tracer that stops at torch's modules and this package's, or at every module."""

    def __init__(self, leaves: bool = False) -> None:
        super().__init__()
        self._leaves = leaves

    @override
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = type(m).__module__.partition(".")[0] == "xnorlit" and not isinstance(m, nn.Sequential)
        return (
            own
            or self._leaves
            or isinstance(m, BinaryLayer | _BatchNorm)
            or super().is_leaf_module(m, module_qualified_name)
        )


def trace(module: nn.Module, leaves: bool = False) -> fx.Graph:
    """The graph of a forward; arguments with a default keep it."""
    parameters = inspect.signature(module.forward).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    return _Tracer(leaves).trace(module, concrete_args=defaults or None)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Restores the modes of all modules, and attributes that a forward has set to the trace's proxies."""
    before = {module: module.__dict__.copy() for module in model.modules()}
    try:
        yield
    finally:
        for module, attributes in before.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)


def word_of(node: fx.Node) -> str:
    """The name of the function or method that a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def first_input(node: fx.Node) -> Any:
    """The first tensor that a call reads."""
    return next(iter(node.all_input_nodes), None)
