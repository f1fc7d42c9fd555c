"""`--no-code`: configurations may name only classes of xnorlit, torch and Lightning; see SECURITY.md."""

import importlib
import os
import re
from collections.abc import Sequence
from typing import Any

import yaml

from xnorlit.errors import UserError

NO_CODE = "XNORLIT_NO_CODE"
"""Environment variable that carries the option to the processes of a command."""

# All of them are installed with this package: a file of such a name in the current folder is not what is imported.
_TRUSTED = ("xnorlit", "torch", "pytorch_lightning", "lightning_fabric")
# Settings that take any text and name no class; whatever else looks like a class path is taken for one.
_TEXT = re.compile(
    r"(data\.)?(source|root)|run(\..*)?|ckpt_path|model\.init_from|model\.decayed_layers|model\.conversion\.skip"
)
# Options whose values may name a class; those of other commands name files.
_OPTION = re.compile(r"(model|trainer|data|optimizer|lr_scheduler)\..*|model|trainer|network|binarizer")


def refuse_code(value: Any, key: str = "") -> None:
    """Refuses all class paths but classes of xnorlit, torch and Lightning if `--no-code` was given; else does nothing.

    Args:
        value: What a configuration says, or a part of it.
        key: Its dotted key.

    Raises:
        UserError: There is such a class path.
    """
    if not os.environ.get(NO_CODE):
        return
    if isinstance(value, dict):
        for name, part in value.items():
            refuse_code(part, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for part in value:
            refuse_code(part, key)
    elif isinstance(value, str) and _is_foreign(value) and not _TEXT.fullmatch(key):
        raise UserError(
            f"{key or 'an option'} is {value}, which is no class of xnorlit, torch or Lightning, and --no-code refuses "
            "all others: to import a module is to run it. Read that module first, then leave --no-code out."
        )


def _is_foreign(value: str) -> bool:
    """Whether a text is an import path of anything but a class that one of the trusted packages defines.

    They hold other things, too: functions that run a file (torch.hub.load), and other modules (xnorlit.runs.trust.os).
    """
    parts = value.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return False
    if parts[0] not in _TRUSTED:
        return True
    found = _named(parts)
    return found is not None and not (isinstance(found, type) and found.__module__.partition(".")[0] in _TRUSTED)


def _named(parts: Sequence[str]) -> Any:
    """What an import path names; None if there is nothing, as in a path of an earlier version."""
    found = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(parts[:number]))
            except ImportError:
                return None
        found = getattr(found, part, None)
    return found


def refuse_code_in_argv(argv: Sequence[str]) -> None:
    """The same for the options of a command line.

    Args:
        argv: What follows the command.

    Raises:
        UserError: An option's value is or holds such a class path.
    """
    key = ""
    for argument in argv:
        if argument.startswith("--"):
            option, sign, value = argument[2:].partition("=")
            key = option.rstrip("+").replace("-", "_")
            if not sign:
                continue
        else:
            value = argument
        if _OPTION.fullmatch(key):
            try:
                refuse_code(yaml.safe_load(value), key)
            except yaml.YAMLError:
                refuse_code(value, key)
