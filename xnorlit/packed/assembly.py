"""Build the engine's layers and nodes from a graph."""

from collections.abc import Mapping, Sequence

import numpy as np

from xnorlit.packed import _kernels
from xnorlit.packed.graph import (
    PIXELS,
    Affine,
    AveragePool,
    Clip,
    Flatten,
    Flow,
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
from xnorlit.packed.layer import Layer, Map
from xnorlit.packed.plan import Place, Stage, hosts, plan


def add_layer(
    engine: _kernels.AnyEngine,
    layer: Layer,
    at: Map,
    graph: Graph,
    tensors: Mapping[str, np.ndarray],
    ending: _kernels.Ending | None = None,
) -> None:
    """Add one layer of a graph to the engine.

    Args:
        engine: The engine, which already has the layers before this one.
        layer: The layer.
        at: The map that it reads.
        graph: Its graph.
        tensors: Tensors by name, as in the file.
        ending: Replaces the layer's own ending.
    """
    operand, weights, looks = layer.operand, layer.weights, layer.looks(at)
    weight = _tensor(layer, "weight", tensors)
    ending = ending or engine_ending(layer, at, tensors)
    window = [*looks.kernel, *looks.stride, *looks.padding]
    frame = _kernels.Frame(shape=at, window=window, groups=layer.groups, outputs=layer.outputs)
    if weights.form == "int8" and operand.form == "pixels":
        engine.add_byte_conv(frame, weight, _tensor(layer, "fill", tensors), ending)
        return
    if weights.form == "int8":
        engine.add_byte_linear(frame, operand.step, weight, ending)
        return
    reads = _kernels.Operand(
        operand.form,
        bits=operand.bits,
        scaled=operand.scale == "K",
        ones=layer.border == "ones",
        mean=graph.mean,
        std=graph.std,
    )
    if weights.form == "planes":
        planes = _kernels.Planes(weight, factors=weights.factors, divisor=weights.divisor)
        (engine.add_binary if layer.binary else engine.add_real)(frame, reads, planes, ending)
    else:
        (engine.add_double if layer.accumulate == "fp64" else engine.add_real)(frame, reads, weight, ending)


def engine_ending(
    layer: Layer, at: Map, tensors: Mapping[str, np.ndarray], affine: Sequence[Node] = ()
) -> _kernels.Ending:
    """The ending of a layer's sums over the map `at`, and the affine nodes that go on with its maps."""
    ending, pool = layer.ending, layer.pool or ()
    if ending.form == "reals":
        every = range(len(ending.slopes))
        scales, shifts = ([_tensor(layer, f"{name}{i}", tensors).ravel() for i in every] for name in ("scale", "shift"))
        slopes = [
            _tensor(layer, f"slope{i}", tensors).ravel() if slope is None else np.array([slope], np.float32)
            for i, slope in enumerate(ending.slopes)
        ]
        scales += [_plain(tensors, node, "scale") for node in affine]
        shifts += [_plain(tensors, node, "shift") for node in affine]
        slopes += [np.ones(1, np.float32) for _ in affine]
        return _kernels.Ending.reals(
            scales=scales, shifts=shifts, slopes=slopes, pool=pool, per_position=ending.per_position
        )
    features = int(np.prod(layer.output(at))) if ending.per_position else layer.outputs
    flips = _bits(_tensor(layer, "flip", tensors), features)
    changes = np.empty(0, np.uint8)
    if ending.levels > 1 or ending.bits > 1:
        changes = _bits(_tensor(layer, "change", tensors), features)
    thresholds = _tensor(layer, "threshold", tensors).ravel()
    return _kernels.Ending.bits(
        thresholds=thresholds,
        flips=flips,
        changes=changes,
        planes=ending.bits,
        levels=ending.levels,
        pool=pool,
        per_position=ending.per_position,
    )


def _tensor(layer: Layer, name: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(tensors[f"{layer.name}.{name}"])


def _bits(octets: np.ndarray, features: int) -> np.ndarray:
    return np.unpackbits(octets, axis=-1, count=features, bitorder="little").ravel()


def add_graph(
    engine: _kernels.GraphEngine, graph: Graph, tensors: Mapping[str, np.ndarray], *, fuse: bool = True
) -> tuple[int, tuple[str, ...]]:
    """Add all nodes of a graph to an engine; return the number of the value that holds the logits, and step names.

    The name of a step is that of the node that runs by itself in it, or of the first node of its tail. A copy of bits
    into another border is named after its value, with `border`.

    Args:
        engine: An empty engine.
        graph: The graph, which fits the tensors.
        tensors: Tensors by name, as in the file.
        fuse: Whether nodes share passes over a map.
    """
    flows, planned = graph.flows(), plan(graph, fuse=fuse)
    pixels = engine.add_value(form="pixels", shape=graph.input, slot=-1)
    numbers = {Place(PIXELS): pixels}
    for place, slot in planned.slots.items():
        form, bits, at = flows[place.name]
        kind = "reals" if form == "reals" else "bits"
        *padding, ones = place.border
        numbers[place] = engine.add_value(form=kind, shape=at, planes=bits, padding=padding, ones=ones, slot=slot)
    names: list[str] = []
    for stage in planned.stages:
        _add_stage(engine, stage, graph, flows, tensors, numbers)
        if engine.steps > len(names):  # to flatten is to look at the same memory
            names.append((stage.head or stage.tail[0]).name)
        for place, copy in stage.copies:
            engine.add_copy(numbers[place], numbers[copy])
            names.append(f"{place.name} border")
    return numbers[Place(graph.nodes[-1].name)], tuple(names)


def _add_stage(
    engine: _kernels.GraphEngine,
    stage: Stage,
    graph: Graph,
    flows: Mapping[str, Flow],
    tensors: Mapping[str, np.ndarray],
    numbers: dict[Place, int],
) -> None:
    reads, head = [numbers[place] for place in stage.reads], stage.head
    stored = {place.name: numbers.get(place, -1) for place in stage.stored}
    if head is None:
        engine.add_tail(reads[0], _tail(stage, stage.reads[0].name, stored, flows, tensors, numbers))
    elif isinstance(head.op, Layer):
        at = flows[stage.reads[0].name].map
        if head.op.window_sum or (stage.tail and hosts(head.op)):
            ending = _kernels.Ending.sums()
            engine.wire(reads[0], _tail(stage, head.name, stored, flows, tensors, numbers))
        else:
            ending = engine_ending(head.op, at, tensors, stage.tail)
            engine.wire(reads[0], stored[stage.tail[-1].name if stage.tail else head.name])
        add_layer(engine, head.op, at, graph, tensors, ending)
    elif isinstance(head.op, Flatten):
        numbers[Place(head.name)] = engine.add_flat(reads[0])
    else:
        _add_plain(engine, head.op, reads, stored[head.name])


def _add_plain(engine: _kernels.GraphEngine, op: Operation, reads: list[int], writes: int) -> None:
    if isinstance(op, MaxPool):
        engine.add_max_pool(reads[0], writes, [op.kernel, op.stride, op.padding])
    elif isinstance(op, AveragePool):
        engine.add_average_pool(reads[0], writes, [op.kernel, op.stride, op.padding])
    elif isinstance(op, GlobalAverage):
        engine.add_global_average(reads[0], writes)
    elif isinstance(op, Subsample):
        engine.add_subsample(reads[0], writes, op.stride, op.before)
    else:
        engine.add_concat(reads, writes)


def _tail(
    stage: Stage,
    begins: str,
    stored: Mapping[str, int],
    flows: Mapping[str, Flow],
    tensors: Mapping[str, np.ndarray],
    numbers: Mapping[Place, int],
) -> _kernels.Tail:
    """The operations after a stage's head, or on the value that the stage reads."""
    at = flows[begins].map
    tail = _kernels.Tail(at)
    if stage.head is not None:
        assert isinstance(stage.head.op, Layer)
        _begin_tail(tail, stage.head.op, flows[stage.reads[0].name].map, tensors)

    signs: dict[str, list[Node]] = {}
    for node in stage.tail:
        if isinstance(node.op, Sign):
            signs.setdefault(node.inputs[0], []).append(node)

    def keep(name: str) -> None:
        """Stores the newest value and compares it, if required."""
        if name in stored and not (stage.head is None and name == begins):
            tail.store(stored[name])
        for node in signs.get(name, ()):
            flips = _bits(tensors[f"{node.name}.flip"], at.channels)
            tail.sign(_plain(tensors, node, "threshold"), flips, stored[node.name])

    keep(begins)
    for node in stage.tail:
        if isinstance(node.op, Sign):
            continue
        if isinstance(node.op, Affine):
            tail.affine(_plain(tensors, node, "scale"), _plain(tensors, node, "shift"))
        elif isinstance(node.op, Shift):
            tail.shift(_plain(tensors, node, "shift"))
        elif isinstance(node.op, TwoSlope):
            above, below = (
                _plain(tensors, node, side) if slope is None else np.array([slope], np.float32)
                for side, slope in (("above", node.op.above), ("below", node.op.below))
            )
            tail.slopes(above, below)
        elif isinstance(node.op, Clip):
            tail.clip(node.op.low, node.op.high)
        else:
            running = stage.running[node.name]
            other = node.inputs[1] if node.inputs[0] == running else node.inputs[0]
            tail.add(numbers[Place(other)])
        keep(node.name)
    return tail


def _begin_tail(tail: _kernels.Tail, layer: Layer, at: Map, tensors: Mapping[str, np.ndarray]) -> None:
    """The maps of a layer's own ending."""
    if layer.window_sum:
        names = ("sum_scale", "window_scale", "constant")
        scale, window_scale, constant = (_tensor(layer, name, tensors).ravel() for name in names)
        tail.window(scale, window_scale, constant, *layer.overlaps(at))
    for i, slope in enumerate(layer.ending.slopes):
        tail.affine(*(_tensor(layer, f"{name}{i}", tensors) for name in ("scale", "shift")))
        if slope != 1:
            below = _tensor(layer, f"slope{i}", tensors) if slope is None else np.array([slope], np.float32)
            tail.slopes(np.ones(1, np.float32), below)


def _plain(tensors: Mapping[str, np.ndarray], node: Node, name: str) -> np.ndarray:
    return np.ascontiguousarray(tensors[f"{node.name}.{name}"])
