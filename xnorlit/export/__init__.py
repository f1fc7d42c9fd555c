"""Export a trained network: weights become bits, and everything between two signs becomes thresholds.

Calling this package calls `xnorlit.export.formats.export`, so `xl.export` is both the package and the function.

Examples:
    >>> import tempfile
    >>> import torch
    >>> import xnorlit as xl
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 8), torch.nn.Flatten())
    >>> packed = xl.pack(net, image_size=8, classes=["cat", "dog"], mean=[125, 123, 114], std=[63, 62, 67])
    >>> print(xl.export(packed, tempfile.mkdtemp() + "/net", format="openvino"))
    net.xml and net.bin: ... MiB, OpenVINO's intermediate representation
"""

import sys
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A callable package: importing any of its modules sets `xnorlit.export`, which hides the function of that name."""

    __module__ = __name__

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        from xnorlit.export.formats import export

        return export(*arguments, **named)


sys.modules[__name__].__class__ = _Package
