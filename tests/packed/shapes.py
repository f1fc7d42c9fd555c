"""Names, dtypes and shapes of the tensors of a packed file, as docs/packed-format.md states them."""

import math

from xnorlit.packed.graph import Affine, Shift, Sign, TwoSlope
from xnorlit.packed.layer import Layer


def node_tensors(node, maps):
    """Names, dtypes and shapes of a node's tensors, given the maps it reads."""
    op, channels = node.op, (maps[0].channels,)
    if isinstance(op, Layer):
        return expected_tensors(op, maps[0])
    shapes = {}
    if isinstance(op, Affine):
        shapes = {"scale": ("f4", channels), "shift": ("f4", channels)}
    if isinstance(op, Shift):
        shapes = {"shift": ("f4", channels)}
    if isinstance(op, TwoSlope):
        shapes = {side: ("f4", channels) for side in ("above", "below") if getattr(op, side) is None}
    if isinstance(op, Sign):
        shapes = {"threshold": ("f4", channels), "flip": ("u1", ((maps[0].channels + 7) // 8,))}
    return {f"{node.name}.{name}": shape for name, shape in shapes.items()}


def expected_tensors(layer, at):
    """Names, dtypes and shapes of a layer's tensors, given the map it reads."""
    window, outputs, ending, depth = layer.looks(at), layer.outputs, layer.ending, at.channels // layer.groups
    if layer.weights.form == "planes":
        octets = (depth + 7) // 8
        shapes = {"weight": ("u1", (len(layer.weights.factors), outputs, *window.kernel, octets))}
    else:
        shapes = {"weight": ("f4" if layer.weights.form == "float" else "i1", (outputs, *window.kernel, depth))}
    if layer.operand.form == "pixels" and layer.weights.form == "int8":
        shapes["fill"] = ("u1", (at.channels,))
    features = tuple(layer.output(at)) if ending.per_position else (outputs,)
    if layer.window_sum:
        ways = [max(numbers) + 1 for numbers in layer.overlaps(at)]
        shapes |= dict.fromkeys(("sum_scale", "window_scale"), ("f4", (outputs,)))
        shapes["constant"] = ("f4", (*ways, outputs))
    if ending.form == "reals":
        for i, slope in enumerate(ending.slopes):
            names = (f"scale{i}", f"shift{i}", *([f"slope{i}"] if slope is None else []))
            shapes |= dict.fromkeys(names, ("f4", features))
    else:
        octets = (math.prod(features) + 7) // 8
        shapes["threshold"] = ("i4" if layer.integer else "f4", (ending.levels, *features))
        shapes["flip"] = ("u1", (ending.bits, octets))
        if ending.levels > 1 or ending.bits > 1:
            shapes["change"] = ("u1", (ending.levels, ending.bits, octets))
    return {f"{layer.name}.{name}": shape for name, shape in shapes.items()}
