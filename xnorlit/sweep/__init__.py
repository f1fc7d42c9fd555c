"""Planned runs, each a separate process: skip the finished ones and train the rest."""

from xnorlit.sweep.job import Job, State

__all__ = ["Job", "State"]
