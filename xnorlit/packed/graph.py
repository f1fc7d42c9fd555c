"""What a packed network is: preprocessing, class names and a chain of layers, each held to the one before it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from xnorlit.packed.fields import FieldError, Fields
from xnorlit.packed.origin import Accuracy, Source, described

VERSION = 1
MOST_LAYERS = 1000
MOST_CLASSES = 2**20
LARGEST_SIDE = 4096
LARGEST_MAP = 2**24  # values of one image between two layers: 57 times AlexNet's largest


# Sums of products of a level of 255 and a weight of -128 stay within 31 bits.
MOST_INT8_PRODUCTS = (2**31 - 1) // (255 * 128)

Kind = Literal["float_conv", "int8_conv", "binary", "float_linear", "int8_linear"]
READS = {
    "float_conv": "pixels",
    "int8_conv": "pixels",
    "binary": "bits",
    "float_linear": "reals",
    "int8_linear": "reals",
}
LINEAR = ("float_linear", "int8_linear")


class Map(NamedTuple):
    """Extents of what flows between two layers, for one image."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class Window:
    """Where a convolution looks, each pair (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Layer:
    """One layer with what follows it up to the next one's input.

    Attributes:
        kind: `float_conv`, `int8_conv`: pixels to signs. `binary`: signs to signs or to reals. `float_linear`,
            `int8_linear`: reals to reals.
        name: Its block's name; its tensors are called `name.weight` and so on.
        outputs: Output channels.
        window: Where it looks; `None` for a layer that sees the whole map.
        groups: Groups of channels that see only each other.
        pool: Size and stride of the max pool behind it; `None` for none.
        ending: What leaves the layer: signs (`bits`) or real numbers (`reals`).
        inner_relu: For reals, whether a ReLU follows the first affine map.
        relu: For reals, whether one follows the second.
        step: What one level of an `int8_linear` layer's input is worth: its levels are `round(x / step)` in 0..255.
    """

    kind: Kind
    name: str
    outputs: int
    window: Window | None = None
    groups: int = 1
    pool: tuple[int, int] | None = None
    ending: Literal["bits", "reals"] = "reals"
    inner_relu: bool = False
    relu: bool = False
    step: float = 0.0

    def looks(self, at: Map) -> Window:
        """Its window, spelt out."""
        return self.window or Window((at.height, at.width))

    def output(self, at: Map) -> Map:
        """What it makes of a map, its pool included."""
        window = self.looks(at)
        sides = [
            (side + 2 * padding - kernel) // stride + 1
            for side, kernel, stride, padding in zip(at, window.kernel, window.stride, window.padding, strict=False)
        ]
        if self.pool:
            size, stride = self.pool
            sides = [(side - size) // stride + 1 for side in sides]
        return Map(*sides, self.outputs)


@dataclass(frozen=True)
class Graph:
    """A whole packed network, without its tensors.

    Attributes:
        network: Name of the table of blocks it was built from.
        image_size: Side of the square image, pixels.
        mean: Per channel of R, G, B, 0 to 255, subtracted from the pixels.
        std: Per channel, 0 to 255.
        crop: Side of the central square over the image's shorter side: what is resized to `image_size`.
        squash: Whether the crop is that share of each side instead, so that the aspect is not kept.
        classes: Names of the classes.
        layers: From the pixels to the logits.
        source: Where it comes from.
        accuracy: What it reached when it was packed; `None` when that was not measured.
    """

    network: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float
    squash: bool
    classes: tuple[str, ...]
    layers: tuple[Layer, ...]
    source: Source = field(default_factory=Source)
    accuracy: Accuracy | None = None

    @property
    def input(self) -> Map:
        """The pixels."""
        return Map(self.image_size, self.image_size, 3)


def parse(document: Any, tensors: Mapping[str, np.ndarray]) -> Graph:
    """The graph of a file's JSON, whose every field fits every other and the tensors.

    Raises:
        FieldError: Something does not; the message begins with the field's place.
    """
    fields = Fields(document, "")
    version = fields.take("version")
    if version != VERSION or type(version) is not int:
        raise FieldError(f"version: this xnorlit reads version {VERSION}, found {version!r}")
    image = Fields(fields.take("image"), "image")
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
    _check_chain(graph, tensors)
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


def expected_tensors(layer: Layer, at: Map) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, dtypes and shapes of a layer's tensors, given the map it reads; thresholds in their shape per channel."""
    window, outputs = layer.looks(at), layer.outputs
    shapes: dict[str, tuple[str, tuple[int, ...]]]
    if layer.kind == "float_linear":
        shapes = {"weight": ("f4", (outputs, math.prod(at))), "bias": ("f4", (outputs,))}
    elif layer.kind == "int8_linear":
        shapes = {"weight": ("i1", (outputs, math.prod(at))), "scale": ("f4", (outputs,)), "bias": ("f4", (outputs,))}
    elif layer.kind == "float_conv":
        shapes = {"weight": ("f4", (outputs, *window.kernel, at.channels)), "threshold": ("f4", (outputs,))}
    elif layer.kind == "int8_conv":
        shapes = {"weight": ("i1", (outputs, *window.kernel, at.channels)), "threshold": ("i4", (outputs,))}
        shapes["fill"] = ("u1", (at.channels,))
    else:
        octets = (at.channels // layer.groups + 7) // 8
        shapes = {"weight": ("u1", (outputs, *window.kernel, octets))}
        if layer.ending == "bits":
            shapes["threshold"] = ("i4", (outputs,))
        else:
            shapes |= dict.fromkeys(("inner_scale", "inner_shift", "scale", "shift"), ("f4", (outputs,)))
    if layer.ending == "bits":
        shapes["flip"] = ("u1", ((outputs + 7) // 8,))
    return {f"{layer.name}.{name}": shape for name, shape in shapes.items()}


def _described(layer: Layer) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": layer.kind, "name": layer.name, "outputs": layer.outputs}
    if layer.kind == "int8_linear":
        found["step"] = layer.step
    if layer.kind in LINEAR:
        return found
    window = layer.window
    found["window"] = window and {key: list(getattr(window, key)) for key in ("kernel", "stride", "padding")}
    found["pool"] = layer.pool and list(layer.pool)
    if layer.kind == "binary":
        found |= {"groups": layer.groups, "ending": layer.ending}
        if layer.ending == "reals":
            found |= {"inner_relu": layer.inner_relu, "relu": layer.relu}
    return found


def _layer(fields: Fields) -> Layer:
    kind = fields.choice("kind", tuple(READS))
    given: dict[str, Any] = {"name": fields.text("name"), "outputs": fields.integer("outputs", 1, MOST_CLASSES)}
    if kind == "int8_linear":
        given["step"] = fields.number("step", 1e-30, 1e30)
    if kind not in LINEAR:
        given["window"] = _window(fields.take("window"), f"{fields.place}.window")
        pool = fields.take("pool")
        given["pool"] = pool and Fields({"pool": pool}, fields.place).integers("pool", 2, 1, LARGEST_SIDE)
        given["ending"] = "bits"
    if kind == "binary":
        given["groups"] = fields.integer("groups", 1, MOST_CLASSES)
        given["ending"] = fields.choice("ending", ("bits", "reals"))
        if given["ending"] == "reals":
            given |= {name: fields.flag(name) for name in ("inner_relu", "relu")}
    fields.done()
    return Layer(kind=kind, **given)  # type: ignore[arg-type]


def _window(found: Any, place: str) -> Window | None:
    if found is None:
        return None
    fields = Fields(found, place)
    window = Window(
        fields.integers("kernel", 2, 1, LARGEST_SIDE),  # type: ignore[arg-type]
        fields.integers("stride", 2, 1, LARGEST_SIDE),  # type: ignore[arg-type]
        fields.integers("padding", 2, 0, LARGEST_SIDE),  # type: ignore[arg-type]
    )
    fields.done()
    return window


def _check_chain(graph: Graph, tensors: Mapping[str, np.ndarray]) -> None:
    """Every layer reads what the one before gives, fits its map, and has its tensors; no tensor is left over."""
    at, given, left = graph.input, "pixels", set(tensors)
    names = [layer.name for layer in graph.layers]
    for i, layer in enumerate(graph.layers):
        place = f"layers[{i}]"
        if READS[layer.kind] != given:
            raise FieldError(
                f"{place}.kind: {layer.kind} reads {READS[layer.kind]}, where the layer before it gives {given}"
            )
        if names.index(layer.name) != i:
            raise FieldError(f"{place}.name: {layer.name!r} is the name of another layer too")
        _check_fit(layer, at, place)
        after = layer.output(at)
        left -= _check_tensors(layer, at, after, tensors, place)
        at, given = after, layer.ending
    if given != "reals" or at != Map(1, 1, len(graph.classes)):
        raise FieldError(
            f"layers: end with {given} of {tuple(at)}, where {len(graph.classes)} classes need as many reals"
        )
    if left:
        raise FieldError(f"tensor {min(left)!r}: belongs to no layer")


def _check_fit(layer: Layer, at: Map, place: str) -> None:
    if layer.groups > 1 and (at.channels % layer.groups or layer.outputs % layer.groups):
        raise FieldError(
            f"{place}.groups: {layer.groups} does not divide {at.channels} inputs and {layer.outputs} outputs"
        )
    window = layer.looks(at)
    for side, kernel, padding in zip(at, window.kernel, window.padding, strict=False):
        if padding >= kernel or kernel > side + 2 * padding:
            raise FieldError(f"{place}.window: kernel {kernel} with padding {padding} does not fit a side of {side}")
    if layer.kind.startswith("int8") and math.prod(window.kernel) * at.channels > MOST_INT8_PRODUCTS:
        raise FieldError(f"{place}: more than {MOST_INT8_PRODUCTS} products of bytes in a sum")
    unpooled = Layer(layer.kind, layer.name, layer.outputs, layer.window).output(at)
    if layer.pool and layer.pool[0] > min(unpooled[:2]):
        raise FieldError(
            f"{place}.pool: {layer.pool[0]} is larger than its map of {unpooled.height} x {unpooled.width}"
        )
    border = Map(at.height + 2 * window.padding[0], at.width + 2 * window.padding[1], at.channels)
    if max(math.prod(border), math.prod(unpooled)) > LARGEST_MAP:
        raise FieldError(f"{place}: a map of more than {LARGEST_MAP} values for one image")


def _check_tensors(layer: Layer, at: Map, after: Map, tensors: Mapping[str, np.ndarray], place: str) -> set[str]:
    expected = expected_tensors(layer, at)
    threshold, flip = f"{layer.name}.threshold", f"{layer.name}.flip"
    if layer.kind == "binary" and layer.ending == "bits" and np.ndim(tensors.get(threshold)) == 3:
        # Thresholds per position and channel: the norm behind the flattening has its own for each feature.
        expected |= {threshold: ("i4", tuple(after)), flip: ("u1", ((math.prod(after) + 7) // 8,))}
    for name, (dtype, shape) in expected.items():
        found = tensors.get(name)
        if found is None:
            raise FieldError(f"{place}: tensor {name!r} is missing")
        if found.dtype != np.dtype(f"<{dtype}") or found.shape != shape:
            raise FieldError(f"tensor {name!r}: {found.dtype} {found.shape}, expected {np.dtype(dtype)} {shape}")
        # Infinity is a threshold that is always, or never, reached.
        if dtype == "f4" and not (~np.isnan(found) if name == threshold else np.isfinite(found)).all():
            raise FieldError(f"tensor {name!r}: holds a number that is not finite")
    return set(expected)
