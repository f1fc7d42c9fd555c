"""`--no-code`: allow only classes of xnorlit, torch and Lightning in configurations; see SECURITY.md."""

import importlib
import os
import re
from collections.abc import Sequence
from typing import Any

import yaml

from xnorlit.errors import UserError

NO_CODE = "XNORLIT_NO_CODE"
"""Environment variable that passes the option on to the processes of a command."""

# These are all installed with this package, so a file of the same name in the current folder is not imported instead.
_TRUSTED = ("xnorlit", "torch", "pytorch_lightning", "lightning_fabric")
# Settings whose values are free text. Any other value that looks like a class path is treated as one.
_TEXT = re.compile(
    r"(data\.)?(source|root)|run(\..*)?|ckpt_path|model\.init_from|model\.decayed_layers|model\.conversion\.skip"
)
# Options whose values may be class paths. The options of other commands take files.
_OPTION = re.compile(r"(model|trainer|data|optimizer|lr_scheduler)\..*|model|trainer|network|binarizers?")


def refuse_code(value: Any, key: str = "") -> None:
    """Refuse class paths other than classes of xnorlit, torch and Lightning if `--no-code` was given; else do nothing.

    Args:
        value: A configuration, or a part of one.
        key: The dotted key of the value.

    Raises:
        UserError: The value contains such a class path.
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
            f"{key or 'an option'} is {value}, not a class of xnorlit, torch or Lightning. --no-code refuses it: "
            "importing a module runs its code. Read the module first, then omit --no-code."
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
    """Apply `refuse_code` to the options of a command line.

    Args:
        argv: The arguments after the command.

    Raises:
        UserError: The value of an option is or contains such a class path.
    """
    key = ""
    for argument in argv:
        if argument.startswith("--"):
            option, sign, value = argument[2:].partition("=")
            key = option.rstrip("+").replace("-", "_")
            if not sign:
                continue
        elif argument.startswith("-"):  # -c FILE
            key = ""
            continue
        else:
            value = argument
        if _OPTION.fullmatch(key):
            try:
                refuse_code(yaml.safe_load(value), key)
            except yaml.YAMLError:
                refuse_code(value, key)
