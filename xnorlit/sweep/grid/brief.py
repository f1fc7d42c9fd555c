"""Runs of a grid for a demonstration: the stored ones or, without any, a part of the grid trained briefly."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xnorlit.edge.console import say
from xnorlit.errors import UserError
from xnorlit.sweep.grid.grid import Grid, Value
from xnorlit.sweep.grid.outcome import Outcome
from xnorlit.sweep.grid.train import read, trained

EPOCHS = 2
"""Epochs of a brief grid: enough to beat chance, too few to rank the settings."""


def outcomes(name: str, stored: Path, brief: Path, *, keep: Mapping[str, Sequence[Value]]) -> list[Outcome]:
    """The finished runs of a grid. Without any, a part of the grid is trained briefly, and a printed line says so.

    Args:
        name: The grid: a file, or the name of one in experiments/ablations.
        stored: The folder of runs.
        brief: The folder of the brief runs, which are reused.
        keep: For some options, the values that the brief grid keeps.

    Raises:
        UserError: There is no such grid, it lacks one of the values, or a training failed.
    """
    grid = Grid.load(name)
    found = read(grid, root=stored)
    if found:
        say("grid", f"{len(found)} of {grid.size} runs of {grid.name} have finished: {stored / grid.name}")
        return found
    small = shortened(grid, keep)
    say(
        "brief",
        f"no run of {grid.name} has finished under {stored} (xnorlit ablate {grid.name} trains all {grid.size}). "
        f"Training {small.size} of them for {EPOCHS} epochs, unless already done. This is a demonstration, not a "
        f"measurement: {brief / grid.name}",
    )
    return trained(small, root=brief, jobs=2)


def shortened(grid: Grid, keep: Mapping[str, Sequence[Value]]) -> Grid:
    """A part of a grid, to be trained for a few epochs without W&B.

    Args:
        grid: The grid.
        keep: For some options, the values to keep.

    Raises:
        UserError: The grid lacks one of the values.
    """
    for name, values in keep.items():
        others = [value for value in values if value not in grid.parameters.get(name, ())]
        if others or not values:
            there = ", ".join(map(str, grid.parameters.get(name, ()))) or "no such parameter"
            raise UserError(f"{grid.name}: cannot keep {name} = {list(values)}; the grid has {there}.")
    brief: dict[str, tuple[Value, ...]] = {"trainer.max_epochs": (EPOCHS,), "run.wandb": ("off",)}
    return replace(grid, parameters=grid.parameters | {name: tuple(v) for name, v in keep.items()} | brief)
