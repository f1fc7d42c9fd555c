"""The summary of a network as a table of text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xnorlit.models.weighed import LayerSummary, Summary

COUNTS, SIZES = ("parameters", "few-bit MACs", "float MACs"), ("codes", "as fp32", "packed")
HEADER = ("layer", "weights", "output", "W / A", *COUNTS, *SIZES)
LEFT = 4  # columns that begin at their left edge
NOTE = """bits of W(eights) and A(ctivations, the layer's inputs), 32 for real ones; MACs for one image
parameters: trained numbers of the layer and of what follows it up to the next one; KiB = 1,024 bytes
BOPs: multiply-adds of signs with signs; ACE: all multiply-adds, each times the bits of W and of A
codes: the weights in their bits; packed: with """
FOLDED = """what the packed file holds besides, alpha, bias and norms folded into
thresholds where codes follow, into scale and shift where real numbers do"""
UNFOLDED = "all other trained numbers in fp32"


def table(summary: "Summary") -> str:
    """The table, a line per layer and one of totals, then what its columns mean.

    Args:
        summary: The network's.
    """
    rows = [HEADER, *map(_row, summary.layers), ("total", "", "", "", *_cells(summary.total))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(_padded(row, widths)).rstrip() for row in rows]
    rule = "-" * len(lines[0])
    ratio = summary.float_bits / summary.packed_bits
    before, after = _mebibytes(summary.float_bits), _mebibytes(summary.packed_bits)
    size = f"{before} as trained in fp32, {after} packed: {ratio:.1f} x smaller"
    widest = summary.largest_activation
    cost = (
        f"{summary.bops:,} BOPs, {summary.ace:,} ACE; {summary.weight_bits:,} bits of weights; "
        f"the largest activation has {widest.activation_bits:,} bits ({widest.name} reads it)"
    )
    note = NOTE + (FOLDED if summary.folded else UNFOLDED)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", size, cost, "", note])


def _row(layer: "LayerSummary") -> tuple[str, ...]:
    shapes = ("x".join(map(str, shape)) for shape in (layer.weight, layer.output))
    return layer.name, *shapes, f"{layer.weight_bits} / {layer.input_bits}", *_cells(layer.figures)


def _cells(figures: dict[str, int]) -> Sequence[str]:
    counts = (f"{figures[key]:,}" for key in ("parameters", "few_bit_macs", "float_macs"))
    sizes = (f"{figures[key] / 8192:,.1f} KiB" for key in ("code_bits", "fp32_bits", "packed_bits"))
    return *counts, *sizes


def _padded(row: Sequence[str], widths: Sequence[int]) -> Sequence[str]:
    return [
        cell.ljust(width) if column < LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _mebibytes(bits: int) -> str:
    return f"{bits / 2**23:.3g} MiB"
