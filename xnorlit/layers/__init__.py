"""Binary layers, their norms, real layers that round once, and the hook after each optimizer step."""

from xnorlit.layers.attach import Attachment, attach
from xnorlit.layers.binary import BinaryConv2d, BinaryLinear
from xnorlit.layers.layer import BinaryLayer, Operand
from xnorlit.layers.norms import BatchNorm1d, BatchNorm2d
from xnorlit.layers.pinned import AdaptiveAvgPool2d, Conv2d, Linear

__all__ = [
    "AdaptiveAvgPool2d",
    "Attachment",
    "BatchNorm1d",
    "BatchNorm2d",
    "BinaryConv2d",
    "BinaryLayer",
    "BinaryLinear",
    "Conv2d",
    "Linear",
    "Operand",
    "attach",
]
