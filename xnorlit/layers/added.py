"""Modules beside the layers that a network has because of its binarizer; with another binarizer it lacks them."""

from typing import TypeVar

from torch import nn

Made = TypeVar("Made", bound=nn.Module)
_MARK = "_added_for_binarizer"  # An attribute, so that copies and pickles have it too.


def added(module: Made) -> Made:
    """The same module, marked as one that only a binarizer needs."""
    vars(module)[_MARK] = True
    return module


def names_of_added(model: nn.Module) -> list[str]:
    """Names of the marked modules of a network; a module that is used in several places has several."""
    return [name for name, module in model.named_modules(remove_duplicate=False) if _MARK in vars(module)]
