"""The dashboard's settings, experiments/dashboard.yaml, as typed records."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as fields_of
from pathlib import Path

from xnorlit.edge.fields import FieldError, Fields, refused
from xnorlit.runs.login import project
from xnorlit.runs.settings import read_config

TEXTS = ("verdict", "comparison", "differences", "paper", "notes")
BARS = ("packed", "trained", "step", "training", "image")
GAPS = ("val/top1",)

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_WHOSE = {"entity", "team", "user", "key", "api_key", "host", "base_url"}


@dataclass(frozen=True)
class Panel:
    """A panel of one kind: `curve`, a metric that training logs; `gap`, one of GAPS; or `bars`, one of BARS."""

    curve: str = ""
    gap: str = ""
    bars: str = ""
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, its blocks of text (each one of TEXTS), and its panels."""

    title: str
    text: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()


@dataclass(frozen=True)
class Settings:
    """The whole file. `{pair}` in `title` stands for EXPERIMENT/PAIR; colours are `#rrggbb`."""

    project: str
    title: str
    colours: Mapping[str, str]
    other_colours: tuple[str, ...]
    sections: tuple[Section, ...]

    def colours_of(self, arms: Sequence[str]) -> dict[str, str]:
        """A colour for each arm: its own, or the next unused one of `other_colours`."""
        taken = {self.colours[arm] for arm in arms if arm in self.colours}
        free = [colour for colour in self.other_colours if colour not in taken]
        named = [arm for arm in arms if arm not in self.colours]
        return {arm: self.colours.get(arm) or free[named.index(arm) % len(free)] for arm in arms}

    @staticmethod
    def load(file: Path) -> "Settings":
        """The settings in a YAML file.

        Raises:
            UserError: The file is missing or is not YAML, a key is unknown or missing, or a value is not as expected.
        """
        try:
            return _settings(Fields(read_config(file)))
        except FieldError as error:
            raise refused(file, error, "See experiments/dashboard.yaml and docs/wandb.md.") from error


def _settings(fields: Fields) -> Settings:
    for key in _WHOSE & set(fields.names()):
        raise FieldError(f"{key}: unknown key; the login determines it (wandb login, WANDB_ENTITY for a team)")
    fields.only(_names(Settings))
    colours = fields.object("colours")
    settings = Settings(
        project=project(fields.text("project", blank=False)),
        title=fields.text("title", blank=False),
        colours={arm: _colour(colours.at(arm), colours.take(arm)) for arm in colours.names()},
        other_colours=tuple(_colour(fields.at("other_colours"), colour) for colour in fields.values("other_colours")),
        sections=tuple(map(_section, fields.objects("sections"))),
    )
    if not settings.sections:
        raise FieldError("sections: expected at least one, found none")
    if not set(settings.other_colours) - set(settings.colours.values()):
        raise FieldError("other_colours: expected at least one colour that no arm has, found none")
    return settings


def _section(fields: Fields) -> Section:
    fields.only(_names(Section))
    return Section(
        title=fields.text("title", blank=False),
        text=fields.choices("text", TEXTS) if fields.has("text") else (),
        panels=tuple(map(_panel, fields.objects("panels"))) if fields.has("panels") else (),
    )


def _panel(fields: Fields) -> Panel:
    fields.only(_names(Panel))
    kinds = [kind for kind in ("curve", "gap", "bars") if fields.has(kind)]
    if len(kinds) != 1:
        raise FieldError(f"{fields.place}: expected one of curve, gap and bars, found {' and '.join(kinds) or 'none'}")
    return Panel(
        curve=fields.optional_text("curve") or "",
        gap=fields.choice("gap", GAPS) if fields.has("gap") else "",
        bars=fields.choice("bars", BARS) if fields.has("bars") else "",
        title=fields.optional_text("title") or "",
    )


def _names(kind: type) -> list[str]:
    return [field.name for field in fields_of(kind)]


def _colour(place: str, value: object) -> str:
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        raise FieldError(f'{place}: expected a colour such as "#0969da", in quotes, found {value!r}')
    return value
