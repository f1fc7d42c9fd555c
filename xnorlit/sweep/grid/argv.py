"""The command line of one combination of a grid. W&B's agent would run the same one, after the interpreter."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from xnorlit.data.sources import NAMED
from xnorlit.edge.names import at_home
from xnorlit.errors import UserError, did_you_mean
from xnorlit.runs.arm import named
from xnorlit.runs.place import Place, name_of_images
from xnorlit.runs.recipes import located, packaged
from xnorlit.runs.settings import config_files, given, merged
from xnorlit.sweep.grid.grid import SEED, Grid, Value


@dataclass(frozen=True)
class Base:
    """Settings that replace those in a grid's file; None keeps the grid's own.

    Attributes:
        data: Folder of images, or a named set.
        experiment: Name of a recipe.
        root: Folder of all runs.
    """

    data: str | None = None
    experiment: str | None = None
    root: Path | None = None

    def beside(self, folder: Path) -> "Base":
        """The same settings with absolute paths, for commands that run in another folder."""
        if folder.resolve() == Path.cwd():
            return self
        data = str(at_home(self.data).resolve()) if self.data and self.data not in NAMED else self.data
        return replace(self, data=data, root=self.root and at_home(self.root).resolve())


def arguments(cell: Mapping[str, Value]) -> list[str]:
    """`--NAME=VALUE` for each option, sorted by name as W&B's server sends them. They replace `${args}`."""
    return [f"--{name}={cell[name]}" for name in sorted(cell)]


def argv_of(grid: Grid, cell: Mapping[str, Value], base: Base, folder: Path) -> tuple[str, ...]:
    """The arguments of `xnorlit fit` for one combination.

    Args:
        grid: The grid.
        cell: One of the grid's combinations.
        base: Settings that replace the grid's own.
        folder: Working directory of the command.
    """
    command = list(grid.command[5:])
    if base.experiment:
        command = [_on(base.experiment, argument, folder) for argument in command]
    at = command.index("${args}")
    found = [*command[:at], *arguments(cell), *command[at + 1 :]]
    if base.data:
        found.append(f"--data.source={base.data}")
    if suffix := _suffix(base):
        found.append(f"--run.experiment={_filed(found, 'experiment', folder) or grid.name}{suffix}")
    if base.root:
        found.append(f"--run.root={base.root}")
    return tuple(found)


def _suffix(base: Base) -> str:
    """`@cifar10@photos`: separates runs with other images or another recipe from the grid's own."""
    data = name_of_images(base.data) if base.data else None
    return "".join(f"@{each}" for each in (base.experiment, data) if each)


def _on(experiment: str, argument: str, folder: Path) -> str:
    """A recipe's file, moved to another recipe's folder. Any other argument stays unchanged."""
    path = Path(argument)
    base = located(folder / path.parent / "base.yaml")
    if path.suffix != ".yaml" or not base.is_file():
        return argument
    other = Path(os.path.normpath(path.parent / ".." / experiment / path.name))  # of `base.yaml` too
    if not located(folder / other).is_file():
        known = sorted(found.parent.name for found in base.resolve().parent.parent.glob(f"*/{path.name}"))
        near = did_you_mean(experiment, known)
        raise UserError(f"no recipe named {experiment} with a {path.name}.{near} Known: {', '.join(known)}.")
    return str(other)


def place(argv: tuple[str, ...], folder: Path) -> Place:
    """The place of a command line's run, with the root relative to the current working directory.

    Args:
        argv: The arguments of `xnorlit fit`.
        folder: Working directory of the command.
    """
    seed = given(argv, SEED) or str(_config(argv, folder).get(SEED, 0))
    if not seed.isdecimal():
        raise UserError(f"{SEED} is {seed}. Expected a whole number from 0; it is part of the run's name.")
    root = at_home(_filed(argv, "root", folder) or "runs")
    if folder.resolve() != Path.cwd():
        root = folder / root
    arm = named(_filed(argv, "arm", folder) or "unnamed", argv)
    experiment, pair = (_filed(argv, key, folder) for key in ("experiment", "pair"))
    return Place(root, experiment or "unnamed", pair or "pair-0", arm, int(seed))


def _filed(argv: "tuple[str, ...] | list[str]", key: str, folder: Path) -> str | None:
    """A setting under `run`, from a command line or else from its configuration files."""
    value = given(argv, f"run.{key}") or (_config(argv, folder).get("run") or {}).get(key)
    if not isinstance(value, str | None):
        raise UserError(f"run.{key} is {value}. Expected a text; write it in quotes: {key}: '{value}'.")
    return value


def _config(argv: "tuple[str, ...] | list[str]", folder: Path) -> dict:
    return merged(folder / file for file in config_files(argv))


def home(grid: Grid) -> Path:
    """The folder to which the paths in a grid's command are relative.

    This is the working directory if it contains the command's configuration files; otherwise, the nearest folder above
    the grid's file that does. A packaged grid runs in the working directory, which finds the packaged recipes.

    Raises:
        UserError: No such folder contains the configuration files.
    """
    files, theirs = list(config_files(grid.command)), packaged().parent
    for folder in (Path(), *grid.file.resolve().parents):
        elsewhere = folder == theirs and not Path.cwd().is_relative_to(theirs)
        if not elsewhere and all((folder / file).is_file() for file in files):
            return folder
    if all(located(file).is_file() for file in files):
        return Path()
    missing = ", ".join(str(file) for file in files if not located(file).is_file())
    raise UserError(
        f"{grid.file}: its command uses {missing}, which exists neither here nor in a folder above the grid's file, "
        "and is not a recipe. Correct the path."
    )
