"""What the dashboard shows: experiments/dashboard.yaml as typed settings."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from xnorlit.errors import UserError, did_you_mean
from xnorlit.runs.settings import read_config

TEXTS = ("verdict", "comparison", "differences", "paper", "notes")
BARS = ("packed", "trained", "step", "training", "image")
GAPS = ("val/top1",)

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_WHOSE = {"entity", "team", "user", "key", "api_key", "host", "base_url"}
_NOT_HERE = " Who is logged in decides that: wandb login, and WANDB_ENTITY for a team."


@dataclass(frozen=True)
class Panel:
    """One of three: `curve`, a metric that training logs; `gap`, one of GAPS; `bars`, one of BARS."""

    curve: str = ""
    gap: str = ""
    bars: str = ""
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, the blocks of text below it (of TEXTS), and then the panels."""

    title: str
    text: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()


@dataclass(frozen=True)
class Settings:
    """The whole file; `title` has `{pair}` where EXPERIMENT/PAIR is to stand, and colours are `#rrggbb`."""

    project: str
    title: str
    colours: Mapping[str, str]
    other_colours: tuple[str, ...]
    sections: tuple[Section, ...]

    def colours_of(self, arms: Sequence[str]) -> dict[str, str]:
        """A colour for each arm: its own, or the next of the others that no arm has."""
        taken = {self.colours[arm] for arm in arms if arm in self.colours}
        free = [colour for colour in self.other_colours if colour not in taken]
        named = [arm for arm in arms if arm not in self.colours]
        return {arm: self.colours.get(arm) or free[named.index(arm) % len(free)] for arm in arms}

    @staticmethod
    def load(file: Path) -> "Settings":
        """The settings in a YAML file.

        Raises:
            UserError: The file is missing or no YAML, a key is unknown or missing, or a value is not what is expected.
        """
        whole = _mapping(read_config(file), _names(Settings), str(file))
        colours = _mapping(whole["colours"], None, f"{file}, colours")
        others = _list(whole["other_colours"], f"{file}, other_colours")
        settings = Settings(
            project=_text(whole["project"], f"{file}, project"),
            title=_text(whole["title"], f"{file}, title"),
            colours={arm: _colour(value, f"{file}, colours.{arm}") for arm, value in colours.items()},
            other_colours=tuple(_colour(value, f"{file}, other_colours") for value in others),
            sections=tuple(
                _section(value, f"{file}, section {number}")
                for number, value in enumerate(_list(whole["sections"], f"{file}, sections"), start=1)
            ),
        )
        if not settings.sections or not set(settings.other_colours) - set(settings.colours.values()):
            raise UserError(f"{file} needs one section at least, and one of other_colours that no arm has.")
        return settings


def _section(value: object, where: str) -> Section:
    found = _mapping(value, _names(Section), where, needed=("title",))
    texts = _list(found.get("text", []), f"{where}, text")
    panels = _list(found.get("panels", []), f"{where}, panels")
    return Section(
        title=_text(found["title"], f"{where}, title"),
        text=tuple(_one_of(text, TEXTS, f"{where}, text") for text in texts),
        panels=tuple(_panel(panel, f"{where}, panel {number}") for number, panel in enumerate(panels, start=1)),
    )


def _panel(value: object, where: str) -> Panel:
    found = _mapping(value, _names(Panel), where, needed=())
    kinds = [kind for kind in ("curve", "gap", "bars") if kind in found]
    if len(kinds) != 1:
        given = " and ".join(kinds) or "none of them"
        raise UserError(f"{where} is to have one of curve, gap and bars, and has {given}.")
    words = {key: _text(text, f"{where}, {key}") for key, text in found.items()}
    for kind, known in (("gap", GAPS), ("bars", BARS)):
        if kind in words:
            _one_of(words[kind], known, f"{where}, {kind}")
    return Panel(**words)


def _names(kind: type) -> list[str]:
    return list(kind.__dataclass_fields__)  # type: ignore[attr-defined]


def _mapping(
    value: object, known: Collection[str] | None, where: str, needed: Collection[str] | None = None
) -> dict[str, Any]:
    """A mapping whose keys are all known, with none of the needed missing: all of the known, unless given."""
    if not isinstance(value, dict):
        _wrong(value, "`key: value` lines", where)
    if known is not None:
        for key in value:
            if key not in known:
                near = _NOT_HERE if key in _WHOSE else did_you_mean(str(key), known)
                raise UserError(f"{where} has a key {key} that means nothing.{near} Known: {', '.join(known)}.")
        missing = [key for key in (known if needed is None else needed) if key not in value]
        if missing:
            raise UserError(f"{where} lacks {', '.join(missing)}. See experiments/dashboard.yaml and docs/wandb.md.")
    return {str(key): each for key, each in value.items()}


def _list(value: object, where: str) -> list[Any]:
    return value if isinstance(value, list) else _wrong(value, "a list", where)


def _text(value: object, where: str) -> str:
    return value if isinstance(value, str) and value.strip() else _wrong(value, "text", where)


def _colour(value: object, where: str) -> str:
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        _wrong(value, 'a colour such as "#0969da", in quotes', where)
    return value


def _one_of(value: object, known: Sequence[str], where: str) -> str:
    if value not in known:
        near = did_you_mean(str(value), known)
        raise UserError(f"{where} is {value!r}.{near} Expected one of {', '.join(known)}.")
    return str(value)


def _wrong(value: object, expected: str, where: str) -> NoReturn:
    raise UserError(f"{where} is {value!r}; {expected} was expected.")
