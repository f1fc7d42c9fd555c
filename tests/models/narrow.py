"""Named networks with fewer channels, for tests of what surrounds them."""

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import pytest

from xnorlit import models
from xnorlit.models import Design, Network, alexnet, cnv, design, quicknet, reactnet, resnet, vgg

TABLES = alexnet, cnv


def narrow(monkeypatch: pytest.MonkeyPatch, by: int = 8) -> None:
    """Give every named network fewer channels, except resnet20, which has few.

    The names, layers, operations and image sizes stay; `tests/models` holds each at its own width.

    Args:
        monkeypatch: Restores the widths.
        by: Divides the number of channels of each layer.
    """
    before = models.networks()
    for module in (*TABLES, quicknet):
        for name, value in [*vars(module).items()]:
            if isinstance(value, Network | Design):
                monkeypatch.setattr(module, name, _narrowed(value, by))
    for module, name in ((resnet, "STAGES_18"), (reactnet, "WIDTHS"), (vgg, "WIDTHS")):
        monkeypatch.setattr(module, name, _divided(getattr(module, name), by))
    monkeypatch.setattr(design, "_outputs", lru_cache(design._outputs.__wrapped__))  # the shapes of a design
    assert models.networks().keys() == before.keys()


def _narrowed(network: Any, by: int) -> Any:
    if isinstance(network, Design):
        widths = _divided(network.compose.keywords["widths"], by)
        return replace(network, compose=partial(network.compose, widths=widths))
    blocks = [replace(block, outputs=block.outputs and block.outputs // by) for block in network.blocks]
    coupled = network.coupled and _narrowed(network.coupled, by)
    return replace(network, blocks=tuple(blocks), coupled=coupled)


def _divided(widths: Any, by: int) -> Any:
    """Widths, or pairs of a width and a flag."""
    return tuple((each[0] // by, *each[1:]) if isinstance(each, tuple) else each // by for each in widths)
