"""Convert a graph to the JSON of a file and back, checking the type and range of every field."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from xnorlit.edge.fields import FieldError, Fields
from xnorlit.packed.check import LARGEST_SIDE, MOST_CLASSES, MOST_LEVELS, MOST_MAPS, MOST_PLANES, check
from xnorlit.packed.graph import (
    Add,
    Affine,
    AveragePool,
    Clip,
    Concat,
    Flatten,
    GlobalAverage,
    Graph,
    MaxPool,
    Node,
    Operation,
    Shift,
    Sign,
    Subsample,
    TwoSlope,
)
from xnorlit.packed.layer import BORDERS, ENDINGS, OPERANDS, SUMS, WEIGHTS, Ending, Layer, Operand, Weights, Window
from xnorlit.packed.origin import Accuracy, Source, described

VERSION = 2  # version of a chain
GRAPH_VERSION = 3
MOST_LAYERS = 1000
MOST_NODES = 4096
MOST_INPUTS = 64  # inputs of a concatenation
LARGEST_FACTOR = 2**24
STEEPEST = 1e6
FARTHEST = 1e30
LAYER = "layer"
# The operations of nodes other than layers, by their names in the file.
OPERATIONS = {
    "affine": Affine,
    "shift": Shift,
    "add": Add,
    "two-slope": TwoSlope,
    "clip": Clip,
    "sign": Sign,
    "max-pool": MaxPool,
    "average-pool": AveragePool,
    "global-average": GlobalAverage,
    "subsample": Subsample,
    "concat": Concat,
    "flatten": Flatten,
}


def parse(document: Any, tensors: Mapping[str, np.ndarray]) -> Graph:
    """The graph of a file's JSON; all fields fit each other and the tensors.

    Raises:
        FieldError: Something does not fit; the message begins with the field's place.
    """
    fields = Fields(document, "")
    version = fields.take("version")
    if version not in (VERSION, GRAPH_VERSION) or type(version) is not int:
        raise FieldError(f"version: this xnorlit reads versions {VERSION} and {GRAPH_VERSION}, found {version!r}")
    image = fields.object("image")
    size = image.integer("size", 1, LARGEST_SIDE)
    kind, most = ("layers", MOST_LAYERS) if version == VERSION else ("nodes", MOST_NODES)
    parts = fields.take(kind)
    if not isinstance(parts, list) or not 1 <= len(parts) <= most:
        raise FieldError(f"{kind}: expected a list of 1 to {most}")
    inside = [Fields(part, f"{kind}[{i}]") for i, part in enumerate(parts)]
    graph = Graph(
        network=fields.text("network"),
        image_size=size,
        mean=image.numbers("mean", 3, -1e6, 1e6),
        std=image.numbers("std", 3, 1e-6, 1e6),
        crop=image.number("crop", 1e-6, 1),
        squash=image.flag("squash"),
        classes=fields.texts("classes", MOST_CLASSES),
        layers=tuple(_layer(each, each.text("name"), within_graph=False) for each in inside if kind == "layers"),
        source=Source.of(fields.take("source")),
        accuracy=Accuracy.of(fields.take("accuracy")),
        nodes=tuple(_node(each) for each in inside if kind == "nodes"),
    )
    image.done()
    fields.done()
    check(graph, tensors)
    return graph


def document(graph: Graph) -> dict[str, Any]:
    """The JSON that `parse` reads back: version 2 for a chain, 3 for a graph."""
    parts: dict[str, Any] = {"layers": [{"name": layer.name, **_described(layer)} for layer in graph.layers]}
    if graph.nodes:
        parts = {"nodes": [_node_described(node) for node in graph.nodes]}
    return {
        "version": GRAPH_VERSION if graph.nodes else VERSION,
        "network": graph.network,
        "image": {
            "size": graph.image_size,
            "mean": list(graph.mean),
            "std": list(graph.std),
            "crop": graph.crop,
            "squash": graph.squash,
        },
        "classes": list(graph.classes),
        **parts,
        "source": described(graph.source),
        "accuracy": described(graph.accuracy),
    }


def _described(layer: Layer) -> dict[str, Any]:
    operand, weights, ending, window = layer.operand, layer.weights, layer.ending, layer.window
    pieces: dict[str, dict[str, Any]] = {
        part: {"form": piece.form} for part, piece in (("operand", operand), ("weights", weights), ("ending", ending))
    }
    if operand.form == "codes":
        pieces["operand"]["bits"] = operand.bits
    if operand.form == "signs":
        pieces["operand"]["scale"] = operand.scale
    if operand.form == "reals" and weights.form == "int8":
        pieces["operand"]["step"] = operand.step
    if weights.form == "planes":
        pieces["weights"] |= {"factors": list(weights.factors), "divisor": weights.divisor}
    pieces["ending"]["per_position"] = ending.per_position
    if ending.form == "reals":
        pieces["ending"]["slopes"] = list(ending.slopes)
    else:
        pieces["ending"]["levels"] = ending.levels
    if ending.form == "codes":
        pieces["ending"]["bits"] = ending.bits
    return {
        "outputs": layer.outputs,
        "window": window and {key: list(getattr(window, key)) for key in ("kernel", "stride", "padding")},
        "groups": layer.groups,
        "pool": layer.pool and list(layer.pool),
        **pieces,
    }


def _node_described(node: Node) -> dict[str, Any]:
    op = node.op
    if isinstance(op, Layer):
        more = {"border": op.border, "accumulate": op.accumulate, "window_sum": op.window_sum}
        described = {"kind": LAYER, **_described(op), **more}
    else:
        described = {"kind": next(kind for kind, known in OPERATIONS.items() if isinstance(op, known)), **asdict(op)}
    return {"name": node.name, "inputs": list(node.inputs), "op": described}


def _node(fields: Fields) -> Node:
    name = fields.text("name")
    node = Node(name, fields.texts("inputs", MOST_INPUTS), _operation(fields.object("op"), name))
    fields.done()
    return node


def _operation(fields: Fields, name: str) -> Operation:
    kind = fields.choice("kind", (LAYER, *OPERATIONS))
    if kind == LAYER:
        return _layer(fields, name, within_graph=True)
    given: dict[str, Any] = {}
    if kind == "two-slope":
        given = {side: _slope(fields, side) for side in ("above", "below")}
    if kind == "clip":
        given = {side: fields.number(side, -FARTHEST, FARTHEST) for side in ("low", "high")}
        if given["low"] > given["high"]:
            raise FieldError(f"{fields.place}.low: {given['low']} is above high, {given['high']}")
    if kind in ("max-pool", "average-pool"):
        given = {side: fields.integer(side, 1, LARGEST_SIDE) for side in ("kernel", "stride")}
        given["padding"] = fields.integer("padding", 0, LARGEST_SIDE)
    if kind == "subsample":
        given = {"stride": fields.integer("stride", 1, LARGEST_SIDE)}
        given |= {side: fields.integer(side, 0, MOST_CLASSES) for side in ("before", "after")}
    fields.done()
    return OPERATIONS[kind](**given)


def _slope(fields: Fields, name: str) -> float | None:
    if fields.has(name):
        return fields.number(name, -STEEPEST, STEEPEST)
    fields.take(name)
    return None


def _layer(fields: Fields, name: str, *, within_graph: bool) -> Layer:
    pool, window = fields.take("pool"), fields.take("window")
    weights = _weights(fields.object("weights"))
    more: dict[str, Any] = {}
    if within_graph:
        more = {"border": fields.choice("border", BORDERS), "accumulate": fields.choice("accumulate", SUMS)}
        more["window_sum"] = fields.flag("window_sum")
    layer = Layer(
        name=name,
        outputs=fields.integer("outputs", 1, MOST_CLASSES),
        operand=_operand(fields.object("operand"), weights),
        weights=weights,
        ending=_ending(fields.object("ending"), within_graph),
        window=None if window is None else _window(Fields(window, f"{fields.place}.window")),
        groups=fields.integer("groups", 1, MOST_CLASSES),
        pool=None if pool is None else _pool(Fields({"pool": pool}, fields.place)),
        **more,
    )
    fields.done()
    return layer


def _operand(fields: Fields, weights: Weights) -> Operand:
    given: dict[str, Any] = {"form": fields.choice("form", OPERANDS)}
    if given["form"] == "codes":
        given["bits"] = fields.integer("bits", 1, 8)
    if given["form"] == "signs":
        given["scale"] = fields.choice("scale", ("none", "K"))
    if given["form"] == "reals" and weights.form == "int8":
        given["step"] = fields.number("step", 1e-30, 1e30)
    fields.done()
    return Operand(**given)


def _weights(fields: Fields) -> Weights:
    given: dict[str, Any] = {"form": fields.choice("form", WEIGHTS)}
    if given["form"] == "planes":
        given["factors"] = fields.some_integers("factors", MOST_PLANES, -LARGEST_FACTOR, LARGEST_FACTOR)
        given["divisor"] = fields.integer("divisor", 1, 2)
    fields.done()
    return Weights(**given)


def _ending(fields: Fields, within_graph: bool) -> Ending:
    given: dict[str, Any] = {"form": fields.choice("form", ENDINGS), "per_position": fields.flag("per_position")}
    if given["form"] == "reals":
        fewest = 0 if within_graph else 1
        given["slopes"] = fields.optional_numbers("slopes", MOST_MAPS, -STEEPEST, STEEPEST, fewest=fewest)
    else:
        given["levels"] = fields.integer("levels", 1, MOST_LEVELS)
    if given["form"] == "codes":
        given["bits"] = fields.integer("bits", 1, 8)
    fields.done()
    return Ending(**given)


def _pool(fields: Fields) -> tuple[int, int, int]:
    return fields.integers("pool", 3, 0, LARGEST_SIDE)  # type: ignore[return-value]


def _window(fields: Fields) -> Window:
    window = Window(
        fields.integers("kernel", 2, 1, LARGEST_SIDE),  # type: ignore[arg-type]
        fields.integers("stride", 2, 1, LARGEST_SIDE),  # type: ignore[arg-type]
        fields.integers("padding", 2, 0, LARGEST_SIDE),  # type: ignore[arg-type]
    )
    fields.done()
    return window
