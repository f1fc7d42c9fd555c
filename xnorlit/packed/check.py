"""Check that a graph's layers or nodes fit each other and their tensors, before trusting any length.

The memory that a file makes this process allocate is bounded by its length:

- the header, of at most 16 MiB, becomes text and JSON: at most 64 bytes per byte;
- the tensors are read once and endings are copied meanwhile: at most 32 bytes per byte;
- loaded weights: at most 16 bytes per byte, and 64 MiB for all layers together;
- the first call with one image allocates its maps and the layers' scratch: at most 512 MiB, whatever the file.

The last two are computed before anything is allocated (xnorlit/packed/memory.py), and again by the kernels.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from xnorlit.edge.fields import FieldError
from xnorlit.packed.graph import (
    PIXELS,
    POOLS,
    Add,
    Affine,
    Concat,
    Flow,
    Graph,
    MaxPool,
    Node,
    Operation,
    Shift,
    Sign,
    TwoSlope,
    flow,
)
from xnorlit.packed.layer import Layer, Map
from xnorlit.packed.memory import input_bytes, loaded_bytes, scratch_bytes
from xnorlit.packed.plan import plan

MOST_CLASSES = 2**20
LARGEST_SIDE = 4096
LARGEST_MAP = 2**24  # values of one image between two layers: 57 times AlexNet's largest
MOST_GROWTH = 16  # bytes in memory per byte of weights
SPARE_BYTES = 2**26  # additional bytes for all layers together
LARGEST_ARENA = 2**29  # bytes for one image's maps and the scratch of a layer
MOST_PLANES = 16
MOST_LEVELS = 510  # levels of 8-bit codes that fall and then rise
MOST_MAPS = 8

# Sums of products of a level of 255 and a weight of -128 stay within 31 bits.
MOST_INT8_PRODUCTS = (2**31 - 1) // (255 * 128)
LARGEST_SUM = 2**30 - 1  # magnitude of the sums of a layer that counts bits


def check(graph: Graph, tensors: Mapping[str, np.ndarray]) -> None:
    """Check that every layer can read its input, fits its map and has its tensors, and that no tensor is unused.

    Args:
        graph: A graph whose fields have the right types and ranges.
        tensors: Tensors by name.

    Raises:
        FieldError: Something does not fit; the message begins with the field's place.
    """
    if graph.nodes:
        last, used = _check_nodes(graph, tensors)
    else:
        last, used = _check_chain(graph, tensors)
    if last.form != "reals" or last.map != Map(1, 1, len(graph.classes)):
        raise FieldError(
            f"{'nodes' if graph.nodes else 'layers'}: end with {last.form} of {tuple(last.map)}, where "
            f"{len(graph.classes)} classes need as many reals"
        )
    if left := set(tensors) - used:
        raise FieldError(f"tensor {min(left)!r}: belongs to no {'node' if graph.nodes else 'layer'}")


def _check_chain(graph: Graph, tensors: Mapping[str, np.ndarray]) -> tuple[Flow, set[str]]:
    """The last layer's output, and the names of all tensors."""
    given, used = Flow("pixels", 1, graph.input), set()
    spare, maps, scratch = SPARE_BYTES, 0, 0
    names = [layer.name for layer in graph.layers]
    for i, layer in enumerate(graph.layers):
        place = f"layers[{i}]"
        if names.index(layer.name) != i:
            raise FieldError(f"{place}.name: {layer.name!r} is the name of another layer too")
        _check_layer(layer, given, place, "the layer before it")
        used |= _check_tensors(layer.name, expected_tensors(layer, given.map), tensors, place)
        spare = _check_growth(layer, given.map, tensors, spare, place)
        maps += input_bytes(layer, given.map) if i else 0
        scratch = max(scratch, scratch_bytes(layer, given.map))
        _check_arena(maps + scratch, place)
        given = flow(layer, [given])
    return given, used


