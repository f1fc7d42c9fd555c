"""Reading a JSON document field by field, so that a damaged file is named with the field that is wrong."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from xnorlit.errors import UserError

_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Document:
    """A JSON object whose fields are read with their types checked.

    Args:
        fields: The object.
        source: What error messages call it: the file, and the field inside of it.
    """

    fields: Mapping[str, Any]
    source: str

    @staticmethod
    def load(file: Path) -> "Document":
        """The object in a JSON file.

        Raises:
            UserError: The file is missing, is not JSON in UTF-8, or holds something other than an object.
        """
        try:
            fields = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error
        except (ValueError, RecursionError) as error:  # broken UTF-8 is a ValueError too
            raise UserError(f"{file} is damaged: JSON was expected ({error}). Train the run again.") from error
        return Document.of(fields, str(file))

    @staticmethod
    def of(fields: object, source: str) -> "Document":
        """`fields` as a document, when it is a JSON object."""
        if not isinstance(fields, dict):
            raise UserError(f"{source} holds {_shown(fields)}, but a JSON object was expected. Train the run again.")
        return Document(fields, source)

    def text(self, key: str) -> str:
        """A string."""
        return self._typed(key, str, "a string")

    def flag(self, key: str) -> bool:
        """True or false."""
        return self._typed(key, bool, "true or false")

    def count(self, key: str) -> int:
        """An integer >= 0."""
        value = self._typed(key, int, "an integer")
        if isinstance(value, bool) or value < 0:
            raise self._wrong(key, "an integer of at least 0")
        return value

    def counts(self, key: str, length: int) -> tuple[int, ...]:
        """A list of so many integers >= 0."""
        value = self._typed(key, list, f"a list of {length} integers")
        if len(value) != length or any(type(item) is not int or item < 0 for item in value):
            raise self._wrong(key, f"a list of {length} integers of at least 0")
        return tuple(value)

    def number(self, key: str) -> float:
        """A number; NaN and infinities too, since a diverged run reports them."""
        value = self._typed(key, (int, float), "a number")
        if isinstance(value, bool):
            raise self._wrong(key, "a number")
        return float(value)

    def fraction(self, key: str) -> float:
        """A number between 0 and 1, or NaN."""
        value = self.number(key)
        if not (math.isnan(value) or 0 <= value <= 1):
            raise self._wrong(key, "a fraction between 0 and 1")
        return value

    def seconds(self, key: str) -> float:
        """A finite number of at least 0."""
        value = self.number(key)
        if not 0 <= value < math.inf:
            raise self._wrong(key, "a number of seconds")
        return value

    def moment(self, key: str) -> datetime:
        """A moment in ISO 8601; one without a time zone is taken as UTC."""
        try:
            moment = datetime.fromisoformat(self.text(key))
        except ValueError:
            raise self._wrong(key, "a moment such as 2026-01-31T12:00:00+00:00") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def inside(self, key: str) -> "Document":
        """An object inside of this one."""
        return Document.of(self._typed(key, object, "an object"), f"{self.source}, field {key!r}")

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self.fields.get(key) is not None

    def _typed(self, key: str, kind: type[_Kind] | tuple[type[_Kind], ...], expected: str) -> _Kind:
        if key not in self.fields:
            raise UserError(f"{self.source} has no field {key!r}, which every run writes. Train the run again.")
        value = self.fields[key]
        if not isinstance(value, kind):
            raise self._wrong(key, expected)
        return value

    def _wrong(self, key: str, expected: str) -> UserError:
        return UserError(
            f"{self.source}: field {key!r} is {_shown(self.fields[key])}, but {expected} was expected. "
            "Train the run again."
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
