"""AlexNets: each a table of blocks in a file of its own, one builder, and what they weigh.

Every `Network` at the top of a module of this package is known to `--model.network` by its name.
"""

import importlib
import pkgutil

from xnorlit.errors import UserError, did_you_mean
from xnorlit.models.builder import AlexNet, NetworkSpec, build
from xnorlit.models.choice import choose, matching
from xnorlit.models.network import Block, Network
from xnorlit.models.recalibration import recalibrate
from xnorlit.models.summary import LayerSummary, Summary, summarize


def networks() -> dict[str, Network]:
    """Every network by name, sorted."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Network)]
    return {network.name: network for network in sorted(found, key=lambda network: network.name)}


def network_named(name: str) -> Network:
    """The network of that name.

    Raises:
        UserError: There is none; the message suggests the nearest.
    """
    known = networks()
    if name not in known:
        raise UserError(f"no network named {name}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    return known[name]


__all__ = [
    "AlexNet",
    "Block",
    "LayerSummary",
    "Network",
    "NetworkSpec",
    "Summary",
    "build",
    "choose",
    "matching",
    "network_named",
    "networks",
    "recalibrate",
    "summarize",
]
