"""Validation of JSON and YAML objects, value by value."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from xnorlit.errors import UserError, did_you_mean

_Read = TypeVar("_Read")
_Record = TypeVar("_Record")
_MOST = 2**63 - 1
_LARGEST = sys.float_info.max


class FieldError(ValueError):
    """A value is missing, has another type or is out of range; the message begins with its place."""


class Fields:
    """The values of one object. A reader takes each value once, by type; `done` refuses the remaining keys.

    Args:
        found: The parsed object.
        place: The object's place in the file, for messages: `layers[3]`.
    """

    def __init__(self, found: Any, place: str = "") -> None:
        if not isinstance(found, dict):
            raise FieldError(f"{place}{': ' if place else ''}expected an object, found {_short(found)}")
        self._left = dict(found)
        self._known: list[str] = []
        self.place = place

    def names(self) -> tuple[str, ...]:
        """The keys that have not been taken; for objects whose keys are names."""
        return tuple(map(str, self._left))

    def has(self, name: str) -> bool:
        """Whether the value exists and is not null."""
        self._known.append(name)
        return self._left.get(name) is not None

    def take(self, name: str) -> Any:
        """Any value."""
        self._known.append(name)
        if name not in self._left:
            raise FieldError(f"{self.at(name)}: missing")
        return self._left.pop(name)

    def object(self, name: str) -> "Fields":
        """The values of an object."""
        return Fields(self.take(name), self.at(name))

    def objects(self, name: str, most: int = _MOST) -> tuple["Fields", ...]:
        """A list of at most `most` objects."""
        items = self._list(name, 0, most)
        return tuple(Fields(item, f"{self.at(name)}[{i}]") for i, item in enumerate(items))

    def values(self, name: str) -> list[Any]:
        """A list of any values."""
        return self._list(name, 0, _MOST)

    def integer(self, name: str, least: int = 0, most: int = _MOST) -> int:
        """A whole number within bounds."""
        return _integer(self.at(name), self.take(name), least, most)

    def integers(self, name: str, count: int, least: int = 0, most: int = _MOST) -> tuple[int, ...]:
        """A list of `count` whole numbers within bounds."""
        items = self._list(name, count, count)
        return tuple(_integer(f"{self.at(name)}[{i}]", item, least, most) for i, item in enumerate(items))

    def number(self, name: str, least: float = -math.inf, most: float = math.inf) -> float:
        """A finite number within bounds."""
        return _number(self.at(name), self.take(name), least, most)

    def fraction(self, name: str) -> float:
        """A number from 0 to 1, or NaN, which a diverged run reports."""
        value = self.take(name)
        return value if isinstance(value, float) and math.isnan(value) else _number(self.at(name), value, 0, 1)

    def numbers(self, name: str, count: int, least: float, most: float) -> tuple[float, ...]:
        """A list of `count` numbers within bounds."""
        items = self._list(name, count, count)
        return tuple(_number(f"{self.at(name)}[{i}]", item, least, most) for i, item in enumerate(items))

    def flag(self, name: str) -> bool:
        """`true` or `false`."""
        value = self.take(name)
        if type(value) is not bool:
            raise FieldError(f"{self.at(name)}: expected true or false, found {_short(value)}")
        return value

    def text(self, name: str, *, blank: bool = True) -> str:
        """A string; blank strings are valid only if `blank` is true."""
        value = self.take(name)
        if not _writable(value) or not (blank or value.strip()):
            raise FieldError(f"{self.at(name)}: expected text, found {_short(value)}")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None if it is missing."""
        return self.text(name) if self.has(name) else None

    def texts(self, name: str, most: int = _MOST) -> tuple[str, ...]:
        """A list of 1 to `most` strings."""
        items = self._list(name, 1, most)
        if not all(map(_writable, items)):
            raise FieldError(f"{self.at(name)}: expected a list of strings, found {_short(items)}")
        return tuple(items)

    def choice(self, name: str, known: Sequence[str]) -> str:
        """One of the known strings."""
        return _choice(self.at(name), self.take(name), known)

    def choices(self, name: str, known: Sequence[str]) -> tuple[str, ...]:
        """A list of known strings."""
        return tuple(_choice(f"{self.at(name)}[{i}]", item, known) for i, item in enumerate(self._list(name, 0, _MOST)))

    def moment(self, name: str) -> datetime:
        """A date and time in ISO 8601; UTC unless it has a time zone."""
        value = self.text(name)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            problem = f"expected a date and time such as 2026-01-31T12:00:00+00:00, found {_short(value)}"
            raise FieldError(f"{self.at(name)}: {problem}") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def record(self, kind: type[_Record], **taken: Any) -> _Record:
        """A dataclass from the given values and, by their types, the remaining fields. Numbers are at least 0.

        Args:
            kind: The dataclass.
            taken: Values of fields that need more than a check of their type.
        """
        for field in dataclasses.fields(kind):  # type: ignore[arg-type]
            if field.name not in taken:
                taken[field.name] = _BY_TYPE[field.type](self, field.name)
        return kind(**taken)

    def done(self) -> None:
        """Refuse keys that were not taken. Ignoring a key could change the meaning of the file."""
        self.only(self._known)

    def only(self, known: Sequence[str]) -> None:
        """Refuse unknown keys. Call it before the first `take`, so that a misspelt key is not reported as missing."""
        for name in sorted(set(map(str, self._left)) - set(known)):
            place = f"{self.place}: " if self.place else ""
            raise FieldError(f"{place}unknown key {_short(name)}{_near(name, known)}")

    def at(self, name: str) -> str:
        """The place of a value, for messages."""
        return f"{self.place}.{name}" if self.place else name

    def _list(self, name: str, least: int, most: int) -> list[Any]:
        items = self.take(name)
        if not isinstance(items, list) or not least <= len(items) <= most:
            length = f"{least}" if least == most else f"{least} to {most}"
            of = "" if most == _MOST else f" of {length}"
            raise FieldError(f"{self.at(name)}: expected a list{of}, found {_short(items)}")
        return items


