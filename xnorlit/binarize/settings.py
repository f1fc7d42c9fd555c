"""The settings of a method, held to the annotations of its constructor."""

import inspect
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from xnorlit.errors import UserError, did_you_mean

_PLAIN = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a text"),
    NoneType: (NoneType, "None"),
}


def held_to_annotations(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that refuses words, numbers and flags which its annotations exclude; other types pass.

    The command line refuses them already; in Python a misspelt word would otherwise choose another formula.

    Args:
        init: The constructor.
    """

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            given, hints = inspect.signature(init).bind(self, *args, **kwargs).arguments, get_type_hints(init)
        except (
            TypeError,
            NameError,
        ):  # The call below says it, or a name is not imported.
            given, hints = {}, {}
        wrong = [name for name, value in given.items() if name in hints and not _fits(value, hints[name])]
        try:
            init(self, *args, **kwargs)  # Its own check, if it has one, says more.
        except (TypeError, KeyError):
            if not wrong:
                raise
        for name in wrong:
            raise UserError(f"{type(self).__name__}'s {name} is {given[name]!r}. {_expected(given[name], hints[name])}")

    return checked


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    return any(_is(value, each) for each in _members(hint))


def _is(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint not in _PLAIN:
        return True
    return isinstance(value, _PLAIN[hint][0]) and (hint is bool or not isinstance(value, bool))


def _words(hint: Any) -> str:
    return " or ".join(map(repr, get_args(hint))) if get_origin(hint) is Literal else _PLAIN[hint][1]


def _expected(value: Any, hint: Any) -> str:
    words = [each for part in _members(hint) for each in get_args(part) if isinstance(each, str)]
    near = did_you_mean(value, words) if isinstance(value, str) else ""
    return f"Expected {' or '.join(map(_words, _members(hint)))}.{near}"
