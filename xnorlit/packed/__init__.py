"""Packed networks: `load` returns one that runs with numpy and the kernels only.

`BinaryConv` and `BinaryLinear` are single layers, made from an array of weights.

`xnorlit.export.pack` makes the file from a torch module; only that part needs torch.
"""

from xnorlit.packed.absence import KernelsMissingError
from xnorlit.packed.binary import BinaryConv, BinaryLinear, pack_signs
from xnorlit.packed.engine import PackedNetwork, load

__all__ = ["BinaryConv", "BinaryLinear", "KernelsMissingError", "PackedNetwork", "load", "pack_signs"]
