"""The trained network in bits: `load` gives one that runs with numpy and the kernels alone.

`BinaryConv` and `BinaryLinear` are layers by themselves, from weights in an array.

`xnorlit.export.pack` makes the file, from a module of `xnorlit.models`; it is the one part that needs torch.
"""

from xnorlit.packed.absence import KernelsMissingError
from xnorlit.packed.binary import BinaryConv, BinaryLinear, pack_signs
from xnorlit.packed.engine import PackedNetwork, load

__all__ = ["BinaryConv", "BinaryLinear", "KernelsMissingError", "PackedNetwork", "load", "pack_signs"]
