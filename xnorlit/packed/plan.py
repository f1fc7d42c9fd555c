"""Plans how the engine runs a graph: groups nodes into stages and assigns values to memory slots.

A stage is one pass over a map. It consists of at most one node that must run on its own (a convolution, a pool) and a
tail of elementwise nodes and signs. Values inside a stage are written to memory only if another stage reads them.
Values that are never needed at the same time share a slot.
"""

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from xnorlit.packed.graph import Add, Affine, Clip, Flatten, Flow, Graph, Node, Operation, Shift, Sign, TwoSlope
from xnorlit.packed.layer import Layer
from xnorlit.packed.memory import ALIGNMENT, scratch_bytes, tail_scratch_bytes

ELEMENTWISE = (Affine, Shift, Add, TwoSlope, Clip)
ANY = (*ELEMENTWISE, Sign)


class Border(NamedTuple):
    """The border of a map of bits in memory: rows above, columns left, and whether they hold ones."""

    vertical: int = 0
    horizontal: int = 0
    ones: bool = False


class Place(NamedTuple):
    """A value in memory; bits may be stored several times, with different borders."""

    name: str
    border: Border = Border()


@dataclass
class Stage:
    """One pass.

    Attributes:
        head: The node that runs on its own; `None` for a tail alone.
        reads: Inputs of the head, or of a tail alone.
        tail: The nodes after it, in order. Each elementwise node works on the value of the one before it, a sign on the
            value of the node that it reads.
        running: For each elementwise node of the tail, the value that it works on.
        stored: Places of reals and bits that the stage writes.
        copies: Bits that are copied into another border after the stage.
    """

    head: Node | None
    reads: tuple[Place, ...]
    tail: list[Node] = field(default_factory=list)
    running: dict[str, str] = field(default_factory=dict)
    stored: tuple[Place, ...] = ()
    copies: tuple[tuple[Place, Place], ...] = ()


@dataclass(frozen=True)
class Plan:
    """Stages in the order in which they run.

    Attributes:
        stages: The stages.
        slots: Number of the slot of each place.
        arena_bytes: Bytes for one image: all slots, and the scratch of one stage at a time.
    """

    stages: tuple[Stage, ...]
    slots: dict[Place, int]
    arena_bytes: int


def hosts(layer: Layer) -> bool:
    """Whether any tail may follow a layer directly; not with groups, because each group has its own words of bits."""
    aligned = layer.groups == 1 or layer.outputs // layer.groups % 32 == 0
    return layer.binary and layer.operand.scale == "none" and maps(layer) and aligned


def maps(layer: Layer) -> bool:
    """Whether the maps of a layer's own ending may go on with affine nodes that follow it."""
    return layer.ending.form == "reals" and layer.pool is None and not layer.ending.per_position


def plan(graph: Graph, *, fuse: bool = True) -> Plan:
    """Plans a valid graph.

    Args:
        graph: The graph.
        fuse: Whether nodes share passes; otherwise each has its own.
    """
    flows = graph.flows()
    stages, made_in = _ordered(*_gathered(graph.nodes, fuse))
    _store(stages, made_in, graph, flows)
    slots, slot_bytes = _slots(stages, graph, flows)
    scratch = max((_scratch(stage, flows) for stage in stages), default=0)
    return Plan(tuple(stages), slots, slot_bytes + scratch)


