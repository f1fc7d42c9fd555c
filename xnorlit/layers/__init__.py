"""Binary layers, the batch norms in front of them, and what follows each optimizer step."""

from xnorlit.layers.attach import Attachment, attach
from xnorlit.layers.binary import BinaryConv2d, BinaryLayer, BinaryLinear, Operand
from xnorlit.layers.norms import BatchNorm1d, BatchNorm2d

__all__ = [
    "Attachment",
    "BatchNorm1d",
    "BatchNorm2d",
    "BinaryConv2d",
    "BinaryLayer",
    "BinaryLinear",
    "Operand",
    "attach",
]
