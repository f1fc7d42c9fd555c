"""`--no-code`: configurations may name only classes of xnorlit, torch and Lightning; see SECURITY.md."""

import os
import re
from collections.abc import Sequence
from typing import Any

import yaml

from xnorlit.errors import UserError

NO_CODE = "XNORLIT_NO_CODE"
"""Environment variable that carries the option to the processes of a command."""

_TRUSTED = ("xnorlit", "torch", "pytorch_lightning", "lightning", "lightning_fabric")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# Settings that take any text and name no class; whatever else looks like a class path is taken for one.
_TEXT = re.compile(r"(data\.)?(source|root)|run(\..*)?|ckpt_path|model\.init_from")
# Options whose values may name a class; those of other commands name files.
_OPTION = re.compile(r"(model|trainer|data|optimizer|lr_scheduler)\..*|model|trainer|network|binarizer")


def refuse_code(value: Any, key: str = "") -> None:
    """Refuses class paths outside xnorlit, torch and Lightning where `--no-code` was given; does nothing elsewhere.

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
            f"{key or 'an option'} is {value}, a class path outside of xnorlit, torch and Lightning, which --no-code "
            "refuses: to import it is to run it. Read that module first, then leave --no-code out."
        )


def _is_foreign(value: str) -> bool:
    return bool(_DOTTED.fullmatch(value)) and value.partition(".")[0] not in _TRUSTED


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
