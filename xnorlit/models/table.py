"""A summary as a table of plain text and as JSON."""

from collections.abc import Sequence
from typing import Any

from xnorlit.models import LayerSummary, Summary

COUNTS, SIZES = ("parameters", "few-bit MACs", "float MACs"), ("codes", "as fp32", "packed")
HEADER = ("layer", "weights", "output", "W / A", *COUNTS, *SIZES)
LEFT = 4  # columns that begin at their left edge
NOTE = """bits of W(eights) and A(ctivations, the layer's inputs), 32 for real ones; MACs for one image
parameters: trained numbers of the layer and of what follows it up to the next one
codes: the weights in their bits; packed: with what the packed file holds besides, alpha, bias and norms folded into
thresholds where codes follow, into scale and shift where real numbers do; KiB = 1,024 bytes"""


def table(summary: Summary) -> str:
    """The table, a line per layer and one of totals, then what its columns mean.

    Args:
        summary: The network's.
    """
    rows = [HEADER, *map(_row, summary.layers), ("total", "", "", "", *_cells(_totals(summary)))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(_padded(row, widths)).rstrip() for row in rows]
    rule = "-" * len(lines[0])
    ratio = summary.float_bits / summary.packed_bits
    before, after = _mebibytes(summary.float_bits), _mebibytes(summary.packed_bits)
    size = f"{before} as trained in fp32, {after} packed: {ratio:.1f} x smaller"
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", size, "", NOTE])


def as_json(summary: Summary, network: str, image_size: int, classes: int) -> dict[str, Any]:
    """The same figures: sizes in bits.

    Args:
        summary: The network's.
        network: Its name.
        image_size: Side of the image, pixels.
        classes: Number of classes.
    """
    return {
        "network": network,
        "image_size": image_size,
        "classes": classes,
        "layers": [
            {
                "name": layer.name,
                "weight_shape": layer.weight,
                "output_shape": layer.output,
                "weight_bits": layer.weight_bits,
                "input_bits": layer.input_bits,
                **_figures(layer),
            }
            for layer in summary.layers
        ],
        "total": _totals(summary),
    }


def _figures(layer: LayerSummary) -> dict[str, int]:
    return {
        "weights": layer.weights,
        "parameters": layer.parameters,
        "few_bit_macs": layer.few_bit_macs,
        "float_macs": layer.macs - layer.few_bit_macs,
        "code_bits": layer.weight_bits * layer.weights,
        "fp32_bits": layer.float_bits,
        "packed_bits": layer.packed_bits,
    }


def _row(layer: LayerSummary) -> tuple[str, ...]:
    shapes = ("x".join(map(str, shape)) for shape in (layer.weight, layer.output))
    return layer.name, *shapes, f"{layer.weight_bits} / {layer.input_bits}", *_cells(_figures(layer))


def _totals(summary: Summary) -> dict[str, int]:
    figures = [_figures(layer) for layer in summary.layers]
    return {key: sum(each[key] for each in figures) for key in figures[0]}


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