def _check_nodes(graph: Graph, tensors: Mapping[str, np.ndarray]) -> tuple[Flow, set[str]]:
    """The last node's value, and the names of all tensors."""
    made = {PIXELS: Flow("pixels", 1, graph.input)}
    numbers = {node.name: i for i, node in reversed(list(enumerate(graph.nodes)))}
    used: set[str] = set()
    unread = {PIXELS}
    spare = SPARE_BYTES
    for i, node in enumerate(graph.nodes):
        place = f"nodes[{i}]"
        if node.name == PIXELS or numbers[node.name] != i:
            other = "the image" if node.name == PIXELS else f"nodes[{numbers[node.name]}]"
            raise FieldError(f"{place}.name: {node.name!r} is the name of {other} too")
        for j, name in enumerate(node.inputs):
            if name not in made:
                known = f"is made later, by nodes[{numbers[name]}]" if name in numbers else "is made by no node"
                raise FieldError(f"{place}.inputs[{j}]: the value {name!r} {known}")
        unread -= set(node.inputs)
        inputs = [made[name] for name in node.inputs]
        _check_inputs(node.op, inputs, place)
        used |= _check_tensors(node.name, node_tensors(node, [each.map for each in inputs]), tensors, place)
        if isinstance(node.op, Layer):
            spare = _check_growth(node.op, inputs[0].map, tensors, spare, place)
        made[node.name] = flow(node.op, inputs)
        at = made[node.name].map
        if math.prod(at) > LARGEST_MAP or at.channels > MOST_CLASSES:
            raise FieldError(
                f"{place}: a map of {tuple(at)} has more than {MOST_CLASSES} channels or {LARGEST_MAP} values for one "
                "image"
            )
        unread.add(node.name)
    if unread != {graph.nodes[-1].name}:
        name = min(unread - {graph.nodes[-1].name})
        place = "nodes" if name == PIXELS else f"nodes[{numbers[name]}]"
        raise FieldError(f"{place}: no node reads the value {name!r}")
    if plan(graph).arena_bytes > LARGEST_ARENA:
        raise FieldError(f"nodes: the maps that are needed at once take more than {LARGEST_ARENA} bytes for one image")
    return made[graph.nodes[-1].name], used


def _check_inputs(op: Operation, inputs: Sequence[Flow], place: str) -> None:
    """Refuse an operation that does not fit its inputs."""
    least, most, expected = 1, 1, "one value"
    if isinstance(op, Add):
        least, most, expected = 2, 2, "two values"
    if isinstance(op, Concat):
        least, most, expected = 2, len(inputs), "two or more values"
    if not least <= len(inputs) <= most:
        raise FieldError(f"{place}.inputs: expected {expected}, found {len(inputs)}")
    given = inputs[0]
    if isinstance(op, Layer):
        _check_layer(op, given, f"{place}.op", "its value")
        return
    forms = ("reals", "signs") if isinstance(op, MaxPool) else ("reals",)
    for j, each in enumerate(inputs):
        if each.form not in forms:
            raise FieldError(f"{place}.inputs[{j}]: reads {' or '.join(forms)}, where its value is {each.form}")
        same = each.map[:2] == given.map[:2] if isinstance(op, Concat) else each.map == given.map
        if not same:
            raise FieldError(f"{place}.inputs[{j}]: {tuple(each.map)} does not fit {tuple(given.map)}, the first one")
    if isinstance(op, POOLS):
        _check_pool((op.kernel, op.stride, op.padding), given.map, f"{place}.op")


def _check_layer(layer: Layer, given: Flow, place: str, giver: str) -> None:
    _check_flow(layer, given.form, given.bits, place, giver)
    _check_options(layer, place)
    _check_fit(layer, given.map, place)


def _check_options(layer: Layer, place: str) -> None:
    """Refuse options that the layer's operand and weights do not support."""
    signs = layer.binary and layer.operand.form == "signs" and layer.operand.scale == "none"
    if layer.border == "ones" and not signs:
        raise FieldError(f"{place}.border: ones requires signs, weights of planes and no scale")
    if layer.accumulate == "fp64" and layer.weights.form != "float":
        raise FieldError(f"{place}.accumulate: fp64 requires float weights")
    plain = layer.weights.factors == (1,) and layer.weights.divisor == 1 and layer.pool is None
    if layer.window_sum and not (signs and plain and layer.ending.form == "reals"):
        raise FieldError(f"{place}.window_sum: requires signs, one plane of weights, no pool, and an ending in reals")


def _check_growth(layer: Layer, at: Map, tensors: Mapping[str, np.ndarray], spare: int, place: str) -> int:
    """The spare bytes that remain after a layer."""
    given = sum(tensors[f"{layer.name}.{name}"].nbytes for name in ("weight", *["constant"][: layer.window_sum]))
    spare -= max(0, loaded_bytes(layer, at) - MOST_GROWTH * given)
    if spare < 0:
        raise FieldError(
            f"{place}: weights for {layer.groups} groups and this window take more memory than {MOST_GROWTH} times "
            f"their bytes and {SPARE_BYTES} for all layers"
        )
    return spare


