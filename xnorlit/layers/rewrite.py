"""Rewrites the `forward` of a module: calls of functions become calls of submodules."""

import importlib
import inspect
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import fx, nn

from xnorlit.errors import UserError
from xnorlit.layers.flow import Key, View
from xnorlit.layers.tracing import first_input, trace, unchanged, word_of

Names = dict[str, tuple[bool, Any]]

# Networks alike share their classes, as torch.func and the compiler's cache expect.
Alike = weakref.WeakKeyDictionary[type[nn.Module], tuple[str, Names]]
_MADE: weakref.WeakKeyDictionary[type[nn.Module], Alike] = weakref.WeakKeyDictionary()


@dataclass
class Forward:
    """A module's `forward` as source, with calls of submodules in place of function calls.

    Attributes:
        source: Source of a function `forward`.
        globals: Objects that it refers to, as (True, module name) or (False, object).
        graph: Its graph.
        names: Names of the submodules, by the number of the call among the forward's rectifiers.
    """

    source: str
    globals: Names
    graph: fx.Graph
    names: dict[int, str] = field(default_factory=dict)

    def install(self, module: nn.Module) -> None:
        """Give a module this forward, by changing its class to a subclass, or its graph if it has one."""
        if isinstance(module, fx.GraphModule):
            module.graph = self.graph
            return
        kind = type(module)
        module.__class__ = _with_forward(getattr(kind, "_rewritten_from", kind), self.source, self.globals)


def _with_forward(kind: type[nn.Module], source: str, names: Names) -> type[nn.Module]:
    """The subclass of a module's class with this forward."""
    alike = _MADE.setdefault(kind, weakref.WeakKeyDictionary())
    for made, (its_source, its_names) in alike.items():
        if its_source == source and _same(its_names, names):
            return made
    space = {key: importlib.import_module(value) if is_module else value for key, (is_module, value) in names.items()}
    exec(source, space)  # torch.fx wrote the source; its own GraphModule executes it likewise.

    def reduce(self: nn.Module, protocol: int) -> tuple[Any, ...]:
        return revived, (kind, source, names), self.__dict__.copy()

    body = {
        "forward": space["forward"],
        "__reduce_ex__": reduce,
        "__module__": kind.__module__,
        "_rewritten_from": kind,
    }
    made = type(kind.__name__, (kind,), body)
    alike[made] = source, names
    return made


def _same(ours: Names, theirs: Names) -> bool:
    """Whether the same names mean the same modules and objects; a pickle has its own infinity."""

    def alike(one: Any, other: Any) -> bool:
        return one is other or (isinstance(one, str | float) and repr(one) == repr(other))

    return ours.keys() == theirs.keys() and all(
        is_module == theirs[key][0] and alike(value, theirs[key][1]) for key, (is_module, value) in ours.items()
    )


def revived(kind: type[nn.Module], source: str, names: Names) -> nn.Module:
    """An empty module of a class that `_with_forward` makes, for unpickling and copying."""
    made = _with_forward(kind, source, names)
    return made.__new__(made)


def rewritten_forwards(model: nn.Module, rectifiers: Iterable[Key]) -> dict[str, Forward]:
    """The rewritten forward of each module that calls a function to be replaced."""
    places: dict[str, list[int]] = {}
    for name, place in rectifiers:
        if place >= 0:
            places.setdefault(name, []).append(place)
    return {name: _rewrite(model.get_submodule(name), name, found) for name, found in places.items()}


def _rewrite(owner: nn.Module, name: str, places: list[int]) -> Forward:
    sources = []
    for mode in (not owner.training, owner.training):
        with unchanged(owner):
            owner.training = mode
            graph = trace(owner, leaves=True)
        view = View(owner, "", graph)
        calls = [node for node in graph.nodes if node.op != "call_module" and view.rectifies(node)]
        names = {}
        for place in places:
            node = calls[place]
            if word_of(node).endswith("_") or True in (node.kwargs.get("inplace"), *node.args[1:]):
                _refuse_in_place(node, name)
            attribute = f"activation{place}"
            while hasattr(owner, attribute):
                attribute += "_"
            names[place] = attribute
            with graph.inserting_before(node):
                new = graph.create_node("call_module", attribute, (first_input(node),))
            node.replace_all_uses_with(new)
            graph.erase_node(node)
        code = graph.python_code("self")
        # Modules are stored by name, so that they can be pickled.
        found = {
            key: (True, each.__name__) if inspect.ismodule(each) else (False, each)
            for key, each in code.globals.items()
        }
        sources.append(Forward(code.src, found, graph, names))
    if sources[0].source != sources[1].source:
        raise UserError(
            f"binarize_: the forward of {name or type(owner).__name__} calls a ReLU as a function before a binary "
            "layer and differs between training and evaluation, so it cannot be rewritten. Make that ReLU a module "
            "(self.relu = nn.ReLU()), give norm='missing', or skip the layer."
        )
    return sources[1]


def _refuse_in_place(node: fx.Node, name: str) -> None:
    if len(first_input(node).users) > 1:
        raise UserError(
            f"binarize_: {name or 'forward'} has an in-place ReLU on a value that is also used elsewhere. "
            "Make it a module (self.relu = nn.ReLU()), or skip the layer after it."
        )
