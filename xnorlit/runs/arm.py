"""An arm's name, built from the settings on its command line."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from xnorlit.errors import UserError, did_you_mean
from xnorlit.runs.settings import given

_PLACE = re.compile(r"\{([^{}]+)\}")
_OPTION = re.compile(r"--([^=]+)")


def named(template: str, argv: Sequence[str]) -> str:
    """`XNOR-ste` from `{model.binarizer}-{model.binarizer.gradient}`: each option in braces becomes its value.

    A grid has one command for all its runs, but each run needs its own name.

    Args:
        template: A name, with or without options in braces.
        argv: The command line.

    Raises:
        UserError: The command line does not set such an option.
    """
    return _PLACE.sub(lambda place: readable(_value(place[1], argv, template)), template)


def _value(name: str, argv: Sequence[str], template: str) -> str:
    value = given(argv, name)
    if value is None:
        options = [found[1] for argument in argv if (found := _OPTION.match(argument))]
        raise UserError(
            f"run.arm is {template!r}, but the command line does not set --{name}."
            f"{did_you_mean(name, options)} Expected a name, or options of the same command line in braces."
        )
    return value


def readable(value: str) -> str:
    """A value as part of a folder's name. A class becomes its name and arguments: `DoReFa-8-32`.

    Args:
        value: A value from a command line: a string, a number, or a mapping with `class_path` and `init_args`.
    """
    return re.sub(r"[^\w.+]+", "-", _spelled(_parsed(value))).strip("-.") or "empty"


def _parsed(value: str) -> Any:
    """The mapping or list that the text of a value holds, or the text itself: `1e-20` stays as written."""
    if value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        settings = [_spelled(part) for key, part in value.items() if key != "class_path"]
        name = [str(value["class_path"]).rpartition(".")[2]] if "class_path" in value else []
        return "-".join([*name, *settings])
    if isinstance(value, list):
        return "-".join(_spelled(part) for part in value)
    return re.sub(r"^-(?=[\d.])", "minus-", str(value))  # A name begins with no dash, and -1 differs from 1.
