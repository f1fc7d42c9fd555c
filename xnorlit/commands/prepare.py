"""The command `xnorlit prepare`: the data room's function, whose signature is the command line."""

from xnorlit.data.prepare import prepare

__all__ = ["prepare"]