def _gathered(nodes: Sequence[Node], fuse: bool) -> tuple[list[Stage], list[set[int]]]:
    """The stages, and for each stage those whose values it reads."""
    stages: list[Stage] = []
    direct: list[set[int]] = []
    waits: list[int] = []  # the stages that each one waits for, directly or not, as bits of a number
    end: list[str | None] = []  # for a stage with a tail, the value that the next node would work on
    takes: list[tuple[type, ...]] = []  # the operations that the tail of a stage may have
    readers = Counter(name for node in nodes for name in node.inputs)
    made_in: dict[str, int] = {}

    def before(names: Sequence[str]) -> int:
        """The stages that make these values, and all stages that those wait for."""
        found = 0
        for name in names:
            if name in made_in:
                found |= waits[made_in[name]] | 1 << made_in[name]
        return found

    def begin(head: Node | None, reads: Sequence[str], operations: tuple[type, ...], value: str) -> int:
        stages.append(Stage(head, tuple(Place(name) for name in reads)))
        direct.append({made_in[name] for name in reads if name in made_in})
        waits.append(before(reads))
        takes.append(operations)
        end.append(value if operations else None)
        return len(stages) - 1

    def join(at: int, reads: Sequence[str]) -> None:
        """Make stage `at`, and all that wait for it, wait for the stages that make these values."""
        more = before(reads) & ~(1 << at)
        direct[at] |= {made_in[name] for name in reads if name in made_in} - {at}
        if more | waits[at] == waits[at]:
            return
        waits[at] |= more
        for other, waited in enumerate(waits):
            if waited >> at & 1:
                waits[other] |= waits[at]

    for node in nodes:
        if isinstance(node.op, Sign):
            source = node.inputs[0]
            at = made_in.get(source, -1) if fuse else -1
            if at < 0 or Sign not in takes[at]:
                at = begin(None, node.inputs, ANY, source)
            stages[at].tail.append(node)
        elif isinstance(node.op, ELEMENTWISE):
            at, running = -1, ""
            for source, other in zip(node.inputs, reversed(node.inputs), strict=True):
                here = made_in.get(source, -1)
                if not fuse or here < 0 or end[here] != source or not isinstance(node.op, takes[here]):
                    continue
                if takes[here] != ANY and readers[source] > 1:  # an ending leaves only the last value
                    continue
                if made_in.get(other) != here and before([other]) >> here & 1:  # it follows from this stage
                    continue
                # A convolution's sums are in a register; of two convolutions, the later one's are.
                if at < 0 or (stages[here].head is not None, here) > (stages[at].head is not None, at):
                    at, running = here, source
            if at < 0:
                running = node.inputs[0]
                at = begin(None, [running], ANY, running)
            stages[at].running[node.name] = running
            stages[at].tail.append(node)
            end[at] = node.name
            join(at, node.inputs)
        else:
            at = begin(node, node.inputs, _tail_of(node.op), node.name)
        made_in[node.name] = at
    return stages, direct


def _tail_of(op: Operation) -> tuple[type, ...]:
    """The operations that may follow a node in its pass."""
    if isinstance(op, Layer) and hosts(op):
        return ANY
    return (Affine,) if isinstance(op, Layer) and maps(op) else ()


def _ordered(stages: list[Stage], direct: list[set[int]]) -> tuple[list[Stage], dict[str, int]]:
    """The stages, each after those it reads from, and the number of the stage that makes each value."""
    left = [len(read) for read in direct]
    followers: list[list[int]] = [[] for _ in stages]
    for at, read in enumerate(direct):
        for other in read:
            followers[other].append(at)
    ready = [at for at, count in enumerate(left) if not count]
    order = []
    while ready:
        at = heapq.heappop(ready)
        order.append(at)
        for follower in followers[at]:
            left[follower] -= 1
            if not left[follower]:
                heapq.heappush(ready, follower)
    ordered = [stages[at] for at in order]
    made_in = {}
    for number, stage in enumerate(ordered):
        for node in ([stage.head] if stage.head else []) + stage.tail:
            made_in[node.name] = number
    return ordered, made_in


