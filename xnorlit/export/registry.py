"""The registry that maps a user's layer classes to what computes the same in a packed network."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xnorlit.errors import UserError
from xnorlit.export.known import JOINS, KNOWN, SMALL, WITHOUT_EFFECT, is_one_of
from xnorlit.export.operands import first_line
from xnorlit.models.built import Normalize

NODES = tuple(kind for kind in SMALL if kind not in JOINS)
PARTS = tuple(kind for kind in KNOWN if kind not in (*JOINS, Normalize))  # what reads one value
SPREADS = (0.0, 0.1, 1.0, 10.0)  # of the random values that a layer and its parts are compared on

Form = Callable[[Any], nn.Module | Sequence[nn.Module]]
_REGISTERED: dict[type[nn.Module], Form] = {}


class Part(NamedTuple):
    """A module that stands for a layer, or for a part of it.

    Attributes:
        module: The module.
        given: Shape of its input, with the batch.
        found: Shape of its output.
    """

    module: nn.Module
    given: tuple[int, ...]
    found: tuple[int, ...]


def register_node(kind: type[nn.Module], form: Form) -> None:
    """Register what computes the same as your own layer class: nodes of the packed graph, or layers that `pack` knows.

    `pack` compares it with the layer on random values and refuses the layer unless they agree bit for bit.
    Registering a class again replaces its form. A subclass needs its own registration. Layers that read more than one
    value cannot be registered.

    Args:
        kind: The class.
        form: Takes a layer of that class and returns a module, or a list of modules to apply in order: `Affine`,
            `Shift`, `TwoSlope`, `Clip`, `Subsample`, `AveragePool` and `GlobalAverage` of `xnorlit.export.nodes`;
            this package's layers and norms, such as `BinaryConv2d`; torch's layers, norms, activations, pools and
            `nn.Flatten`.

    Raises:
        UserError: `kind` is not a subclass of `nn.Module`.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> from xnorlit.export.nodes import Shift
        >>> class Bias(torch.nn.Module):
        ...     def __init__(self, channels):
        ...         super().__init__()
        ...         self.values = torch.nn.Parameter(torch.zeros(channels, 1, 1))
        ...
        ...     def forward(self, x):
        ...         return x + self.values
        >>> xl.register_node(Bias, lambda layer: Shift(layer.values.flatten()))

        A convolution of signs with a forward of its own packs as a `BinaryConv2d` with its weights:

        >>> class SignConv(torch.nn.Conv2d):
        ...     def forward(self, x):
        ...         signs, weight = (torch.where(values >= 0, 1.0, -1.0) for values in (x, self.weight))
        ...         return torch.nn.functional.conv2d(signs, weight, padding=self.padding)
        >>> def as_binary(layer):
        ...     same = xl.BinaryConv2d(layer.in_channels, layer.out_channels, 3, padding=1, bias=False, binarizer="BNN")
        ...     same.weight = layer.weight
        ...     return same
        >>> xl.register_node(SignConv, as_binary)
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3),
        ...     SignConv(8, 8, 3, padding=1, bias=False),
        ...     torch.nn.Flatten(),
        ...     torch.nn.Linear(288, 2),
        ... )
        >>> xl.pack(net, image_size=8, classes=["cat", "dog"], mean=[125] * 3, std=[64] * 3).weight.layers
        1
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise UserError(f"register_node: {kind!r} is not a module class. Give the class of the layer, not a layer.")
    _REGISTERED[kind] = form


def registered() -> tuple[type[nn.Module], ...]:
    """The registered classes."""
    return tuple(_REGISTERED)


@torch.no_grad()
def parts_of(layer: nn.Module, name: str, shape: Sequence[int]) -> list[Part]:
    """The modules that a layer of a registered class is registered as, checked against the layer.

    Args:
        layer: The layer, in evaluation mode.
        name: Its name, for errors.
        shape: Shape of its input, with the batch.

    Raises:
        UserError: The form raises an error or returns something other than such modules, or they differ from the layer.
    """
    kind = type(layer).__name__
    modules = _made(layer, name)
    x = _probes(tuple(shape))
    y, parts = x, []
    for module in modules:
        try:
            z = module(y.clone())
        except Exception as error:  # a module may raise anything for a map that does not fit it
            raise UserError(
                f"{name} cannot be packed: {kind} is registered as {type(module).__name__}, which does not accept a "
                f"value of shape {tuple(y.shape[1:])} ({first_line(error)}). Correct the registration."
            ) from error
        if not isinstance(z, Tensor):
            raise UserError(
                f"{name} cannot be packed: {kind} is registered as {type(module).__name__}, which does not return one "
                "tensor. Register it without return_indices."
            )
        parts.append(Part(module, tuple(y.shape), tuple(z.shape)))
        y = z
    expected = layer(x.clone())
    alike = isinstance(expected, Tensor) and expected.shape == y.shape
    if not alike or not torch.equal(expected, y):
        most = f", by up to {(expected - y).abs().max():g}" if alike else " in shape"
        raise UserError(
            f"{name} cannot be packed: {kind} differs from the modules that it is registered with{most}. "
            "Write its evaluation as the same products and sums, each a separate operation, or correct the "
            "registration."
        )
    return [part for part in parts if not isinstance(part.module, WITHOUT_EFFECT)]


def _made(layer: nn.Module, name: str) -> list[nn.Module]:
    """Copies of the modules that the form of a layer returns, in evaluation mode."""
    kind = type(layer).__name__
    expected = (
        f"Expected one or more of {', '.join(node.__name__ for node in NODES)} of xnorlit.export.nodes, or layers, "
        "norms, activations and pools that pack knows, such as BinaryConv2d or nn.MaxPool2d."
    )
    try:
        found = list(_flat(_REGISTERED[type(layer)](layer)))
    except Exception as error:  # a user's function may raise anything
        raise UserError(
            f"{name} cannot be packed: the form that {kind} is registered with raised {type(error).__name__} "
            f"({first_line(error)}). Correct it. {expected}"
        ) from error
    wrong = [each for each in found if not isinstance(each, nn.Module) or not is_one_of(each, PARTS)]
    if wrong or not found:
        given = type(wrong[0]).__name__ if wrong else "nothing"
        raise UserError(f"{name} cannot be packed: {kind} is registered as {given}. {expected}")
    return [copy.deepcopy(each).cpu().float().eval() for each in found]


def _flat(made: Any) -> Iterator[Any]:
    if isinstance(made, list | tuple | nn.Sequential | nn.ModuleList):
        for each in made:
            yield from _flat(each)
    else:
        yield made


def _probes(shape: tuple[int, ...]) -> Tensor:
    """Random values, small and large ones, and zeros, as an activation leaves them."""
    draw = torch.Generator().manual_seed(0)
    spreads = torch.tensor(SPREADS)[torch.randint(len(SPREADS), shape, generator=draw)]
    return torch.randn(shape, generator=draw) * spreads
