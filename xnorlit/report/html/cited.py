"""Values that know their place in the page's record, so that each printed number can name it."""

from collections.abc import Callable, Iterator
from html import escape
from typing import Any

from markupsafe import Markup

from xnorlit.report.html.wording import machine


class Cited:
    """A value of a JSON record and its JSON pointer; its attributes and items are cited as well.

    Args:
        value: A mapping, a list, a number, text or None.
        pointer: Its JSON pointer (RFC 6901) in the record, empty for the record itself.
    """

    def __init__(self, value: Any, pointer: str = "") -> None:
        self.value = value
        self.pointer = pointer

    def __getattr__(self, name: str) -> "Cited":
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: Any) -> "Cited":
        key = key.value if isinstance(key, Cited) else key
        step = str(key).replace("~", "~0").replace("/", "~1")
        return Cited(self.value[key], f"{self.pointer}/{step}")

    def __iter__(self) -> Iterator[Any]:
        """The cited items of a list, or the keys of a mapping."""
        if isinstance(self.value, dict):
            return iter(self.value)
        return (self[index] for index in range(len(self.value)))

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, Cited) else other)

    def __hash__(self) -> int:
        return hash(self.pointer)

    def __str__(self) -> str:
        return str(self.value)

    def __html__(self) -> str:
        return escape(str(self.value))


def printed(text: Callable[[Any], str]) -> Callable[[Cited], Markup]:
    """A template filter that prints a cited value as `<data value=... data-at=POINTER>text</data>`; None as a dash.

    Args:
        text: Formats the value for people.
    """

    def show(cited: Cited, *options: Any) -> Markup:
        if cited.value is None:
            return Markup('<span class="none">–</span>')
        return Markup('<data value="{}" data-at="{}">{}</data>').format(
            machine(cited.value), cited.pointer, text(cited.value, *options)
        )

    return show
