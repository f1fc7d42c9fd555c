"""Binarizers: how a layer's weights and inputs become few-bit, one file per method.

This package imports all of its modules, so a new method is one new file: the command line (`--model.binarizer XNOR`)
and the parametrised tests find its class by its short name.
"""

import importlib
import pkgutil

from xnorlit.binarize.base import Binarizer, Codes, TwoValues, Window
from xnorlit.errors import UserError, did_you_mean

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    importlib.import_module(_module.name)


def binarizers() -> dict[str, type[Binarizer]]:
    """Every binarizer by its short name: `{"BWN": BWN, "Float": Float, ...}`, sorted.

    A class whose name begins with an underscore is left out: a base that methods share, or a test's own.
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
    """The binarizer that an instance, a class or a name stands for; a class or a name with its default settings.

    Args:
        given: `XNOR(gradient="paper")`, `XNOR` or `"XNOR"`.

    Raises:
        UserError: It is none of these, or no binarizer has that name; the message suggests the nearest.
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


__all__ = ["Binarizer", "Codes", "TwoValues", "Window", "binarizer_of", "binarizers", "list_binarizers"]