# How to take a field of a record, by its type.
_BY_TYPE: dict[Any, Callable[[Fields, str], Any]] = {
    str: Fields.text,
    str | None: Fields.optional_text,
    bool: Fields.flag,
    int: Fields.integer,
    float: lambda fields, name: fields.number(name, 0),
    datetime: Fields.moment,
}


def read_json(file: Path, take: Callable[[Fields], _Read], *, advice: str) -> _Read:
    """Read a JSON file that holds an object, and return the result of `take`.

    Args:
        file: The file.
        take: A function that takes the values; its `FieldError`s become messages for users.
        advice: What to do if the file is damaged.

    Raises:
        UserError: The file is missing, is not JSON in UTF-8, or does not match what `take` expects.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=distinct)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}. {advice}") from error
    except (ValueError, RecursionError) as error:  # broken UTF-8 is a ValueError too
        raise UserError(f"{file} is damaged ({error}). Expected JSON. {advice}") from error
    try:
        return take(Fields(found))
    except FieldError as error:
        raise refused(file, error, advice) from error


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; duplicate names are an error. `json` alone would silently keep the last value.

    Raises:
        ValueError: A name occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a duplicate name")
    return found


def refused(file: Path, problem: FieldError, advice: str) -> UserError:
    """The error message for users: the file, the problem, and what to do."""
    end = "" if str(problem).endswith("?") else "."
    return UserError(f"{file}: {problem}{end} {advice}")


def _integer(place: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise FieldError(f"{place}: expected a whole number{_bounds(least, most)}, found {_short(value)}")
    return value


def _number(place: str, value: Any, least: float, most: float) -> float:
    # Python's integers are unbounded. Converting one beyond the largest float raises OverflowError.
    finite = type(value) in (int, float) and -_LARGEST <= value <= _LARGEST
    if not finite or not least <= value <= most:
        raise FieldError(f"{place}: expected a number{_bounds(least, most)}, found {_short(value)}")
    return float(value)


def _bounds(least: float, most: float) -> str:
    if most in (math.inf, _MOST):
        return "" if least == -math.inf else f" of at least {least:g}"
    return (
        f" of {least} to {most}" if isinstance(least, int) and isinstance(most, int) else f" of {least:g} to {most:g}"
    )


def _choice(place: str, value: Any, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        near = _near(value, known) if isinstance(value, str) else ""
        raise FieldError(f"{place}: expected one of {', '.join(known)}, found {_short(value)}{near}")
    return value


def _near(given: str, known: Sequence[str]) -> str:
    near = did_you_mean(given, known).removeprefix(" Did you mean ").rstrip("?")
    return f"; did you mean {near!r}?" if near else ""


def _writable(value: Any) -> bool:
    """Whether it is a string that can be encoded: JSON may contain lone surrogates."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
