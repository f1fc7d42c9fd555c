"""Former class paths, which configurations of earlier versions use, and their current names."""

from functools import cache
from typing import Any

from xnorlit.edge.console import say

MOVED: dict[str, str] = {}
"""`{former path: current path}` of classes that a configuration may name, and of their modules."""


def with_current_paths(value: Any, *, warn: bool = False) -> Any:
    """Replace each moved class path in a configuration by the current one.

    Args:
        value: A configuration, or a part of one: mappings, lists and scalars.
        warn: Whether to print a deprecation line for each moved path, once per process. Use it for a configuration that
            a person wrote, not for the recorded one of an earlier run.
    """
    if isinstance(value, dict):
        return {key: with_current_paths(part, warn=warn) for key, part in value.items()}
    if isinstance(value, list):
        return [with_current_paths(part, warn=warn) for part in value]
    if not isinstance(value, str) or not value.startswith("xnorlit."):
        return value
    for former, now in MOVED.items():
        if value == former or value.startswith(f"{former}."):
            new = now + value.removeprefix(former)
            if warn:
                _warn(value, new)
            return new
    return value


@cache
def _warn(former: str, now: str) -> None:
    say("moved", f"the class path {former} is deprecated; write {now}")
