"""Terms of the training loss, one per file. A recipe lists terms in `model.losses`; training minimises their sum.

This package imports all of its modules, so a recipe can name a term by its class alone.
"""

import importlib
import pkgutil

from xnorlit.training.losses.base import Loss

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    importlib.import_module(_module.name)

__all__ = ["Loss"]
