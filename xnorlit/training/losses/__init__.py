"""What training makes small: the sum of the terms in `model.losses`, one term per file.

Every module of this package is imported here, so that a new term is one new file, known to a recipe by its short name.
"""

import importlib
import pkgutil

from xnorlit.training.losses.base import Loss

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    importlib.import_module(_module.name)

__all__ = ["Loss"]
