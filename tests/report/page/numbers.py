"""Reading a page back: its numbers with their places, its tables, its pictures."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Page(HTMLParser):
    """What a page holds, gathered while it is parsed."""

    numbers: list[tuple[str, str, str]] = field(default_factory=list)
    """(place in the record, machine-readable value, printed text) of each `data` element."""
    bare: list[str] = field(default_factory=list)
    """Text of table cells with digits that no `data` or `code` element holds."""
    elements: list[tuple[str, dict[str, str | None], int]] = field(default_factory=list)
    record: dict = field(default_factory=dict)
    unclosed: list[str] = field(default_factory=list)

    @staticmethod
    def of(html: str) -> "Page":
        page = Page()
        HTMLParser.__init__(page)
        page.feed(html)
        return page

    def __post_init__(self):
        self._open: list[tuple[str, dict]] = []
        self._text = ""

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), len(self._open)))
        if tag not in ("meta", "link", "br", "img", "input", "wbr"):
            self._open.append((tag, dict(attributes)))
            self._text = ""

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), len(self._open)))

    def handle_data(self, data):
        self._text += data
        inside = [tag for tag, _ in self._open]
        if "td" in inside and not {"data", "code"} & set(inside) and any(char.isdigit() for char in data):
            self.bare.append(data.strip())

    def handle_endtag(self, tag):
        opened, attributes = self._open.pop()
        if opened != tag:
            self.unclosed.append(f"{opened} closed by {tag}")
        if tag == "data":
            self.numbers.append((attributes["data-at"], attributes["value"], self._text))
        if attributes.get("id") == "record":
            self.record = json.loads(self._text)
