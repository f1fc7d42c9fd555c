"""Ablations: grids of settings, in W&B's own sweep format, trained here with no account and read back as records."""

from xnorlit.ablation.grid import Grid, Value
from xnorlit.ablation.outcome import Outcome
from xnorlit.ablation.train import read, trained

__all__ = ["Grid", "Outcome", "Value", "read", "trained"]
