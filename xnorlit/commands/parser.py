"""Reading and writing of values by the parser of `fit`: numbers in unions, YAML, and class paths."""

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
    """A parser that reads `1` as a whole number if the type allows one, whatever was imported before.

    For `limit_val_batches`, 1 means one batch and 1.0 means all of them. jsonargparse tries the members of a union in
    order. `typing` caches unions, so Lightning's `Optional[Union[int, float]]` may turn out to be another module's
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
    """Parse the YAML of a file or an option. Duplicate keys are refused, and moved class paths replaced."""
    value = _load_yaml(text)
    if isinstance(value, dict | list):
        load_yaml(text)
    return with_current_paths(value, warn=True)


def by_defining_module(value: Any) -> Any:
    """Replace each class path by the one in the defining module, which runs have always recorded.

    The parser would write the shortest import path, that of the public module.
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
