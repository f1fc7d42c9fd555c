"""Binary layers for PyTorch networks: add them, train them, pack them into bits, and compare with the float twin.

Every public name is an attribute of this module and is imported at its first use. `import xnorlit as xl` therefore does
not load torch. Neither does `xl.load`, which runs a packed network with only numpy and the kernels. The stub beside
this file lists the module of each name.
"""

import functools

import lazy_loader

_public, _, __all__ = lazy_loader.attach_stub(__name__, __file__)


@functools.cache  # The parser of settings asks for the same few hundred names many times.
def _missing(name: str) -> str:
    from xnorlit.errors import did_you_mean

    return f"module 'xnorlit' has no attribute {name!r}.{did_you_mean(name, __all__)}"


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("xnorlit")
    if name not in __all__:
        raise AttributeError(_missing(name))
    return _public(name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
