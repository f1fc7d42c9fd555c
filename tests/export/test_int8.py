"""Layers of 8 bits: hand-computed weights, scales, thresholds and shifts, and layers that stay real."""

import numpy as np
import pytest

from xnorlit.errors import UserError
from xnorlit.export.int8 import int8_conv, int8_linear, int8_reals, takes_levels
from xnorlit.packed.layer import Ending, Layer, Operand, Weights, Window

MEAN, STD = (100.4, 127.5, 90.0), (50.0, 60.0, 70.0)


def layer(form="pixels", ending="reals", window=(3, 3), groups=1, weights="float", padding=(0, 0)):
    end = Ending("reals", slopes=(1.0,)) if ending == "reals" else Ending("signs")
    at = None if window is None else Window(window, padding=padding)
    return Layer("conv1", 4, Operand(form), Weights(weights), end, at, groups)


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def reals(tensors, n):
    return n * tensors["scale0"].astype(np.float64) + tensors["shift0"]


@pytest.mark.parametrize("ending", ["reals", "signs"])
def test_a_convolution_of_bytes_is_that_of_normalised_pixels_up_to_half_a_step(ending):
    weight, of_ending = drawn(4, 3, 3, 3), {"scale0": drawn(4) + 3, "shift0": drawn(4)}
    weight[1] = 0  # a dead channel divides by nothing
    if ending == "signs":
        of_ending = {"threshold": np.array([0.5, -1.25, 0, np.inf], np.float32), "flip": np.zeros(1, np.uint8)}
    found, tensors = int8_conv(layer(ending=ending), {"weight": weight, **of_ending}, MEAN, STD)
    assert found.weights == Weights("int8")
    assert tensors["weight"].dtype == np.int8
    most = np.abs(tensors["weight"].astype(int)).reshape(4, -1).max(axis=1)
    assert most.tolist() == [127, 0, 127, 127]
    assert tensors["fill"].dtype == np.uint8
    assert tensors["fill"].tolist() == [100, 128, 90]
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3, 3)).astype(np.float64)
    sums = (tensors["weight"].astype(np.float64) * pixels).sum((1, 2, 3))
    exact = (weight * (pixels - MEAN) / STD).sum((1, 2, 3))
    scale = np.abs(weight / np.array(STD)).reshape(4, -1).max(axis=1)
    scale[1] = 1
    scale /= 127
    off = 0.5 * scale * np.abs(pixels - MEAN).sum() + 1e-3
    if ending == "reals":
        expected = exact * of_ending["scale0"] + of_ending["shift0"]
        assert (np.abs(reals(tensors, sums) - expected) <= off * np.abs(of_ending["scale0"])).all()
        assert tensors["shift0"][1] == of_ending["shift0"][1], "of zeros only the shift is left"
        return
    shift = (tensors["weight"].astype(np.float64) * MEAN).sum((1, 2, 3))
    expected = np.ceil(np.clip(of_ending["threshold"] / scale + shift, 1 - 2**31, 2**31 - 1))
    assert tensors["threshold"].dtype == np.int32
    np.testing.assert_array_equal(tensors["threshold"], expected)
    assert tensors["threshold"][3] == 2**31 - 1, "never reached"


@pytest.mark.parametrize(
    ("mean", "fill"),
    [((-0.4, 255.4, 100.6), [0, 255, 101]), ((-3, 300, 255), None), ((-0.6, 0, 0), None), ((0, 255.6, 0), None)],
)
def test_pixels_are_padded_with_a_mean_that_a_pixel_may_have(mean, fill):
    tensors = {"weight": drawn(4, 3, 3, 3), "scale0": drawn(4), "shift0": drawn(4)}
    int8_conv(layer(), tensors, mean, STD)  # nothing is padded
    if fill is not None:
        assert int8_conv(layer(padding=(0, 1)), tensors, mean, STD)[1]["fill"].tolist() == fill
        return
    said = rf"^conv1 cannot be packed in int8: it pads the pixels with their mean, \({mean[0]}, .*Expected 0 to 255,"
    with pytest.raises(UserError, match=said):
        int8_conv(layer(padding=(0, 1)), tensors, mean, STD)


