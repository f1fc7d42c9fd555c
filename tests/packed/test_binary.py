"""Single binary layers: the oracle's sums of float arrays and of bits, and refused arguments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.packed.layers import EVERY_ISA, random_layers
from tests.packed.oracle import convolve, pack, sign
from xnorlit.packed import BinaryConv, BinaryLinear, pack_signs

every_isa = pytest.mark.parametrize("isa", EVERY_ISA)


@every_isa
@settings(max_examples=20, deadline=None)
@given(layer=random_layers(), threads=st.sampled_from([None, 1, 2]))
def test_a_convolution_gives_the_oracles_sums_of_floats_and_of_bits(isa, layer, threads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XNORLIT_KERNEL", isa)
        kind = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
        conv = BinaryConv(layer.weights * 0.5, **kind)
        expected = convolve(sign(layer.values), layer.weights, layer.stride, layer.padding, layer.groups)
        bits = pack(sign(layer.values))
        turned = np.asfortranarray(layer.values)
        for x in (layer.values, bits, turned, np.asfortranarray(bits), pack_signs(turned)):
            found = conv(x, threads=threads)
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, expected)
        scale = np.linspace(-2, 2, layer.outputs).astype(np.float32)
        found = BinaryConv(np.asfortranarray(layer.weights), **kind, scale=scale)(layer.values)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected.astype(np.float32) * scale)


@every_isa
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (31, 33), (64, 100), (777, 65)])
@pytest.mark.parametrize("images", [0, 1, 2, 7, 40])
def test_a_product_is_that_of_the_signs(isa, inputs, outputs, images, monkeypatch):
    monkeypatch.setenv("XNORLIT_KERNEL", isa)
    random = np.random.default_rng(inputs)
    weight, x = random.standard_normal((outputs, inputs)), random.standard_normal((images, inputs), np.float32)
    expected = sign(x) @ sign(weight).T
    linear = BinaryLinear(weight)
    np.testing.assert_array_equal(linear(x), expected)
    bits = pack_signs(x)
    if inputs % 8:
        bits[:, -1] |= 0x80  # what lies beyond the last channel is nobody's
    np.testing.assert_array_equal(linear(bits), expected)
    np.testing.assert_array_equal(linear(np.asfortranarray(bits)), expected)
    np.testing.assert_array_equal(BinaryLinear(weight, scale=np.full(outputs, 0.5))(x[::-1]), expected[::-1] * 0.5)


def test_another_size_prepares_the_layer_anew():
    conv = BinaryConv(np.ones((2, 3, 3, 40)), padding=1)
    for side in (5, 9, 5):
        assert conv(np.ones((1, side, side, 40), np.float32))[0, 2, 2, 0] == 360
    with pytest.raises(ValueError, match="x: a side of 1 with padding 0 is smaller than the kernel's 3"):
        BinaryConv(np.ones((2, 3, 3, 40)))(np.ones((1, 1, 5, 40), np.float32))


def test_signs_are_packed_from_the_lowest_bit_up_and_zero_is_positive():
    np.testing.assert_array_equal(pack_signs(np.array([0.0, -1, 1, -0.0, -2, -3, -4, 5, 6])), [0b10001101, 1])
    np.testing.assert_array_equal(pack_signs(np.array([[-1], [0]], np.int8)), [[0], [1]])


GOOD = np.ones((4, 3, 3, 8), np.float32)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"weight": [[1.0]]}, TypeError, "weight: expected a numpy array of floats or signed integers, found list"),
        ({"weight": GOOD > 0}, TypeError, "weight: .* found an array of bool"),
        ({"weight": GOOD.astype(np.uint8)}, TypeError, "weight: .* found an array of uint8"),
        ({"weight": GOOD[0]}, ValueError, r"weight: expected 4 dimensions, found the shape \[3, 3, 8\]"),
        ({"weight": GOOD[:0]}, ValueError, "weight: expected at least one value"),
        ({"stride": 0}, ValueError, "stride: expected 1 or more"),
        ({"stride": 1.5}, TypeError, "stride: expected a whole number or two"),
        ({"stride": (1, 2, 3)}, TypeError, "stride"),
        ({"padding": -1}, ValueError, "padding: expected 0 or more"),
        ({"padding": (3, 0)}, ValueError, "padding: expected less than the kernel"),
        ({"groups": 3}, ValueError, "groups: expected a divisor of 4 outputs"),
        ({"groups": True}, TypeError, "groups: expected a whole number"),
        ({"scale": np.ones(3, np.float32)}, ValueError, r"scale: expected the shape \[4\]"),
        ({"scale": np.ones(4, int)}, TypeError, "scale: expected a numpy array of floats"),
    ],
)
def test_an_unknown_layer_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        BinaryConv(**{"weight": GOOD, **given})


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((1, 5, 5, 8)), TypeError, "float32, or of uint8 from pack_signs, found an array of float64"),
        ([[1.0]], TypeError, "found list"),
        (
            np.ones((5, 5, 8), np.float32),
            ValueError,
            r"the shape \[N, H, W, 8\] of float32, found \[5, 5, 8\]",
        ),
        (np.ones((1, 5, 5, 9), np.float32), ValueError, r"\[N, H, W, 8\]"),
        (np.ones((1, 5, 5, 8), np.uint8), ValueError, r"\[N, H, W, 1\] of uint8"),
        (np.ones((1, 0, 5, 8), np.float32), ValueError, r"\[N, H, W, 8\]"),
    ],
)
def test_other_inputs_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        BinaryConv(GOOD)(x)


def test_other_thread_counts_are_refused():
    for threads, error in ((0, ValueError), (1.0, TypeError), (True, TypeError), (10**6, ValueError)):
        with pytest.raises(error, match="threads"):
            BinaryLinear(np.ones((2, 3)))(np.ones((1, 3), np.float32), threads=threads)
