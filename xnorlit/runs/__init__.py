"""The files of a finished run as typed records; needs neither torch nor Lightning."""

from xnorlit.runs.curves import Curves, Series
from xnorlit.runs.logged import LoggedRun
from xnorlit.runs.place import Place
from xnorlit.runs.predictions import Predictions
from xnorlit.runs.run import BrokenRun, Run, read
from xnorlit.runs.search import Pair, find, newest, newest_pair
from xnorlit.runs.summary import Environment, Images, Summary

__all__ = [
    "BrokenRun",
    "Curves",
    "Environment",
    "Images",
    "LoggedRun",
    "Pair",
    "Place",
    "Predictions",
    "Run",
    "Series",
    "Summary",
    "find",
    "newest",
    "newest_pair",
    "read",
]