def _store(stages: list[Stage], made_in: dict[str, int], graph: Graph, flows: dict[str, Flow]) -> None:
    """Decides what each stage reads and writes in memory, and which borders bits have there."""
    borders: dict[str, list[Border]] = {}
    stored = {graph.nodes[-1].name}
    for node in graph.nodes:
        here = made_in[node.name]
        for name in node.inputs:
            if flows[name].form in ("signs", "codes"):
                wanted = borders.setdefault(name, [])
                border = _border(node)
                if border is not None and border not in wanted:
                    wanted.append(border)
            inside = made_in.get(name) == here and (
                isinstance(node.op, Sign) or stages[here].running.get(node.name) == name
            )
            # A value that is added to itself, or later to the running value, is also read from memory.
            if not inside or node.inputs.count(name) > 1:
                stored.add(name)
    for node in graph.nodes:
        stage, form = stages[made_in[node.name]], flows[node.name].form
        if form in ("signs", "codes"):
            first, *others = borders.get(node.name) or [Border()]
            place = Place(node.name, first)
            stage.stored += (place,)
            stage.copies += tuple((place, Place(node.name, other)) for other in others)
        elif node.name in stored:
            stage.stored += (Place(node.name),)
    for stage in stages:
        if stage.head is None:
            continue
        wanted = _border(stage.head)
        places = []
        for name, _ in stage.reads:
            known = borders.get(name) or [Border()]
            places.append(Place(name, known[0] if wanted is None else wanted) if name in borders else Place(name))
        stage.reads = tuple(places)


def _border(node: Node) -> Border | None:
    """The border that a node needs around bits; `None` if any border is suitable."""
    if not isinstance(node.op, Layer):
        return None
    if not node.op.binary or node.op.window is None:
        return Border()
    vertical, horizontal = node.op.window.padding
    return Border(vertical, horizontal, node.op.border == "ones" and (vertical > 0 or horizontal > 0))


def _bytes(place: Place, flow: Flow) -> int:
    at = flow.map
    if flow.form == "reals":
        return 4 * math.prod(at)
    rows, columns = at.height + 2 * place.border.vertical, at.width + 2 * place.border.horizontal
    return 4 * flow.bits * rows * columns * ((at.channels + 31) // 32)


def _slots(stages: Sequence[Stage], graph: Graph, flows: dict[str, Flow]) -> tuple[dict[Place, int], int]:
    """Slots by liveness, and their total size in bytes."""
    root = {}  # a flattened value shares the memory of the value it reads
    for node in graph.nodes:
        if isinstance(node.op, Flatten):
            root[Place(node.name)] = root.get(Place(node.inputs[0]), Place(node.inputs[0]))
    last: dict[Place, int] = {}
    for number, stage in enumerate(stages):
        added = [Place(name) for node in stage.tail for name in node.inputs if flows[name].form == "reals"]
        for place in (*stage.reads, *stage.stored, *added, *(copy for pair in stage.copies for copy in pair)):
            last[root.get(place, place)] = number
    last[root.get(Place(graph.nodes[-1].name), Place(graph.nodes[-1].name))] = len(stages)
    ends: dict[int, list[Place]] = {}
    for place, number in last.items():
        ends.setdefault(number, []).append(place)
    slots: dict[Place, int] = {}
    sizes: list[int] = []
    free: dict[object, list[int]] = {}  # by kind: reals, or one map of bits
    for number, stage in enumerate(stages):
        for place in (*stage.stored, *(copy for _, copy in stage.copies)):
            if place in root:
                continue
            kind, size = _kind(place, flows), _bytes(place, flows[place.name])
            idle = free.setdefault(kind, [])
            if idle:
                large = [slot for slot in idle if sizes[slot] >= size]
                slot = min(large, key=sizes.__getitem__) if large else max(idle, key=sizes.__getitem__)
                idle.remove(slot)
                sizes[slot] = max(sizes[slot], size)
            else:
                slot = len(sizes)
                sizes.append(size)
            slots[place] = slot
        for place in ends.get(number, ()):
            if place in slots:
                free.setdefault(_kind(place, flows), []).append(slots[place])
    return slots, sum(sizes) + 2 * ALIGNMENT * len(sizes)


def _kind(place: Place, flows: dict[str, Flow]) -> object:
    flow = flows[place.name]
    return "reals" if flow.form == "reals" else (flow.bits, flow.map, place.border)


def _scratch(stage: Stage, flows: dict[str, Flow]) -> int:
    if stage.head is None or not isinstance(stage.head.op, Layer):
        return 0
    layer, at = stage.head.op, flows[stage.reads[0].name].map
    return scratch_bytes(layer, at) + tail_scratch_bytes(layer, at)
