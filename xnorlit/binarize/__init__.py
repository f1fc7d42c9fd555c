"""Binarizers: how a layer's weights and inputs become few-bit, one file per method.

This package imports all of its modules, so a new method needs only a new file. The command line (`--model.binarizer
XNOR`) and the parametrised tests find its class by its short name.
"""

import importlib
import pkgutil

from xnorlit.binarize.base import Binarizer, Codes, PostLayer, TwoValues, Window, input_signs_or_codes
from xnorlit.errors import UserError, did_you_mean

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    importlib.import_module(_module.name)


def binarizers() -> dict[str, type[Binarizer]]:
    """`{"BWN": BWN, "Float": Float, ...}`: every binarizer by its short name, sorted.

    Classes whose names begin with an underscore are left out: shared bases, and classes of tests.
    """
    found: dict[str, type[Binarizer]] = {}
    waiting = [Binarizer]
    while waiting:
        for child in waiting.pop().__subclasses__():
            found[child.__name__] = child
            waiting.append(child)
    return {name: found[name] for name in sorted(found) if not name.startswith("_")}


def list_binarizers() -> list[str]:
    """Names of all binarizers, sorted.

    Examples:
        >>> import xnorlit as xl
        >>> "XNOR" in xl.list_binarizers()
        True
    """
    return list(binarizers())


def binarizer_of(given: Binarizer | type[Binarizer] | str) -> Binarizer:
    """The binarizer for an instance, a class or a name. A class or a name gets its default settings.

    Args:
        given: `XNOR(gradient="paper")`, `XNOR` or `"XNOR"`.

    Raises:
        UserError: `given` is something else, or no binarizer has that name; the message suggests the nearest name.
    """
    if isinstance(given, Binarizer):
        return given
    if isinstance(given, type) and issubclass(given, Binarizer):
        return given()
    known = binarizers()
    if not isinstance(given, str):
        raise UserError(
            f"binarizer is {given!r}. Expected an instance such as XNOR(), a class or a name: {', '.join(known)}."
        )
    if given not in known:
        raise UserError(f"no binarizer named {given!r}.{did_you_mean(given, known)} Known: {', '.join(known)}.")
    return known[given]()


__all__ = [
    "Binarizer",
    "Codes",
    "PostLayer",
    "TwoValues",
    "Window",
    "binarizer_of",
    "binarizers",
    "input_signs_or_codes",
    "list_binarizers",
]
