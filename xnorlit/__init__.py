"""Binary layers for PyTorch networks: put them in, train them, pack them into bits, and compare the pair.

Everything public is an attribute of this module, imported when it is first used: `import xnorlit as xl` loads no torch,
and neither does `xl.load`, which runs a packed network with numpy and the kernels alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xnorlit.binarize import Binarizer as Binarizer
    from xnorlit.binarize import list_binarizers as list_binarizers
    from xnorlit.binarize.adabin import AdaBin as AdaBin
    from xnorlit.binarize.binary_connect import BinaryConnect as BinaryConnect
    from xnorlit.binarize.bireal import BiReal as BiReal
    from xnorlit.binarize.bnn import BNN as BNN
    from xnorlit.binarize.bwn import BWN as BWN
    from xnorlit.binarize.dorefa import DoReFa as DoReFa
    from xnorlit.binarize.duo import BinaryDuo as BinaryDuo
    from xnorlit.binarize.float import Float as Float
    from xnorlit.binarize.heaviside import Heaviside as Heaviside
    from xnorlit.binarize.hwgq import HWGQ as HWGQ
    from xnorlit.binarize.irnet import IRNet as IRNet
    from xnorlit.binarize.latent_free import LatentFree as LatentFree
    from xnorlit.binarize.low_precision import LowPrecision as LowPrecision
    from xnorlit.binarize.lsq import LSQ as LSQ
    from xnorlit.binarize.pact import PACT as PACT
    from xnorlit.binarize.reactnet import ReActNet as ReActNet
    from xnorlit.binarize.recu import ReCU as ReCU
    from xnorlit.binarize.swishsign import SwishSign as SwishSign
    from xnorlit.binarize.ttq import TTQ as TTQ
    from xnorlit.binarize.twn import TWN as TWN
    from xnorlit.binarize.weights_only import WeightsOnly as WeightsOnly
    from xnorlit.binarize.xnor import XNOR as XNOR
    from xnorlit.binarize.xnorplusplus import XNORPlusPlus as XNORPlusPlus
    from xnorlit.comparison.compare import compare as compare
    from xnorlit.convert import binarize_ as binarize_
    from xnorlit.errors import UserError as UserError
    from xnorlit.export.pack import pack as pack
    from xnorlit.layers import BatchNorm1d as BatchNorm1d
    from xnorlit.layers import BatchNorm2d as BatchNorm2d
    from xnorlit.layers import BinaryConv2d as BinaryConv2d
    from xnorlit.layers import BinaryLinear as BinaryLinear
    from xnorlit.layers import attach as attach
    from xnorlit.models import create as create
    from xnorlit.models import list_networks as list_networks
    from xnorlit.models.summary import summary as summary
    from xnorlit.packed import load as load

    __version__: str

# Where each name lives, in the order of the imports above; a test holds the two together.
_HOMES = {
    "binarize": ("Binarizer", "list_binarizers"),
    "binarize.adabin": ("AdaBin",),
    "binarize.bnn": ("BNN",),
    "binarize.bwn": ("BWN",),
    "binarize.bireal": ("BiReal",),
    "binarize.binary_connect": ("BinaryConnect",),
    "binarize.duo": ("BinaryDuo",),
    "binarize.dorefa": ("DoReFa",),
    "binarize.float": ("Float",),
    "binarize.hwgq": ("HWGQ",),
    "binarize.heaviside": ("Heaviside",),
    "binarize.irnet": ("IRNet",),
    "binarize.lsq": ("LSQ",),
    "binarize.latent_free": ("LatentFree",),
    "binarize.low_precision": ("LowPrecision",),
    "binarize.pact": ("PACT",),
    "binarize.reactnet": ("ReActNet",),
    "binarize.recu": ("ReCU",),
    "binarize.swishsign": ("SwishSign",),
    "binarize.ttq": ("TTQ",),
    "binarize.twn": ("TWN",),
    "binarize.weights_only": ("WeightsOnly",),
    "binarize.xnor": ("XNOR",),
    "binarize.xnorplusplus": ("XNORPlusPlus",),
    "comparison.compare": ("compare",),
    "convert": ("binarize_",),
    "errors": ("UserError",),
    "export.pack": ("pack",),
    "layers": ("BatchNorm1d", "BatchNorm2d", "BinaryConv2d", "BinaryLinear", "attach"),
    "models": ("create", "list_networks"),
    "models.summary": ("summary",),
    "packed": ("load",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """The public name, from the module that defines it.

    Raises:
        AttributeError: There is none; the message suggests the nearest.
    """
    import importlib

    if name == "__version__":
        from importlib.metadata import version

        found = version("xnorlit")
    elif name in _HOME_OF:
        found = getattr(importlib.import_module(f"xnorlit.{_HOME_OF[name]}"), name)
    else:
        from xnorlit.errors import did_you_mean

        raise AttributeError(f"module 'xnorlit' has no attribute {name!r}.{did_you_mean(name, __all__)}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
