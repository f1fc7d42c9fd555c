"""From a trained network to a file that runs elsewhere: weights to bits, everything between signs to thresholds.

`xl.export` is the function `xnorlit.export.formats.export`, and this package when it is called.

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
    """Importing any module of the package makes the package an attribute of `xnorlit`, in the function's place."""

    __module__ = __name__

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        from xnorlit.export.formats import export

        return export(*arguments, **named)


sys.modules[__name__].__class__ = _Package
