"""Read a page back: its numbers with their places, its tables, its pictures."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

UNREAD = {"data", "code", "pre", "svg", "script", "style"}


@dataclass
class Page(HTMLParser):
    """The content of a page, collected while it is parsed."""

    numbers: list[tuple[str, str, str]] = field(default_factory=list)
    """(place in the record, machine-readable value, printed text) of each `data` element."""
    before: list[str] = field(default_factory=list)
    """The text that goes before each of them, up to a tag."""
    elements: list[tuple[str, dict[str, str | None], int]] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    """Text with digits in the body that cites no place, outside of code and pictures."""
    pictures: list[str] = field(default_factory=list)
    """Each SVG, as it stands in the page."""
    record: dict = field(default_factory=dict)
    unclosed: list[str] = field(default_factory=list)

    @staticmethod
    def of(html: str) -> "Page":
        page = Page()
        HTMLParser.__init__(page)
        page.feed(html)
        page.pictures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
        return page

    def __post_init__(self):
        self._open: list[tuple[str, dict]] = []
        self._text = ""
        self._last = ""

    def handle_starttag(self, tag, attributes):
        if tag == "data":
            self.before.append(self._last)
        self.elements.append((tag, dict(attributes), len(self._open)))
        if tag not in ("meta", "link", "br", "img", "input", "wbr"):
            self._open.append((tag, dict(attributes)))
            self._text = ""

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), len(self._open)))

    def handle_data(self, data):
        self._text += data
        inside = [tag for tag, _ in self._open]
        if data.strip():
            self._last = data
        if "body" in inside and not UNREAD & set(inside) and any(char.isdigit() for char in data):
            self.stray.append(" ".join(data.split()))

    def handle_endtag(self, tag):
        opened, attributes = self._open.pop()
        if opened != tag:
            self.unclosed.append(f"{opened} closed by {tag}")
        if tag == "data":
            self.numbers.append((attributes["data-at"], attributes["value"], self._text))
        if attributes.get("id") == "record":
            self.record = json.loads(self._text)
