"""Checks that a graph's layers fit each other and their tensors, before any length is trusted.

The memory that a file makes this process allocate is bounded by its length:

- the header, at most 16 MiB of it, becomes text and JSON: at most 64 bytes for each of its bytes;
- the tensors are read once, and endings are copied on their way: at most 32 bytes for each of theirs;
- loaded weights: at most 16 bytes for each of theirs, and 64 MiB for all layers together;
- the first call with one image allocates its maps and the layers' scratch: at most 512 MiB, whatever the file.

The last two are computed here (xnorlit/packed/memory.py) before anything is allocated, and by the kernels again.
"""

import math
from collections.abc import Mapping

import numpy as np

from xnorlit.edge.fields import FieldError
from xnorlit.packed.graph import Graph, Layer, Map
from xnorlit.packed.memory import input_bytes, loaded_bytes, scratch_bytes

MOST_CLASSES = 2**20
LARGEST_SIDE = 4096
LARGEST_MAP = 2**24  # values of one image between two layers: 57 times AlexNet's largest
MOST_GROWTH = 16  # bytes in memory for each byte of weights
SPARE_BYTES = 2**26  # beyond that, for all layers together
LARGEST_ARENA = 2**29  # bytes of one image's maps and the scratch of a layer
MOST_PLANES = 16
MOST_LEVELS = 510  # of 8-bit codes that fall and then rise
MOST_MAPS = 8

# Sums of products of a level of 255 and a weight of -128 stay within 31 bits.
MOST_INT8_PRODUCTS = (2**31 - 1) // (255 * 128)
LARGEST_SUM = 2**30 - 1  # of a layer that counts bits, in either direction


def check(graph: Graph, tensors: Mapping[str, np.ndarray]) -> None:
    """Checks that every layer reads what the one before gives, fits its map and has its tensors; none is left over.

    Args:
        graph: Its fields are of their types and in their ranges.
        tensors: By name.

    Raises:
        FieldError: Something does not; the message begins with the field's place.
    """
    at, given, bits, left = graph.input, "pixels", 1, set(tensors)
    spare, maps, scratch = SPARE_BYTES, 0, 0
    names = [layer.name for layer in graph.layers]
    for i, layer in enumerate(graph.layers):
        place = f"layers[{i}]"
        if names.index(layer.name) != i:
            raise FieldError(f"{place}.name: {layer.name!r} is the name of another layer too")
        _check_flow(layer, given, bits, place)
        _check_fit(layer, at, place)
        left -= _check_tensors(layer, at, tensors, place)
        spare -= max(0, loaded_bytes(layer, at) - MOST_GROWTH * tensors[f"{layer.name}.weight"].nbytes)
        if spare < 0:
            raise FieldError(
                f"{place}: weights for {layer.groups} groups and this window take more memory than {MOST_GROWTH} times "
                f"their bytes and {SPARE_BYTES} for all layers"
            )
        maps += input_bytes(layer, at) if i else 0
        scratch = max(scratch, scratch_bytes(layer, at))
        if maps + scratch > LARGEST_ARENA:
            raise FieldError(f"{place}: the maps up to here take more than {LARGEST_ARENA} bytes for one image")
        at, given, bits = layer.output(at), layer.ending.form, layer.ending.bits
    if given != "reals" or at != Map(1, 1, len(graph.classes)):
        raise FieldError(
            f"layers: end with {given} of {tuple(at)}, where {len(graph.classes)} classes need as many reals"
        )
    if left:
        raise FieldError(f"tensor {min(left)!r}: belongs to no layer")


def expected_tensors(layer: Layer, at: Map) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, dtypes and shapes of a layer's tensors, given the map it reads."""
    window, outputs, ending, depth = layer.looks(at), layer.outputs, layer.ending, at.channels // layer.groups
    shapes: dict[str, tuple[str, tuple[int, ...]]]
    if layer.weights.form == "planes":
        octets = (depth + 7) // 8
        shapes = {"weight": ("u1", (len(layer.weights.factors), outputs, *window.kernel, octets))}
    else:
        shapes = {"weight": ("f4" if layer.weights.form == "float" else "i1", (outputs, *window.kernel, depth))}
    if layer.operand.form == "pixels" and layer.weights.form == "int8":
        shapes["fill"] = ("u1", (at.channels,))
    features = tuple(layer.output(at)) if ending.per_position else (outputs,)
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


