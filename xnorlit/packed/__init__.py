"""The trained network in bits: `load` gives one that runs with numpy and the kernels alone.

`xnorlit.packed.export` makes the file, from a module of `xnorlit.models`; it is the one part that needs torch.
"""

from xnorlit.packed.engine import PackedNetwork, load

__all__ = ["PackedNetwork", "load"]
