"""Graphs give the reference's bits on all kernels, fused or not, for any number of threads and any batch."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.packed import reference, tiny
from tests.packed.graphs import GRAPHS, graph, layer, step, tensors_of
from tests.packed.layers import EVERY_ISA
from xnorlit.packed import _kernels
from xnorlit.packed import graph as g
from xnorlit.packed.document import parse, written
from xnorlit.packed.engine import PackedNetwork
from xnorlit.packed.isa import VARIABLE
from xnorlit.packed.layer import BORDERS, Ending, Map, Window

REALS, ONE = tiny.REALS, Window((1, 1))


def images_of(count, size=8, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def check(whole, tensors, images, threads=2):
    """Both ways of running it give the reference's logits, bit for bit."""
    expected = reference.run(whole, tensors, images)
    for fuse in (True, False):
        found = PackedNetwork(whole, tensors, fuse=fuse)(images, threads=threads)
        np.testing.assert_array_equal(found, expected, err_msg=f"fuse={fuse}")


@pytest.fixture(params=EVERY_ISA)
def isa(request, monkeypatch):
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS)
def test_every_operation(nodes, isa):
    whole = graph(nodes)
    tensors = tensors_of(whole)
    assert PackedNetwork(whole, tensors).isa == isa
    check(whole, tensors, images_of(3))


@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS)
def test_an_image_does_not_depend_on_its_batch_or_the_threads(nodes):
    whole = graph(nodes)
    network, images = PackedNetwork(whole, tensors_of(whole)), images_of(19)
    together = network(images, threads=2)
    np.testing.assert_array_equal(np.concatenate([network(images[i : i + 1], threads=1) for i in range(19)]), together)
    np.testing.assert_array_equal(network(images[:3], threads=5), together[:3])  # in the memory of the larger batch


@pytest.mark.parametrize("layers", tiny.NETWORKS.values(), ids=tiny.NETWORKS)
def test_a_chain_gives_the_same_as_a_graph(layers):
    chain = tiny.graph(layers)
    tensors, images = tiny.tensors_of(chain), images_of(5)
    expected = PackedNetwork(chain, tensors)(images)
    for fuse in (True, False):
        found = PackedNetwork(graph(chain.steps), tensors, fuse=fuse)(images)
        np.testing.assert_array_equal(found, expected)


