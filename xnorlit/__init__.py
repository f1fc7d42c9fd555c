"""Binary layers for PyTorch networks: put them in, train them, pack them into bits, and compare the pair.

Everything public is an attribute of this module, imported when it is first used: `import xnorlit as xl` loads no torch,
and neither does `xl.load`, which runs a packed network with numpy and the kernels alone. The stub beside this file says
where each name lives.
"""

import functools

import lazy_loader

_public, _, __all__ = lazy_loader.attach_stub(__name__, __file__)


@functools.cache  # A parser of settings asks for the same few hundred names many times over.
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
