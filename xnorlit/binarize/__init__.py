"""Binarizers: how a layer's two operands become few-bit, one file per method.

Every module of this package is imported here, so that a new method is one new file: its class is then known to the
command line by its short name (`--model.binarizer XNOR`) and to the parametrised tests.
"""

import importlib
import pkgutil

from xnorlit.binarize.base import Binarizer, Codes, Window

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    importlib.import_module(_module.name)


def binarizers() -> dict[str, type[Binarizer]]:
    """Every binarizer that is known by a short name: `{"BWN": BWN, "Float": Float, ...}`, sorted.

    A class whose name begins with an underscore is none: a base that methods share, or a test's own.
    """
    found: dict[str, type[Binarizer]] = {}
    waiting = [Binarizer]
    while waiting:
        for child in waiting.pop().__subclasses__():
            found[child.__name__] = child
            waiting.append(child)
    return {name: found[name] for name in sorted(found) if not name.startswith("_")}


__all__ = ["Binarizer", "Codes", "Window", "binarizers"]