def _check_flow(layer: Layer, given: str, bits: int, place: str) -> None:
    operand = layer.operand
    found = f"codes of {bits} bits" if given == "codes" else given
    wanted = f"codes of {operand.bits} bits" if operand.form == "codes" else operand.form
    if operand.scale == "K":
        wanted = "reals"  # whose signs it takes
    if wanted != found:
        raise FieldError(f"{place}.operand: reads {wanted}, where the layer before it gives {found}")
    if operand.scale == "K" and layer.weights.form != "planes":
        raise FieldError(f"{place}.operand.scale: K goes with weights of planes")


def _check_fit(layer: Layer, at: Map, place: str) -> None:
    if layer.groups > 1 and (at.channels % layer.groups or layer.outputs % layer.groups):
        raise FieldError(
            f"{place}.groups: {layer.groups} does not divide {at.channels} inputs and {layer.outputs} outputs"
        )
    window = layer.looks(at)
    for side, kernel, padding in zip(at, window.kernel, window.padding, strict=False):
        if padding >= kernel or kernel > side + 2 * padding:
            raise FieldError(f"{place}.window: kernel {kernel} with padding {padding} does not fit a side of {side}")
    _check_sums(layer, math.prod(window.kernel) * at.channels // layer.groups, place)
    sums = layer.sums(at)
    _check_pool(layer, sums, place)
    border = Map(at.height + 2 * window.padding[0], at.width + 2 * window.padding[1], at.channels)
    if max(math.prod(border), math.prod(sums)) > LARGEST_MAP:
        raise FieldError(f"{place}: a map of more than {LARGEST_MAP} values for one image")


def _check_pool(layer: Layer, sums: Map, place: str) -> None:
    if layer.pool is None:
        return
    size, stride, padding = layer.pool
    if not size or not stride or padding > size // 2:
        raise FieldError(f"{place}.pool: size {size}, stride {stride} and padding {padding} make no pool")
    if size > min(sums[:2]) + 2 * padding:
        raise FieldError(f"{place}.pool: {size} is larger than its map of {sums.height} x {sums.width}")


def _check_sums(layer: Layer, products: int, place: str) -> None:
    if layer.weights.form == "int8":
        if layer.operand.form not in ("pixels", "reals"):
            raise FieldError(f"{place}.weights: int8 takes pixels or reals, found {layer.operand.form}")
        if products > MOST_INT8_PRODUCTS:
            raise FieldError(f"{place}: more than {MOST_INT8_PRODUCTS} products of bytes in a sum")
        if layer.groups > 1 or (layer.operand.form == "reals") != (layer.window is None):
            raise FieldError(f"{place}.weights: int8 takes a convolution of pixels or a linear layer, without groups")
    elif layer.binary:
        most = 2**layer.operand.bits - 1
        if products * most * sum(map(abs, layer.weights.factors)) > LARGEST_SUM:
            raise FieldError(f"{place}: sums of {products} products may exceed {LARGEST_SUM}")


def _check_tensors(layer: Layer, at: Map, tensors: Mapping[str, np.ndarray], place: str) -> set[str]:
    expected = expected_tensors(layer, at)
    for name, (dtype, shape) in expected.items():
        found = tensors.get(name)
        if found is None:
            raise FieldError(f"{place}: tensor {name!r} is missing")
        if found.dtype != np.dtype(f"<{dtype}") or found.shape != shape:
            raise FieldError(f"tensor {name!r}: {found.dtype} {found.shape}, expected {np.dtype(dtype)} {shape}")
        # Infinity is a threshold that is always, or never, reached.
        allowed = ~np.isnan(found) if name == f"{layer.name}.threshold" else np.isfinite(found)
        if dtype == "f4" and not allowed.all():
            raise FieldError(f"tensor {name!r}: holds a number that is not finite")
    return set(expected)
