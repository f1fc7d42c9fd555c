"""Defaults and constants are results: changing one changes what a recipe trains, and each published number.

If a change is intended, `python -m tests.test_defaults` rewrites the table.
"""

import dataclasses
import importlib
import inspect
import json
import pkgutil
from enum import Enum
from pathlib import Path

import pytest

ROOMS = (
    *("xnorlit.binarize", "xnorlit.layers", "xnorlit.training", "xnorlit.training.losses", "xnorlit.export"),
    *("xnorlit.data.augment", "xnorlit.data.order", "xnorlit.data.counter"),
    *("xnorlit.comparison.statistics", "xnorlit.edge.atomic"),
)
TABLE = Path(__file__).with_name("defaults.json")


def modules():
    for room in ROOMS:
        found = importlib.import_module(room)
        inside = pkgutil.iter_modules(getattr(found, "__path__", ()))
        yield from [room, *(f"{room}.{each.name}" for each in inside if not each.ispkg)]


def plain(value):
    """Whether a value can be recorded: a number, a string, or a collection of these."""
    if isinstance(value, tuple | frozenset | list | set):
        return all(plain(each) for each in value)
    word = isinstance(value, str) and not set(value) & {" ", "/"}  # Messages and paths are not results.
    return value is None or word or (isinstance(value, bool | int | float) and not isinstance(value, Enum))


def said(value):
    return repr(sorted(value, key=repr) if isinstance(value, set | frozenset) else value)


def defaults_of(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {each.name: said(each.default) for each in parameters if plain(each.default)}


def of_class(kind):
    """The defaults of a class and of its own methods, its attributes, and whether it may be assigned to."""
    owner = next(each for each in kind.__mro__ if {"__init__", "__new__"} & set(vars(each)))
    yield "", defaults_of(kind) if owner.__module__.startswith("xnorlit") else {}
    if dataclasses.is_dataclass(kind) and "__dataclass_params__" in vars(kind):
        yield "dataclass", {name: repr(getattr(kind.__dataclass_params__, name)) for name in ("frozen", "eq", "order")}
    own = {name: value for name, value in vars(kind).items() if not name.startswith(("__", "_fields"))}
    attributes = {name: said(value) for name, value in own.items() if plain(value)}
    yield "attributes", attributes
    for name, value in own.items():
        function = getattr(value, "__func__", value)
        if inspect.isfunction(function):
            yield name, defaults_of(function)


def of_module(name):
    """`{what: {name: value}}` of all that a module defines; of numbers, words and collections of them."""
    module = importlib.import_module(name)
    found = {"constants": {key: said(value) for key, value in vars(module).items() if key.isupper() and plain(value)}}
    for key, value in vars(module).items():
        if getattr(value, "__module__", None) != name:
            continue
        if inspect.isclass(value):
            found |= {f"{key}.{what}".rstrip("."): defaults for what, defaults in of_class(value)}
        elif inspect.isfunction(value):
            found[key] = defaults_of(value)
    return {what: defaults for what, defaults in found.items() if defaults}


@pytest.mark.parametrize("name", list(modules()))
def test_defaults_and_constants_are_those_of_the_published_numbers(name):
    assert of_module(name) == json.loads(TABLE.read_text()).get(name, {})


def test_the_table_names_what_exists():
    assert set(json.loads(TABLE.read_text())) <= set(modules())


if __name__ == "__main__":
    table = {name: found for name in modules() if (found := of_module(name))}
    lines = [
        f' "{name}": {{\n' + ",\n".join(f'  "{what}": {json.dumps(each)}' for what, each in found.items()) + "\n }"
        for name, found in table.items()
    ]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
