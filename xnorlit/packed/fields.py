"""A JSON object whose fields are looked at before they are used."""

from collections.abc import Sequence
from typing import Any


class FieldError(Exception):
    """A field that is missing, of another type or out of range; the message begins with its place."""


class Fields:
    """The fields of one JSON object, each taken once and by type; what nobody took is refused by `done`.

    Args:
        found: What the JSON held.
        place: Where, for messages: `layers[3]`.
    """

    def __init__(self, found: Any, place: str) -> None:
        if not isinstance(found, dict):
            raise FieldError(f"{place}: expected an object, found {_short(found)}")
        self._left = dict(found)
        self.place = place

    def take(self, name: str) -> Any:
        """Any value."""
        if name not in self._left:
            raise FieldError(f"{self._at(name)}: missing")
        return self._left.pop(name)

    def object(self, name: str) -> "Fields":
        """The fields of an object."""
        return Fields(self.take(name), self._at(name))

    def integer(self, name: str, least: int, most: int) -> int:
        """A whole number within bounds."""
        return self._integer(self._at(name), self.take(name), least, most)

    def integers(self, name: str, count: int, least: int, most: int) -> tuple[int, ...]:
        """A list of that many whole numbers within bounds."""
        items = self._list(name, count)
        return tuple(self._integer(f"{self._at(name)}[{i}]", item, least, most) for i, item in enumerate(items))

    def some_integers(self, name: str, count: int, least: int, most: int) -> tuple[int, ...]:
        """A list of 1 to that many whole numbers within bounds."""
        items = self.take(name)
        if not isinstance(items, list) or not 1 <= len(items) <= count:
            raise FieldError(f"{self._at(name)}: expected a list of 1 to {count}, found {_short(items)}")
        return tuple(self._integer(f"{self._at(name)}[{i}]", item, least, most) for i, item in enumerate(items))

    def number(self, name: str, least: float, most: float) -> float:
        """A number within bounds."""
        value = self.take(name)
        if type(value) not in (int, float) or not least <= value <= most:
            raise FieldError(f"{self._at(name)}: expected a number of {least:g} to {most:g}, found {_short(value)}")
        return float(value)

    def numbers(self, name: str, count: int, least: float, most: float) -> tuple[float, ...]:
        """A list of that many numbers within bounds."""
        items = self._list(name, count)
        for item in items:
            if type(item) not in (int, float) or not least <= item <= most:
                raise FieldError(f"{self._at(name)}: expected numbers of {least:g} to {most:g}, found {_short(item)}")
        return tuple(float(item) for item in items)

    def optional_numbers(self, name: str, count: int, least: float, most: float) -> tuple[float | None, ...]:
        """A list of 1 to that many numbers within bounds, some of them `null`."""
        items = self.take(name)
        if not isinstance(items, list) or not 1 <= len(items) <= count:
            raise FieldError(f"{self._at(name)}: expected a list of 1 to {count}, found {_short(items)}")
        each = (Fields({f"{name}[{i}]": item}, self.place) for i, item in enumerate(items))
        return tuple(
            None if item is None else one.number(f"{name}[{i}]", least, most)
            for i, (one, item) in enumerate(zip(each, items, strict=True))
        )

    def flag(self, name: str) -> bool:
        """`true` or `false`."""
        value = self.take(name)
        if type(value) is not bool:
            raise FieldError(f"{self._at(name)}: expected true or false, found {_short(value)}")
        return value

    def text(self, name: str) -> str:
        """A string."""
        value = self.take(name)
        if not _writable(value):
            raise FieldError(f"{self._at(name)}: expected text, found {_short(value)}")
        return value

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """A list of 1 to `most` strings."""
        items = self.take(name)
        if not isinstance(items, list) or not 1 <= len(items) <= most or not all(map(_writable, items)):
            raise FieldError(f"{self._at(name)}: expected a list of 1 to {most} texts")
        return tuple(items)

    def choice(self, name: str, known: Sequence[str]) -> str:
        """One of the known strings."""
        value = self.take(name)
        if value not in known:
            raise FieldError(f"{self._at(name)}: expected one of {', '.join(known)}, found {_short(value)}")
        return value

    def done(self) -> None:
        """Refuses fields that nobody knows: a reader that ignores one may compute something else than was meant."""
        if self._left:
            raise FieldError(f"{self.place}: unknown field {_short(sorted(self._left)[0])}")

    def _at(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def _list(self, name: str, count: int) -> list[Any]:
        items = self.take(name)
        if not isinstance(items, list) or len(items) != count:
            raise FieldError(f"{self._at(name)}: expected a list of {count}, found {_short(items)}")
        return items

    @staticmethod
    def _integer(place: str, value: Any, least: int, most: int) -> int:
        if type(value) is not int or not least <= value <= most:
            raise FieldError(f"{place}: expected a whole number of {least} to {most}, found {_short(value)}")
        return value


def _writable(value: Any) -> bool:
    """Whether it is text that can be written out: JSON may hold halves of characters, which no encoding knows."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
