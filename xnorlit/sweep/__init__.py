"""Runs to be trained, each a process of its own: what is there already, and the rest carried out."""

from xnorlit.sweep.job import Job, State

__all__ = ["Job", "State"]
