"""Tiny graphs with every operation, for the tests of format version 3; without torch."""

from dataclasses import replace

import numpy as np

from tests.packed.shapes import node_tensors
from tests.packed.tiny import BITS, FLOAT, INT8, LINEAR, PIXELS, PLANE, REALS, SIGNS, TERNARY, THREE, codes, levels
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
    Shift,
    Sign,
    Subsample,
    TwoSlope,
)
from xnorlit.packed.layer import Ending, Layer, Operand, Window

SUMS = Ending("reals")
ONE = Window((1, 1))


def layer(name, reads, outputs, operand=SIGNS, weights=PLANE, ending=SUMS, window=THREE, **more):
    """A node of a layer; by default its sums stay unchanged."""
    if weights is FLOAT:
        more = {"accumulate": "fp64"} | more
    return Node(name, (reads,), Layer(name, outputs, operand, weights, ending, window, **more))


def step(name, op, *reads):
    return Node(name, reads, op)


def classifier(reads, classes=5):
    return (step("mean", GlobalAverage(), reads), layer("fc", "mean", classes, REALS, FLOAT, LINEAR, None))


GRAPHS = {
    # Bi-Real: a value with three readers, one shortcut that pools.
    "residual": (
        layer("stem", "pixels", 36, PIXELS, FLOAT),
        step("norm", Affine(), "stem"),
        step("pool", MaxPool(3, 2, 1), "norm"),
        step("sign1", Sign(), "pool"),
        layer("conv1", "sign1", 36, ending=LINEAR),
        step("norm1", Affine(), "conv1"),
        step("add1", Add(), "norm1", "pool"),
        step("sign2", Sign(), "add1"),
        layer("conv2", "sign2", 70, window=replace(THREE, stride=(2, 2))),
        step("norm2", Affine(), "conv2"),
        step("half", AveragePool(2, 2), "add1"),
        layer("down", "half", 70, REALS, FLOAT, window=ONE),
        step("norm3", Affine(), "down"),
        step("add2", Add(), "norm2", "norm3"),
        *classifier("add2"),
    ),
    # ReActNet: shifts and slopes, one value doubled, depthwise and grouped real convolutions.
    "slopes": (
        layer("stem", "pixels", 8, PIXELS, FLOAT, window=Window((3, 3), (2, 2), (1, 1))),
        layer("depth", "stem", 8, REALS, FLOAT, groups=8),
        layer("grouped", "depth", 32, REALS, FLOAT, groups=2),
        step("shift1", Shift(), "grouped"),
        step("slope", TwoSlope(1.0, None), "shift1"),
        step("shift2", Shift(), "slope"),
        step("signs", Sign(), "shift2"),
        layer("left", "signs", 32, window=ONE),
        step("left.norm", Affine(), "left"),
        step("left.add", Add(), "left.norm", "shift2"),
        layer("right", "signs", 32, groups=2),
        step("right.add", Add(), "shift2", "right"),
        step("both", Concat(), "left.add", "right.add", "left.add"),
        step("maxout", TwoSlope(None, None), "both"),
        step("clip", Clip(-1.0, 1.0), "maxout"),
        step("flat", Flatten(), "clip"),
        step("flat.norm", Affine(), "flat"),
        layer("fc", "flat.norm", 5, REALS, FLOAT, LINEAR, None),
    ),
    # QuickNet and IR-Net: a border of +1, option A, signs pooled, AdaBin's sum of the window, endings in bits.
    "ones": (
        layer("stem", "pixels", 8, PIXELS, FLOAT),
        step("relu", TwoSlope(1.0, 0.0), "stem"),
        step("sign1", Sign(), "relu"),
        layer("conv1", "sign1", 8, border="ones", ending=Ending("reals", slopes=(0.0, None))),
        step("add1", Add(), "conv1", "relu"),
        step("sign2", Sign(), "add1"),
        layer("wide", "sign2", 16, window_sum=True, window=replace(THREE, stride=(2, 2))),
        step("skip", Subsample(2, 4, 4), "add1"),
        step("add2", Add(), "wide", "skip"),
        step("sign3", Sign(), "add2"),
        step("sign3.pool", MaxPool(2, 1), "sign3"),
        layer("bits", "sign3.pool", 20, ending=BITS, border="ones"),
        layer("last", "bits", 16, window=Window((2, 2)), window_sum=True, groups=2, ending=LINEAR),
        step("twice", Add(), "last", "last"),
        *classifier("twice"),
    ),
    # 8-bit ends: a stem of pixels, shortcuts and a classifier of levels of reals. DoReFa: codes of a stream.
    "bytes": (
        layer("stem", "pixels", 8, PIXELS, INT8, LINEAR),
        step("shrunk", Affine(), "stem"),
        step("clip", Clip(-2.0, 2.0), "shrunk"),
        step("levels", Shift(), "clip"),
        layer("down", "levels", 12, Operand("reals", step=0.015625), INT8, LINEAR, Window((1, 1), (2, 2))),
        layer("wide", "levels", 12, Operand("reals", step=0.03125), INT8, LINEAR, Window((2, 2), (2, 2))),
        step("add1", Add(), "down", "wide"),
        step("codes", Layer("codes", 12, REALS, FLOAT, levels(2), ONE, 12, accumulate="fp64"), "add1"),
        layer("conv", "codes", 12, codes(2), TERNARY, LINEAR),
        step("add2", Add(), "conv", "add1"),
        step("mean", GlobalAverage(), "add2"),
        layer("fc", "mean", 5, Operand("reals", step=0.5), INT8, LINEAR, None),
    ),
}


def graph(nodes, size=8, classes=5):
    """A network of these nodes."""
    names = tuple(f"class {i}" for i in range(classes))
    return Graph("tiny", size, (128.0,) * 3, (64.0,) * 3, 1.0, False, names, nodes=tuple(nodes))


def tensors_of(graph, seed=0):
    """Random tensors of every node."""
    random, flows, found = np.random.default_rng(seed), graph.flows(), {}
    for node in graph.nodes:
        for name, (dtype, shape) in node_tensors(node, [flows[each].map for each in node.inputs]).items():
            if dtype == "f4":
                found[name] = random.normal(size=shape).astype("<f4")
            elif dtype == "i4":
                found[name] = random.integers(-9, 10, shape).astype("<i4")
            else:
                found[name] = random.integers(0, 256, shape).astype("u1").view(dtype)
    return found
