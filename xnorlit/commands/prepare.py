"""The command `xnorlit prepare`, whose signature is that of `xnorlit.data.prepare`."""

from xnorlit.data.prepare import prepare

__all__ = ["prepare"]