@pytest.mark.parametrize("given", [layer(window=None), layer(groups=2)])
def test_only_a_convolution_without_groups_reads_bytes(given):
    with pytest.raises(UserError, match="conv1 cannot be packed in int8: it is not a convolution without groups"):
        int8_conv(given, {"weight": drawn(4, 3, 3, 3)}, MEAN, STD)


@pytest.mark.parametrize(
    ("given", "takes"),
    [
        (layer("reals"), True),
        (layer("reals", window=None), True),
        (layer("pixels"), False),
        (layer("reals", weights="planes"), False),
        (layer("reals", groups=2), False),
        (layer("reals", padding=(1, 0)), False),
        (layer("reals", padding=(0, 1)), False),
    ],
)
def test_which_layers_of_reals_may_compute_in_bytes(given, takes):
    assert takes_levels(given) is takes


@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (-0.5, 3.0), (-3.0, 0.5), (-2.0, -1.0)])
def test_a_layer_of_reals_has_256_levels_around_zero_or_from_it(low, high):
    weight = drawn(4, 1, 1, 5)
    given = {"weight": weight, "scale0": np.ones(4, np.float32), "shift0": drawn(4)}
    found, tensors, middle = int8_reals(layer("reals", window=(1, 1)), given, low, high)
    step, most = found.operand.step, max(-low, high)
    assert step == pytest.approx((2 if low < 0 else 1) * most / 255)
    assert middle == (np.float32(128 * np.float32(step)) if low < 0 else 0)
    x = np.random.default_rng(2).uniform(low, high, 5)
    levels = np.rint((x + middle) / step)
    assert levels.min() >= 0
    assert levels.max() <= 256
    sums = (tensors["weight"].astype(np.float64) * levels).sum((1, 2, 3))
    exact = (weight * x).sum((1, 2, 3)) + given["shift0"]
    off = 0.5 * step * np.abs(weight).sum((1, 2, 3)) + np.abs(weight).max() / 254 * np.abs(x).sum() + 1e-3
    assert (np.abs(reals(tensors, sums) - exact) <= off).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (-1.0, np.inf), (-np.inf, 0.0), (1.0, np.nan)])
def test_inputs_that_say_nothing_of_their_range_are_refused(low, high):
    with pytest.raises(UserError, match=f"its inputs on the calibration images lie between {low:g} and {high:g}"):
        int8_reals(layer("reals"), {"weight": drawn(4, 1, 1, 5)}, low, high)


def test_a_linear_layer_has_256_levels_up_to_its_largest_input():
    weight = drawn(4, 1, 1, 5)
    given = {"weight": weight, "scale0": np.array([1, 2, 1, 1], np.float32), "shift0": drawn(4)}
    inputs = np.array([[0.0, 0.25], [2.55, 1.0]])
    found, tensors = int8_linear(layer("reals", window=None), given, inputs)
    assert found.operand.step == np.float32(0.01)
    assert found.weights == Weights("int8")
    scale = np.abs(weight).reshape(4, -1).max(axis=1) / 127
    np.testing.assert_allclose(tensors["scale0"], given["scale0"] * scale * 0.01, rtol=1e-6)
    np.testing.assert_array_equal(tensors["shift0"], given["shift0"])
    np.testing.assert_array_equal(tensors["weight"], np.rint(weight / scale[:, None, None, None]))


@pytest.mark.parametrize(
    ("inputs", "said"), [([], "0 and 0"), ([-0.1, 2.0], "-0.1 and 2"), ([0.0, 0.0], "0 and 0"), ([-1.0], "-1 and 0")]
)
def test_a_linear_layers_inputs_come_from_a_relu(inputs, said):
    with pytest.raises(UserError, match=f"its inputs lie between {said}, expected inputs after a ReLU"):
        int8_linear(layer("reals", window=None), {"weight": drawn(4, 1, 1, 5)}, np.array(inputs))
