"""Networks, one file per family: tables of blocks with their builder, designs written as modules, and summaries.

`--model.network` finds every `Network` and every `Design` at the top level of a module of this package by its name.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence

from xnorlit.binarize import Binarizer, binarizer_of
from xnorlit.errors import UserError, did_you_mean
from xnorlit.layers.layer import whole
from xnorlit.models.builder import AlexNet, NetworkSpec, build
from xnorlit.models.built import BuiltNetwork, Normalize
from xnorlit.models.choice import choose, matching
from xnorlit.models.design import Design, DesignedNetwork
from xnorlit.models.network import SMALL_IMAGE, Block, Network
from xnorlit.models.recalibration import recalibrate
from xnorlit.models.summary import summary as summarize
from xnorlit.models.weighed import LayerSummary, Summary


def networks() -> dict[str, Network | Design]:
    """Every network by name, sorted."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Network | Design)]
    return {network.name: network for network in sorted(found, key=lambda network: network.name)}


def network_named(name: str) -> Network | Design:
    """The network of a given name.

    Raises:
        UserError: No network has that name; the message suggests the nearest one.
    """
    known = networks()
    if name not in known:
        raise UserError(f"no network named {name}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    return known[name]


def list_networks() -> list[str]:
    """Names of all networks, sorted.

    Examples:
        >>> import xnorlit as xl
        >>> "alexnet-xnor" in xl.list_networks()
        True
    """
    return list(networks())


def create(
    name: str,
    *,
    binarizer: Binarizer | type[Binarizer] | str,
    classes: int | None = None,
    image_size: int | None = None,
    mean: Sequence[float] = (127.5, 127.5, 127.5),
    std: Sequence[float] = (127.5, 127.5, 127.5),
    layers: Mapping[str, Binarizer | type[Binarizer] | str] | None = None,
) -> BuiltNetwork:
    """Create a network by name, with fresh weights: uint8 pixels `(N, 3, S, S)` to logits `(N, classes)`.

    The weights do not depend on the binarizer, so two networks of the same seed start from the same latent weights.

    Args:
        name: See `list_networks`.
        binarizer: An instance, a class or a name such as `"XNOR"`; for every layer that is not kept real.
        classes: Number of classes; default: 1,000, or 10 for images of at most 64 pixels.
        image_size: Side of the square images, pixels; default: the network's own.
        mean: Mean of each channel, 0 to 255, subtracted from the pixels.
        std: Standard deviation of each channel, 0 to 255.
        layers: Binarizers for individual layers, by name or pattern (`conv*`); the last match wins.

    Raises:
        UserError: There is no such network, binarizer or layer, or the images are too small.

    Examples:
        >>> import torch
        >>> import xnorlit as xl
        >>> net = xl.create("alexnet-small", binarizer="XNOR", classes=10)
        >>> net(torch.zeros(4, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([4, 10])
    """
    for what, size in (("classes", classes), ("image_size", image_size)):
        if size is not None:
            whole("create", what, size)
    overrides = {pattern: binarizer_of(given) for pattern, given in (layers or {}).items()}
    spec = NetworkSpec(network_named(name), binarizer_of(binarizer), overrides)
    classes = classes if classes is not None else (10 if (image_size or spec.image_size) <= SMALL_IMAGE else 1000)
    return spec.build(classes=classes, image_size=image_size, mean=mean, std=std)


__all__ = [
    "SMALL_IMAGE",
    "AlexNet",
    "Block",
    "BuiltNetwork",
    "Design",
    "DesignedNetwork",
    "LayerSummary",
    "Network",
    "NetworkSpec",
    "Normalize",
    "Summary",
    "build",
    "choose",
    "create",
    "list_networks",
    "matching",
    "network_named",
    "networks",
    "recalibrate",
    "summarize",
]
