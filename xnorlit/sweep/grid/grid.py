"""A grid of settings: a W&B sweep file with `method: grid`, read and checked."""

import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xnorlit.errors import UserError, did_you_mean
from xnorlit.runs.recipes import folders
from xnorlit.runs.settings import read_config

Value = str | int | float | bool

SEED = "seed_everything"

_SEE = "See docs/ablations.md."
_KEYS = ("method", "parameters", "command", "name", "description", "metric", "program", "project", "entity")
_CHOOSING = ("early_terminate", "run_cap", "scheduler", "controller", "job", "image_uri")
_SCALARS = (str, int, float, bool)


@dataclass(frozen=True)
class Grid:
    """Every combination of some values of some settings.

    Attributes:
        file: The grid's file.
        name: Name of the sweep (default: the file's).
        description: The question that the grid answers.
        parameters: The values of each option of `xnorlit fit`, in the file's order; a constant has one value.
        command: The command of a combination, with `${args}` in place of its options.
    """

    file: Path
    name: str
    description: str
    parameters: dict[str, tuple[Value, ...]]
    command: tuple[str, ...] = field(repr=False)

    @staticmethod
    def load(file: Path | str) -> "Grid":
        """The grid in a file.

        Args:
            file: A path, or the name of a file in experiments/ablations here, in a folder above, or in the package.

        Raises:
            UserError: There is no such file, or it is not a valid grid.
        """
        path = _found(Path(file))
        config = read_config(path)
        _check_keys(config, path)
        name, description = (str(config.get(key) or "").strip() for key in ("name", "description"))
        return Grid(path, name or path.stem, description, _parameters(config, path), _command(config, path))

    @property
    def cells(self) -> list[dict[str, Value]]:
        """Each combination, as `{option: value}`; the last parameter changes fastest."""
        names = list(self.parameters)
        return [dict(zip(names, values, strict=True)) for values in itertools.product(*self.parameters.values())]

    @property
    def size(self) -> int:
        """Number of combinations."""
        return math.prod(len(values) for values in self.parameters.values())

    @property
    def labels(self) -> dict[str, str]:
        """A short name for each varied parameter: the last part of its name, or more if two share it."""
        varied = [name for name, values in self.parameters.items() if len(values) > 1]
        return {name: "seed" if name == SEED else _label(name, varied) for name in varied}


def _label(name: str, names: list[str]) -> str:
    parts = name.split(".")
    for count in range(1, len(parts)):
        label = ".".join(parts[-count:])
        if sum(other == label or other.endswith(f".{label}") for other in names) == 1:
            return label
    return name


def _found(given: Path) -> Path:
    if given.is_file():
        return given
    homes = [folder / "ablations" for folder in folders()]
    name = given.name.removesuffix(".yaml")
    for path in (home / given.parent / f"{name}.yaml" for home in homes):
        if path.is_file():
            return path
    known = sorted({path.stem for home in homes for path in home.glob("*.yaml")})
    near = did_you_mean(name, known)
    raise UserError(
        f"there is no grid {given}.{near} Expected a file, or one of experiments/ablations: "
        f"{', '.join(known) or 'none'}."
    )


def _check_keys(config: dict[str, Any], file: Path) -> None:
    method = config.get("method")
    if method in ("bayes", "random", "custom"):
        raise UserError(
            f"{file}: method is {method}, with which W&B's server chooses the values. Expected method: grid. List the "
            f"values, or run this file with `wandb sweep {file}`."
        )
    if method != "grid":
        raise UserError(f"{file}: method is {method!r}. Expected `method: grid` and `parameters`. {_SEE}")
    for key in config:
        if key in _CHOOSING:
            raise UserError(
                f"{file}: {key} works only on W&B's server; here every run of a grid trains to its end. Remove it, or "
                f"run this file with `wandb sweep {file}`."
            )
        if key not in _KEYS:
            raise UserError(f"{file}: unknown key {key}.{did_you_mean(str(key), _KEYS)} Known: {', '.join(_KEYS)}.")


def _parameters(config: dict[str, Any], file: Path) -> dict[str, tuple[Value, ...]]:
    listed = config.get("parameters")
    if not isinstance(listed, dict) or not listed:
        raise UserError(
            f"{file}: the grid is empty. Expected `parameters`, each with `values: [...]` or `value: ...`. {_SEE}"
        )
    return {str(name): _values(str(name), about, file) for name, about in listed.items()}


def _values(name: str, about: Any, file: Path) -> tuple[Value, ...]:
    where = f"{file}: parameter {name}"
    if not isinstance(about, dict) or len(about.keys() & {"values", "value"}) != 1:
        raise UserError(f"{where} has no values. Expected `values: [...]`, or `value: ...` for a constant. {_SEE}")
    if others := about.keys() - {"values", "value", "distribution"}:
        raise UserError(f"{where} has {', '.join(map(str, sorted(others)))}. Expected only `values` or `value`.")
    values = about["values"] if "values" in about else [about["value"]]
    if not isinstance(values, list) or not values:
        raise UserError(f"{where} is {values!r}. Expected `values: [...]` with at least one value. {_SEE}")
    for value in values:
        if not isinstance(value, _SCALARS):
            raise UserError(
                f"{where} has the value {value!r}. Expected a string, a number, true or false, which W&B's agent can "
                "write on a command line. Quote anything else: '{class_path: DoReFa, init_args: {...}}', "
                "'null'."
            )
    if len({str(value) for value in values}) < len(values):
        raise UserError(f"{where} repeats a value: {', '.join(map(str, values))}. Remove one.")
    return tuple(values)


def _command(config: dict[str, Any], file: Path) -> tuple[str, ...]:
    command = config.get("command")
    expected = 'Expected ["${env}", "${interpreter}", "-m", "xnorlit", "fit", "-c", ..., "${args}"].'
    if not isinstance(command, list) or [str(argument) for argument in command[:5]] != _BEGINNING:
        raise UserError(f"{file}: its command does not run xnorlit. {expected} {_SEE}")
    argv = tuple(str(argument) for argument in command)
    macros = [argument for argument in argv[2:] if argument.startswith("${") or "${envvar:" in argument]
    if macros != ["${args}"]:
        raise UserError(f"{file}: its command has {', '.join(macros) or 'no ${args}'}. {expected} {_SEE}")
    return argv


_BEGINNING = ["${env}", "${interpreter}", "-m", "xnorlit", "fit"]
