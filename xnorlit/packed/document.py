"""A graph as the JSON of a file, and back, every field by type and range."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xnorlit.edge.fields import FieldError, Fields
from xnorlit.packed.check import LARGEST_SIDE, MOST_CLASSES, MOST_LEVELS, MOST_MAPS, MOST_PLANES, check
from xnorlit.packed.graph import ENDINGS, OPERANDS, WEIGHTS, Ending, Graph, Layer, Operand, Weights, Window
from xnorlit.packed.origin import Accuracy, Source, described

VERSION = 2
MOST_LAYERS = 1000
LARGEST_FACTOR = 2**24
STEEPEST = 1e6


def parse(document: Any, tensors: Mapping[str, np.ndarray]) -> Graph:
    """The graph of a file's JSON, whose every field fits every other and the tensors.

    Raises:
        FieldError: Something does not; the message begins with the field's place.
    """
    fields = Fields(document, "")
    version = fields.take("version")
    if version != VERSION or type(version) is not int:
        raise FieldError(f"version: this xnorlit reads version {VERSION}, found {version!r}")
    image = fields.object("image")
    size = image.integer("size", 1, LARGEST_SIDE)
    layers = fields.take("layers")
    if not isinstance(layers, list) or not 1 <= len(layers) <= MOST_LAYERS:
        raise FieldError(f"layers: expected a list of 1 to {MOST_LAYERS}")
    graph = Graph(
        network=fields.text("network"),
        image_size=size,
        mean=image.numbers("mean", 3, -1e6, 1e6),
        std=image.numbers("std", 3, 1e-6, 1e6),
        crop=image.number("crop", 1e-6, 1),
        squash=image.flag("squash"),
        classes=fields.texts("classes", MOST_CLASSES),
        layers=tuple(_layer(Fields(layer, f"layers[{i}]")) for i, layer in enumerate(layers)),
        source=Source.of(fields.take("source")),
        accuracy=Accuracy.of(fields.take("accuracy")),
    )
    image.done()
    fields.done()
    check(graph, tensors)
    return graph


def document(graph: Graph) -> dict[str, Any]:
    """The JSON that `parse` reads back."""
    return {
        "version": VERSION,
        "network": graph.network,
        "image": {
            "size": graph.image_size,
            "mean": list(graph.mean),
            "std": list(graph.std),
            "crop": graph.crop,
            "squash": graph.squash,
        },
        "classes": list(graph.classes),
        "layers": [_described(layer) for layer in graph.layers],
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
        "name": layer.name,
        "outputs": layer.outputs,
        "window": window and {key: list(getattr(window, key)) for key in ("kernel", "stride", "padding")},
        "groups": layer.groups,
        "pool": layer.pool and list(layer.pool),
        **pieces,
    }


def _layer(fields: Fields) -> Layer:
    pool, window = fields.take("pool"), fields.take("window")
    weights = _weights(fields.object("weights"))
    layer = Layer(
        name=fields.text("name"),
        outputs=fields.integer("outputs", 1, MOST_CLASSES),
        operand=_operand(fields.object("operand"), weights),
        weights=weights,
        ending=_ending(fields.object("ending")),
        window=None if window is None else _window(Fields(window, f"{fields.place}.window")),
        groups=fields.integer("groups", 1, MOST_CLASSES),
        pool=None if pool is None else _pool(Fields({"pool": pool}, fields.place)),
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


def _ending(fields: Fields) -> Ending:
    given: dict[str, Any] = {"form": fields.choice("form", ENDINGS), "per_position": fields.flag("per_position")}
    if given["form"] == "reals":
        given["slopes"] = fields.optional_numbers("slopes", MOST_MAPS, -STEEPEST, STEEPEST)
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
