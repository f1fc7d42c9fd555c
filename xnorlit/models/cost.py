"""Cycles of a network on an FPGA with separate hardware for every layer, by the model of a published design."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from xnorlit.models.weighed import LayerSummary, Summary

SOURCE = "Li et al. 2017, arXiv 1702.06392: a fully mapped, deeply pipelined design"
FORMULAE = (
    "cycles of a layer = W H D_out FW FH D_in / (unfolding copies): output W x H x D_out, filters FW x FH x D_in",
    "images per second = clock / the most cycles of a layer",
)


@dataclass(frozen=True)
class LayerCycles:
    """One layer on its own hardware.

    Attributes:
        name: Name of the layer.
        macs: `W H D_out FW FH D_in`, the number of products for one image.
        unfolding: Products of one output computed at once; at most the products of an output.
        copies: Outputs computed at once; at most the number of outputs.
    """

    name: str
    macs: int
    unfolding: int
    copies: int

    @property
    def cycles(self) -> int:
        """Cycles for one image, rounded up."""
        return math.ceil(self.macs / (self.unfolding * self.copies))


@dataclass(frozen=True)
class Cycles:
    """The cycles of a network; it prints as a table with the formulae and their source.

    Attributes:
        layers: Layers in the order of the network.
        clock: Clock in MHz, if known.
    """

    layers: tuple[LayerCycles, ...]
    clock: float | None = None

    @property
    def most(self) -> int:
        """Cycles from one image to the next, which are those of the slowest layer."""
        return max(layer.cycles for layer in self.layers)

    @property
    def throughput(self) -> float | None:
        """Images per second; `None` without a clock."""
        return None if self.clock is None else 1e6 * self.clock / self.most

    @override
    def __str__(self) -> str:
        rows = [("layer", "products", "unfolding", "copies", "cycles")]
        rows += [
            (layer.name, f"{layer.macs:,}", f"{layer.unfolding:,}", f"{layer.copies:,}", f"{layer.cycles:,}")
            for layer in self.layers
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [_aligned(row, widths) for row in rows]
        speed = f", {self.throughput:,.0f} images per second at {self.clock:g} MHz" if self.clock else ""
        return "\n".join([*lines, "", f"from one image to the next: {self.most:,} cycles{speed}", *FORMULAE, SOURCE])


def cycles(summary: Summary, *, unfolding: int = 1, copies: int = 1, clock: float | None = None) -> Cycles:
    """The cycle model of a network on an FPGA.

    Args:
        summary: Summary of the network.
        unfolding: Products of one output that each layer computes at once, if it has that many.
        copies: Outputs that each layer computes at once, likewise.
        clock: Clock in MHz.

    Examples:
        >>> import xnorlit as xl
        >>> xl.summary(xl.create("cnv", binarizer="BNN")).cycles(unfolding=576, copies=4).most
        14400
    """
    return Cycles(tuple(_layer(layer, unfolding, copies) for layer in summary.layers), clock)


def _layer(layer: LayerSummary, unfolding: int, copies: int) -> LayerCycles:
    outputs = math.prod(layer.output)
    return LayerCycles(layer.name, layer.macs, min(unfolding, layer.macs // outputs), min(copies, outputs))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([row[0].ljust(len(first)), *others])