def _check_arena(bytes_: int, place: str) -> None:
    if bytes_ > LARGEST_ARENA:
        raise FieldError(f"{place}: the maps up to here take more than {LARGEST_ARENA} bytes for one image")


def node_tensors(node: Node, maps: Sequence[Map]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, dtypes and shapes of a node's tensors, given the maps it reads."""
    op, channels = node.op, (maps[0].channels,)
    if isinstance(op, Layer):
        return expected_tensors(op, maps[0])
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    if isinstance(op, Affine):
        shapes = {"scale": ("f4", channels), "shift": ("f4", channels)}
    if isinstance(op, Shift):
        shapes = {"shift": ("f4", channels)}
    if isinstance(op, TwoSlope):
        shapes = {side: ("f4", channels) for side in ("above", "below") if getattr(op, side) is None}
    if isinstance(op, Sign):
        shapes = {"threshold": ("f4", channels), "flip": ("u1", ((maps[0].channels + 7) // 8,))}
    return {f"{node.name}.{name}": shape for name, shape in shapes.items()}


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


def _check_flow(layer: Layer, given: str, bits: int, place: str, giver: str) -> None:
    operand = layer.operand
    found = f"codes of {bits} bits" if given == "codes" else given
    wanted = f"codes of {operand.bits} bits" if operand.form == "codes" else operand.form
    if operand.scale == "K":
        wanted = "reals"  # the layer takes their signs
    if wanted != found:
        raise FieldError(f"{place}.operand: reads {wanted}, where {giver} gives {found}")
    if operand.scale == "K" and layer.weights.form != "planes":
        raise FieldError(f"{place}.operand.scale: K requires weights of planes")


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
    if layer.pool is not None:
        _check_pool(layer.pool, sums, f"{place}.pool")
    border = Map(at.height + 2 * window.padding[0], at.width + 2 * window.padding[1], at.channels)
    if max(math.prod(border), math.prod(sums)) > LARGEST_MAP:
        raise FieldError(f"{place}: a map of more than {LARGEST_MAP} values for one image")


def _check_pool(pool: tuple[int, int, int], sums: Map, place: str) -> None:
    size, stride, padding = pool
    if not size or not stride or padding > size // 2:
        raise FieldError(f"{place}: size {size}, stride {stride} and padding {padding} make no pool")
    if size > min(sums[:2]) + 2 * padding:
        raise FieldError(f"{place}: {size} is larger than its map of {sums.height} x {sums.width}")


def _check_sums(layer: Layer, products: int, place: str) -> None:
    if layer.weights.form == "int8":
        if layer.operand.form not in ("pixels", "reals"):
            raise FieldError(f"{place}.weights: int8 takes pixels or reals, found {layer.operand.form}")
        if products > MOST_INT8_PRODUCTS:
            raise FieldError(f"{place}: more than {MOST_INT8_PRODUCTS} products of bytes in a sum")
        pixels, window = layer.operand.form == "pixels", layer.window
        if layer.groups > 1 or (pixels and window is None):
            raise FieldError(f"{place}.weights: int8 takes a convolution or a linear layer of reals, without groups")
        if not pixels and window is not None and window.padding != (0, 0):
            raise FieldError(f"{place}.window.padding: reals with int8 weights have none, found {window.padding}")
    elif layer.binary:
        most = 2**layer.operand.bits - 1
        if products * most * sum(map(abs, layer.weights.factors)) > LARGEST_SUM:
            raise FieldError(f"{place}: sums of {products} products may exceed {LARGEST_SUM}")


def _check_tensors(
    name: str, expected: Mapping[str, tuple[str, tuple[int, ...]]], tensors: Mapping[str, np.ndarray], place: str
) -> set[str]:
    for tensor, (dtype, shape) in expected.items():
        found = tensors.get(tensor)
        if found is None:
            raise FieldError(f"{place}: tensor {tensor!r} is missing")
        if found.dtype != np.dtype(f"<{dtype}") or found.shape != shape:
            raise FieldError(f"tensor {tensor!r}: {found.dtype} {found.shape}, expected {np.dtype(dtype)} {shape}")
        # Infinity is a threshold that is always or never reached.
        allowed = ~np.isnan(found) if tensor == f"{name}.threshold" else np.isfinite(found)
        if dtype == "f4" and not allowed.all():
            raise FieldError(f"tensor {tensor!r}: holds a number that is not finite")
    return set(expected)
