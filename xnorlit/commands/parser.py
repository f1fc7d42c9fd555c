"""How the parser of `fit` reads and writes values: numbers of unions, YAML, and class paths."""

import importlib
from types import UnionType
from typing import Any, Union, get_args, get_origin

import torch
import yaml
from jsonargparse import get_loader, set_loader
from jsonargparse.typing import register_type
from pytorch_lightning.cli import LightningArgumentParser
from typing_extensions import override

from xnorlit.commands.help import Formatter, beginning
from xnorlit.runs.config import load_yaml
from xnorlit.runs.moved import with_current_paths


class WholeFirst(LightningArgumentParser):
    """Reads `1` as a whole number wherever one is meant, whatever was imported before.

    One batch and a share of 1.0 are two settings of `limit_val_batches`. A union's members are tried in order, and
    `typing` keeps the unions that it made: `Optional[Union[int, float]]` of Lightning may be another module's
    `Optional[Union[float, int]]`. jsonargparse copies this method into its groups of arguments.
    """

    @override
    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        action = super().add_argument(*args, **kwargs)
        if hasattr(action, "_typehint"):
            action._typehint = whole_first(action._typehint)
        return action


def whole_first(hint: Any) -> Any:
    """A type in which no union has `float` before `int`."""
    members = get_args(hint)
    if get_origin(hint) not in (Union, UnionType) or not {int, float} <= {*members}:
        return hint
    return Union[tuple(sorted(members, key=lambda member: member is float))]  # noqa: UP007 - of a tuple


_load_yaml = get_loader("yaml")
# Some callbacks, such as StochasticWeightAveraging, have a device as a default.
register_type(torch.device, str, torch.device, (ValueError, TypeError, RuntimeError))


def _load(text: str) -> Any:
    """Parse YAML of a file or an option: refuse duplicate keys, and replace moved class paths."""
    value = _load_yaml(text)
    if isinstance(value, dict | list):
        load_yaml(text)
    return with_current_paths(value, warn=True)


def by_defining_module(value: Any) -> Any:
    """Name each class by the module that defines it, as runs have always recorded it.

    The parser would write the shortest import path, which is that of the public face.
    """
    if isinstance(value, dict):
        return {key: by_defining_module(part) for key, part in value.items()}
    if isinstance(value, list):
        return [by_defining_module(part) for part in value]
    package, _, name = value.partition(".") if isinstance(value, str) else ("", "", "")
    found = getattr(importlib.import_module(package), name, None) if package == "xnorlit" else None
    return f"{found.__module__}.{name}" if isinstance(found, type) else value


def with_current_path(argument: str) -> str:
    """A command-line argument; a moved class path in it becomes the current one."""
    option, sign, value = argument.partition("=")
    return f"{option}{sign}{with_current_paths(value, warn=True)}" if sign else with_current_paths(argument, warn=True)


def settings_of(command: str) -> dict[str, Any]:
    """Arguments of LightningCLI for a command."""
    set_loader("yaml", _load, exceptions=(yaml.YAMLError,))
    return {
        "seed_everything_default": 0,
        "auto_configure_optimizers": False,
        "load_from_checkpoint_support": False,
        "save_config_callback": None,
        "parser_class": WholeFirst,
        "trainer_defaults": {"num_sanity_val_steps": 0, "enable_model_summary": False},
        "parser_kwargs": {
            "prog": "xnorlit",
            "exit_on_error": False,
            "formatter_class": Formatter,
            command: beginning(command),
        },
    }
