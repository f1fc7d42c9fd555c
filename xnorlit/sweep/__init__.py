"""Planned runs, each a separate process: skips the finished ones and trains the rest."""

from xnorlit.sweep.job import Job, State

__all__ = ["Job", "State"]