class Drawn:
    """Nodes drawn at random: each reads one of the last values."""

    def __init__(self, draw):
        self.draw, self.nodes = draw, []
        self.flows = {g.PIXELS: g.Flow("pixels", 1, Map(6, 6, 3))}

    def add(self, op, *reads, **more):
        name = f"n{len(self.nodes)}"
        node = layer(name, *reads, **more) if op is None else step(name, op, *reads)
        self.nodes.append(node)
        self.flows[name] = g.flow(node.op, [self.flows[each] for each in node.inputs])
        return name

    def of(self, form, most=9):
        return [name for name, flow in self.flows.items() if flow.form == form][-most:]

    def elementwise(self, x):
        slopes = st.sampled_from([None, 1.0, 0.0, -0.5])
        low = self.draw(st.sampled_from([-1.0, -0.25]))
        ops = [g.Affine(), g.Affine(), g.Shift(), g.Clip(low, 1.0), g.TwoSlope(self.draw(slopes), self.draw(slopes))]
        return self.add(self.draw(st.sampled_from(ops)), x)

    def convolution(self, x, **more):
        at, draw = self.flows[x].map, self.draw
        kernel = draw(st.tuples(st.integers(1, min(3, at.height)), st.integers(1, min(3, at.width))))
        padding = tuple(draw(st.integers(0, side - 1)) for side in kernel)
        window = Window(kernel, draw(st.tuples(st.integers(1, 2), st.integers(1, 2))), padding)
        slopes = draw(st.sampled_from([(), (1.0,), (0.0, None)]))
        more = {"ending": Ending("reals", slopes=slopes), "window": window} | more
        outputs = draw(st.sampled_from([1, 8, 32, 64, 70]))
        groups = draw(st.sampled_from([n for n in (1, 1, 2, 32) if at.channels % n == outputs % n == 0]))
        return self.add(None, x, outputs=outputs, groups=groups, **more)

    def real(self, x):
        if self.draw(st.booleans()):
            groups = self.flows[x].map.channels  # depthwise
            return self.add(
                None, x, outputs=groups, groups=groups, operand=REALS, weights=tiny.FLOAT, ending=Ending("reals")
            )
        return self.convolution(x, operand=REALS, weights=tiny.FLOAT)

    def binary(self, x):
        sums = self.draw(st.booleans())
        more = {"border": self.draw(st.sampled_from(BORDERS)), "window_sum": sums}
        if not sums:
            more["weights"] = self.draw(st.sampled_from([tiny.PLANE, tiny.TERNARY]))
            if self.draw(st.integers(0, 3)) == 0:
                more["ending"] = tiny.BITS
        return self.convolution(x, **more)

    def other(self, x):
        at, draw = self.flows[x].map, self.draw
        size = draw(st.integers(1, min(3, at.height, at.width)))
        pad = draw(st.integers(0, size // 2))
        stride = draw(st.integers(1, 2))
        ops = [g.MaxPool(size, stride, pad), g.AveragePool(size, stride, pad)]
        ops += [g.Subsample(stride, draw(st.integers(0, 3)), draw(st.integers(0, 3))), g.GlobalAverage(), g.Flatten()]
        return self.add(draw(st.sampled_from(ops)), x)

    def step(self):
        draw = self.draw
        reals, signs = self.of("reals"), self.of("signs")
        x, kind = draw(st.sampled_from(reals)), draw(st.integers(0, 11))
        if kind < 3:
            self.elementwise(x)
        elif kind < 6:
            same = [name for name in reals if self.flows[name].map == self.flows[x].map]
            self.add(g.Add(), *draw(st.permutations([x, draw(st.sampled_from(same))])))
        elif kind < 7:
            flat = [name for name in reals if self.flows[name].map[:2] == self.flows[x].map[:2]]
            self.add(g.Concat(), x, draw(st.sampled_from(flat)))
        elif kind < 8:
            self.other(x)
        elif kind < 9:
            self.real(x)
        elif kind < 11 and signs:
            bits = draw(st.sampled_from(signs))
            if draw(st.integers(0, 4)) == 0:
                at = self.flows[bits].map
                self.add(g.MaxPool(min(2, at.height, at.width), 1), bits)
            else:
                self.binary(bits)
        else:
            self.add(g.Sign(), x)

    def finished(self):
        """The nodes, with every value read: each unread value ends in a mean, and the means are added."""
        read = {name for node in self.nodes for name in node.inputs}
        means = []
        for name in [name for name in self.flows if name not in read]:
            more = {"weights": tiny.FLOAT} if self.flows[name].form == "reals" else {"weights": tiny.PLANE}
            operand = REALS if self.flows[name].form == "reals" else tiny.SIGNS
            means.append(self.add(None, name, outputs=2, operand=operand, window=None, ending=tiny.LINEAR, **more))
        total = means[0]
        for mean in means[1:]:
            total = self.add(g.Add(), total, mean)
        if len(means) == 1:
            self.add(g.Shift(), total)
        return self.nodes


@st.composite
def random_graphs(draw):
    drawn = Drawn(draw)
    drawn.add(None, g.PIXELS, outputs=draw(st.sampled_from([1, 8, 32])), operand=tiny.PIXELS, weights=tiny.FLOAT)
    for _ in range(draw(st.integers(1, 14))):
        drawn.step()
    return graph(drawn.finished(), size=6, classes=2)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(whole=random_graphs(), seed=st.integers(0, 2**20), threads=st.integers(1, 3))
def test_random_graphs(isa, whole, seed, threads):
    tensors = tensors_of(whole, seed)
    assert parse(json.loads(written(whole))) == whole
    check(whole, tensors, images_of(2, 6, seed), threads)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(whole=random_graphs())
def test_the_planned_bound_covers_the_kernels_memory(whole):
    for fuse in (True, False):
        network = PackedNetwork(whole, tensors_of(whole), fuse=fuse)
        assert network._engine.arena_bytes <= plan(whole, fuse=fuse).arena_bytes


def plan(whole, fuse=True):
    return _kernels.Plan(written(whole), tensors_of(whole), fuse=fuse)


def passes(nodes):
    """The names of the nodes of each pass."""
    return plan(graph(nodes)).passes


def test_a_residual_block_is_one_pass_behind_each_convolution():
    found = passes(GRAPHS["residual"])
    assert ["conv1", "norm1", "add1", "sign2"] in found
    assert ["conv2", "norm2", "add2"] in found


def test_an_affine_node_goes_on_with_the_maps_of_a_real_layer():
    """Unless another node reads the layer's output, because an ending keeps only the last value."""
    assert ["down", "norm3"] in passes(GRAPHS["residual"])
    nodes = [
        layer("stem", "pixels", 70, tiny.PIXELS, tiny.FLOAT, ending=Ending("reals", slopes=(None,))),
        step("first", g.Affine(), "stem"),
        step("second", g.Affine(), "first"),
        step("slope", g.TwoSlope(None, None), "second"),
        layer("one", "slope", 8, REALS, tiny.FLOAT),
        step("norm", g.Affine(), "one"),
        step("both", g.Add(), "one", "norm"),
        layer("two", "both", 8, REALS, tiny.FLOAT),
        step("read", g.Affine(), "two"),
        step("again", g.Affine(), "read"),
        step("sum", g.Add(), "read", "again"),
        layer("fc", "sum", 5, REALS, tiny.FLOAT, tiny.LINEAR, None),
    ]
    assert passes(nodes) == [
        ["stem", "first", "second"],
        ["slope"],
        ["one"],
        ["norm", "both"],
        ["two", "read"],
        ["again", "sum"],
        ["fc"],
    ]
    whole = graph(nodes)
    check(whole, tensors_of(whole), images_of(2))


def test_values_between_the_nodes_of_a_pass_stay_in_registers():
    stored = set(plan(graph(GRAPHS["residual"])).stored)
    assert {"conv1", "norm1", "conv2", "norm2"}.isdisjoint(stored)
    assert {"pool", "add1", "sign2"} <= stored


def test_a_residual_sum_is_not_a_cycle():
    """`add` waits for `conv`, which waits for `x`: its pass cannot be the one that makes `x`."""
    nodes = [
        layer("stem", "pixels", 8, tiny.PIXELS, tiny.FLOAT),
        step("x", g.Shift(), "stem"),
        layer("conv", "x", 8, REALS, tiny.FLOAT),
        step("add", g.Add(), "x", "conv"),
        layer("fc", "add", 5, REALS, tiny.FLOAT, tiny.LINEAR, None),
    ]
    whole = graph(nodes)
    assert passes(nodes) == [["stem"], ["x"], ["conv"], ["add"], ["fc"]]
    check(whole, tensors_of(whole), images_of(2))


@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("outputs", [12, 64])
def test_signs_behind_groups_of_any_width(outputs, sums, isa):
    """Bits of a group that is no multiple of a word are made in a pass of their own."""
    nodes = [
        layer("stem", "pixels", 8, tiny.PIXELS, tiny.FLOAT),
        step("sign", g.Sign(), "stem"),
        layer("conv", "sign", outputs, groups=2, window_sum=sums, ending=tiny.LINEAR),
        step("norm", g.Affine(), "conv"),
        step("signs", g.Sign(), "norm"),
        layer("fc", "signs", 5, ending=tiny.LINEAR, window=None),
    ]
    whole = graph(nodes)
    check(whole, tensors_of(whole), images_of(2))


@pytest.mark.parametrize("op", [g.MaxPool(1, 1), g.TwoSlope(), g.Add()], ids=["pools", "slopes", "sums"])
def test_thousands_of_nodes_are_planned(op):
    """A plan whose work grows with the square of their number meets the time limit of every test."""
    nodes = [layer("stem", "pixels", 1, tiny.PIXELS, tiny.FLOAT)]
    for i in range(4093):
        nodes.append(step(f"n{i}", op, *[nodes[-1].name] * (2 if isinstance(op, g.Add) else 1)))
    nodes += [layer("fc", nodes[-1].name, 5, REALS, tiny.FLOAT, tiny.LINEAR, None)]
    whole = graph(nodes)
    assert PackedNetwork(whole, tensors_of(whole))(images_of(1), threads=1).shape == (1, 5)


def test_maps_that_are_not_needed_any_more_make_room():
    nodes = [layer("stem", "pixels", 8, tiny.PIXELS, tiny.FLOAT)]
    nodes += [layer(f"conv{i}", nodes[-1].name if not i else f"conv{i - 1}", 8, REALS, tiny.FLOAT) for i in range(9)]
    nodes += [layer("fc", "conv8", 5, REALS, tiny.FLOAT, tiny.LINEAR, None)]
    assert len(set(plan(graph(nodes)).slots)) == 2


def test_values_of_any_size_at_the_ends_of_what_floats_hold():
    """Zeros of both signs, subnormal numbers, and sums beyond the largest float."""
    whole = graph(GRAPHS["slopes"])
    tensors = tensors_of(whole)
    for name, values in tensors.items():
        if name.endswith(("shift", "scale")):
            values[::3] = [0.0, -0.0, 1e-42, 1e38, -1e38][len(name) % 5]
    with np.errstate(all="ignore"):
        expected = reference.run(whole, tensors, images_of(2))
    for fuse in (True, False):
        np.testing.assert_array_equal(PackedNetwork(whole, tensors, fuse=fuse)(images_of(2)), expected)
