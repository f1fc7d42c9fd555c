"""Convert a graph to the JSON of a file and back; the kernels check the type and range of every field."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NoReturn

import numpy as np

from xnorlit.edge.fields import FieldError
from xnorlit.packed import _kernels
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
from xnorlit.packed.layer import Ending, Layer, Operand, Weights, Window
from xnorlit.packed.origin import Accuracy, Source

VERSION = 2  # version of a chain
GRAPH_VERSION = 3
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


def check(graph: Graph, tensors: Mapping[str, np.ndarray]) -> None:
    """Refuse a graph whose fields fit neither each other nor the tensors, as loading does.

    Args:
        graph: The graph.
        tensors: Tensors by name.

    Raises:
        FieldError: Something does not fit; the message begins with the field's place.
    """
    _kernels.Plan(written(graph), dict(tensors))


def written(graph: Graph) -> str:
    """The text of a graph in the metadata of a file.

    Raises:
        FieldError: A value is not one that JSON has.
    """
    return json.dumps(document(graph), default=_refuse)


def _refuse(value: object) -> NoReturn:
    raise FieldError(f"{value!r} is neither text nor a number")


def parse(document: Mapping[str, Any]) -> Graph:
    """The graph of a file's JSON, which the kernels have accepted."""
    image, accuracy = document["image"], document["accuracy"]
    if accuracy is not None:
        accuracy = Accuracy(**{**accuracy, "top1": float(accuracy["top1"]), "top5": float(accuracy["top5"])})
    return Graph(
        network=document["network"],
        image_size=image["size"],
        mean=tuple(map(float, image["mean"])),
        std=tuple(map(float, image["std"])),
        crop=float(image["crop"]),
        squash=image["squash"],
        classes=tuple(document["classes"]),
        layers=tuple(_layer(each["name"], each) for each in document.get("layers", ())),
        source=Source(**document["source"]),
        accuracy=accuracy,
        nodes=tuple(map(_node, document.get("nodes", ()))),
    )


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
        "source": asdict(graph.source),
        "accuracy": graph.accuracy and asdict(graph.accuracy),
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


def _node(found: Mapping[str, Any]) -> Node:
    return Node(found["name"], tuple(found["inputs"]), _operation(found["name"], found["op"]))


def _operation(name: str, found: Mapping[str, Any]) -> Operation:
    if found["kind"] == LAYER:
        return _layer(name, found)
    given = {key: value for key, value in found.items() if key != "kind"}
    if found["kind"] in ("two-slope", "clip"):
        given = {key: _real(value) for key, value in given.items()}
    return OPERATIONS[found["kind"]](**given)


def _layer(name: str, found: Mapping[str, Any]) -> Layer:
    operand, weights, ending, window = (found[part] for part in ("operand", "weights", "ending", "window"))
    within_graph = {key: found[key] for key in ("border", "accumulate", "window_sum") if key in found}
    return Layer(
        name=name,
        outputs=found["outputs"],
        operand=Operand(**{**operand, "step": float(operand.get("step", 0))}),
        weights=Weights(**{**weights, "factors": tuple(weights.get("factors", ()))}),
        ending=Ending(**{**ending, "slopes": tuple(map(_real, ending.get("slopes", ())))}),
        window=window and Window(*(tuple(window[key]) for key in ("kernel", "stride", "padding"))),
        groups=found["groups"],
        pool=found["pool"] and tuple(found["pool"]),
        **within_graph,
    )


def _real(value: float | None) -> float | None:
    return None if value is None else float(value)
