"""Terms of the training loss, one per file; a recipe lists them in `model.losses`, and training minimises their sum.

This package imports all of its modules. A new term is one new file, and a recipe names it by its short name.
"""

import importlib
import pkgutil

from xnorlit.training.losses.base import Loss

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    importlib.import_module(_module.name)

__all__ = ["Loss"]
