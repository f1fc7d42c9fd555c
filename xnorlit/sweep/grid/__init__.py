"""Ablations: grids of settings in W&B's sweep format. They need no account, and their results are typed records."""

from xnorlit.sweep.grid.grid import Grid, Value
from xnorlit.sweep.grid.outcome import Outcome
from xnorlit.sweep.grid.train import read, trained

__all__ = ["Grid", "Outcome", "Value", "read", "trained"]
