"""An arm's name made of the settings that its command line gives."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from xnorlit.errors import UserError, did_you_mean
from xnorlit.runs.settings import given

_PLACE = re.compile(r"\{([^{}]+)\}")
_OPTION = re.compile(r"--([^=]+)")


def named(template: str, words: Sequence[str]) -> str:
    """`{model.binarizer}-{model.binarizer.gradient}` with what the command line gives these options: `XNOR-ste`.

    A grid of settings has one command for all of its runs, and each of them needs a name of its own.

    Args:
        template: A name, with options in braces or without any.
        words: The command line.

    Raises:
        UserError: The command line does not give such an option.
    """
    return _PLACE.sub(lambda place: readable(_value(place[1], words, template)), template)


def _value(name: str, words: Sequence[str], template: str) -> str:
    value = given(words, name)
    if value is None:
        options = [found[1] for word in words if (found := _OPTION.match(word))]
        raise UserError(
            f"run.arm is {template!r}, but the command line does not give --{name}, whose value would stand there."
            f"{did_you_mean(name, options)} Expected a name, or options of the same command line in braces."
        )
    return value


def readable(value: str) -> str:
    """A value as a part of a folder's name: a class by its name and what it is given, `DoReFa-8-32`.

    Args:
        value: As on a command line: a word, a number, or a mapping with `class_path` and `init_args`.
    """
    return re.sub(r"[^\w.+]+", "-", _spelled(_parsed(value))).strip("-.") or "empty"


def _parsed(value: str) -> Any:
    """The mapping or list that a value spells, or the value itself: `1e-20` stays as it was written."""
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
    return str(value)
