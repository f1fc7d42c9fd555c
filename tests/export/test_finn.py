"""FINN's form: which layers it builds, pixels as bytes, and the least numbers of each level."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.packed.graphs import GRAPHS
from tests.packed.graphs import graph as graph_of
from tests.packed.tiny import BITS, FLOAT, INT8, LINEAR, PIXELS, PLANE, REALS, SIGNS, TWO_BITS, graph, tensors_of
from xnorlit.errors import UserError
from xnorlit.export.finn import _least, _refuse, with_bytes
from xnorlit.packed.graph import Add, Flatten, MaxPool, Node
from xnorlit.packed.layer import Layer, Operand, Weights, Window

CONV = Layer("conv", 4, SIGNS, PLANE, BITS, Window((3, 3), (1, 1), (1, 1)))


def node(op, **changed):
    return Node("conv", ("pixels",), replace(op, **changed) if changed else op)


@pytest.mark.parametrize(
    ("op", "first", "message"),
    [
        (CONV, False, None),
        (MaxPool(2, 2), False, None),
        (replace(CONV, operand=PIXELS, weights=INT8), True, None),
        (replace(CONV, operand=PIXELS, weights=TWO_BITS), True, None),
        (replace(CONV, operand=Operand("codes", 3), weights=TWO_BITS), False, None),
        (replace(CONV, operand=Operand("reals", step=0.5), weights=INT8), False, None),
        (
            Add(),
            False,
            "Add between layers computes with reals, which FINN does not build; use a network without short",
        ),
        (Flatten(), False, "Flatten between layers computes with reals"),
        (
            replace(CONV, weights=FLOAT),
            True,
            "fp32, which FINN .*--model.layers.conv .*weight_bits: 8, input_bits: 32}}'",
        ),
        (replace(CONV, weights=FLOAT), False, "its weights are fp32, .*weight_bits: 8, input_bits: 8}}'.*--ends int8"),
        (replace(CONV, operand=REALS), False, "its inputs are real, which FINN does not build"),
        (replace(CONV, window_sum=True), False, "its two values per input are no signs"),
        (replace(CONV, border="ones"), False, "FINN pads with zeros, not with ones"),
        (replace(CONV, groups=2), False, "FINN's convolutions have one group; use groups=1"),
    ],
)
def test_what_finn_does_not_build_is_refused_with_what_it_builds(op, first, message):
    if message is None:
        _refuse(node(op), first=first)
        return
    with pytest.raises(UserError, match=f"^conv cannot be exported: .*{message}"):
        _refuse(node(op), first=first)


# --- pixels as bytes --------------------------------------------------------------------------------------------------
STEM = Layer("stem", 4, PIXELS, Weights("planes", (1, 2)), LINEAR, Window((3, 3)))
END = Layer("fc", 5, REALS, FLOAT, LINEAR)


def normalised(**changed):
    return replace(graph((STEM, END)), **({"mean": (128.0, 100.0, 90.0), "std": (64.0,) * 3} | changed))


def test_few_bit_weights_of_pixels_become_integers_on_their_bytes():
    given = normalised()
    tensors = tensors_of(given)
    changed, found = with_bytes(given, tensors)
    stem, end = changed.layers
    assert (stem.weights, stem.operand, end) == (Weights("int8"), PIXELS, END)
    assert found.keys() == {*tensors, "stem.fill"}
    planes = np.unpackbits(tensors["stem.weight"], axis=-1, count=3, bitorder="little").astype(int)
    weight = (2 * planes[0] - 1) + 2 * (2 * planes[1] - 1)
    np.testing.assert_array_equal(found["stem.weight"], weight)
    assert found["stem.weight"].dtype == np.int16
    assert found["stem.fill"].tolist() == [128, 100, 90]
    shift = (weight * np.array(given.mean)).sum((1, 2, 3))
    scale0 = tensors["stem.scale0"].astype(np.float64)
    np.testing.assert_allclose(found["stem.scale0"], scale0 / 64, rtol=1e-6)
    np.testing.assert_allclose(found["stem.shift0"], tensors["stem.shift0"] - scale0 * shift / 64, rtol=1e-5)
    for name in ("fc.weight", "fc.scale0"):
        assert found[name] is tensors[name]


def test_a_graph_of_nodes_stays_one():
    given = graph_of(GRAPHS["residual"])
    changed, found = with_bytes(given, {"a": np.zeros(1)})
    assert changed == given
    assert found.keys() == {"a"}


@pytest.mark.parametrize(
    ("layer", "changed", "message"),
    [
        (STEM, {"std": (64.0, 65.0, 64.0)}, "the channels of its pixels have several standard deviations"),
        (replace(STEM, window=None), {}, "it is not a convolution of the pixels; put one before it"),
        (
            replace(STEM, window=Window((3, 3), padding=(0, 1))),
            {"mean": (128.0, 100.5, 90.0)},
            "a mean that is not a byte",
        ),
        (
            replace(STEM, window=Window((3, 3), padding=(0, 1))),
            {"mean": (-60.0, 100.0, 90.0)},
            "a mean that is not a byte; train with a data.mean of whole numbers from 0 to 255",
        ),
        (replace(STEM, window=Window((3, 3), padding=(0, 1))), {"mean": (0.0, 255.0, 90.0)}, None),
        (STEM, {"mean": (-60.0, 100.0, 90.0)}, None),
        (replace(STEM, window=Window((3, 3), padding=(0, 1))), {}, None),
        (STEM, {"mean": (128.0, 100.5, 90.0)}, None),  # nothing is padded
    ],
)
def test_a_normalisation_that_cannot_follow_the_sums_is_refused(layer, changed, message):
    given = replace(normalised(**changed), layers=(layer, END))
    tensors = tensors_of(given)
    if message is None:
        assert with_bytes(given, tensors)[0].layers[0].weights == Weights("int8")
        return
    with pytest.raises(UserError, match=f"^stem cannot be exported: .*{re.escape(message)}"):
        with_bytes(given, tensors)


@pytest.mark.parametrize("step", [0.01, 0.5, 1.0, 0.0123456, 3e-5])
def test_each_level_begins_at_its_least_number(step):
    step = np.float32(step)
    least = _least(step)
    assert (least.shape, least.dtype) == ((255,), np.float32)
    levels = np.arange(1, 256)
    assert (np.rint(least / step) >= levels).all()
    assert (np.rint(np.nextafter(least, np.float32(0)) / step) < levels).all()
