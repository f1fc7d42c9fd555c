"""A grid to look at: its stored runs or, where there are none, a part of it trained briefly."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xnorlit.errors import UserError
from xnorlit.output.console import say
from xnorlit.sweep.grid.grid import Grid, Value
from xnorlit.sweep.grid.outcome import Outcome
from xnorlit.sweep.grid.train import read, trained

EPOCHS = 2
"""Of a brief grid: enough to be above chance, too few for an order of its members that would last."""


def outcomes(name: str, stored: Path, brief: Path, *, keep: Mapping[str, Sequence[Value]]) -> list[Outcome]:
    """The finished runs of a grid; where there are none, those of a part of it, trained briefly and said to be.

    Args:
        name: The grid: a file, or the name of one in experiments/ablations.
        stored: The folder of runs.
        brief: The folder of runs for the brief ones, where they are found again.
        keep: Options of which the brief grid has these values alone.

    Raises:
        UserError: There is no such grid, it has no such values, or a training failed.
    """
    grid = Grid.load(name)
    found = read(grid, root=stored)
    if found:
        say("grid", f"{len(found)} of the {grid.size} runs of {grid.name} have finished: {stored / grid.name}")
        return found
    small = shortened(grid, keep)
    say(
        "brief",
        f"no run of {grid.name} has finished under {stored} (xnorlit ablate {grid.name} trains all {grid.size}). Now "
        f"{small.size} of them are trained for {EPOCHS} epochs unless they are there, to have something to draw and "
        f"not to measure anything: {brief / grid.name}",
    )
    return trained(small, root=brief, jobs=2)


def shortened(grid: Grid, keep: Mapping[str, Sequence[Value]]) -> Grid:
    """A part of a grid, for a few epochs and not logged to W&B.

    Args:
        grid: The grid.
        keep: Options of which the part has these values alone.

    Raises:
        UserError: The grid has no such values.
    """
    for name, values in keep.items():
        others = [value for value in values if value not in grid.parameters.get(name, ())]
        if others or not values:
            there = ", ".join(map(str, grid.parameters.get(name, ()))) or "no such parameter"
            raise UserError(f"{grid.name} is to be kept with {name} = {list(values)}, but it has {there}.")
    brief: dict[str, tuple[Value, ...]] = {"trainer.max_epochs": (EPOCHS,), "run.wandb": ("off",)}
    return replace(grid, parameters=grid.parameters | {name: tuple(v) for name, v in keep.items()} | brief)
