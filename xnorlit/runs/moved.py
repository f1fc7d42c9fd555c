"""Class paths that configurations of earlier versions name, and what they are called today."""

from functools import cache
from typing import Any

from xnorlit.edge.console import say

MOVED: dict[str, str] = {}
"""Former dotted path -> today's, of a class or of a module that held classes which a configuration may name."""


def todays(value: Any, *, tell: bool = False) -> Any:
    """A configuration in which each class path that has moved is replaced by today's.

    Args:
        value: A configuration, or a part of one: mappings, lists and scalars.
        tell: Print a line for each path that has moved, once per process: for what a person wrote, not for the
            recorded configuration of a former run.
    """
    if isinstance(value, dict):
        return {key: todays(part, tell=tell) for key, part in value.items()}
    if isinstance(value, list):
        return [todays(part, tell=tell) for part in value]
    if not isinstance(value, str) or not value.startswith("xnorlit."):
        return value
    for former, now in MOVED.items():
        if value == former or value.startswith(f"{former}."):
            new = now + value.removeprefix(former)
            if tell:
                _tell(value, new)
            return new
    return value


@cache
def _tell(former: str, now: str) -> None:
    say("moved", f"the class path {former} is deprecated; write {now}")
