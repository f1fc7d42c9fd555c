"""Each plain operation of a format computes what its name says, on its own runtime."""

from importlib import import_module

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.packed.graphs import GRAPHS
from tests.packed.graphs import graph as graph_of
from xnorlit.errors import UserError
from xnorlit.export import onnx, openvino, openvino_nodes
from xnorlit.export.openvino_nodes import Nodes as OpenVINO
from xnorlit.export.operations import Operations, Window
from xnorlit.export.steps import Steps
from xnorlit.packed.layer import Map

SIDE = 8
FORMATS = ("openvino", "onnx", "onnx-qdq")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
PIXELS = RANDOM.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)


def drawn(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def computed(format, operation, count, given=X):
    """What a runtime makes of an operation on the images, or on their pixels."""
    graph = graph_of(GRAPHS["residual"], SIDE, count)
    raw = given.dtype == np.uint8
    if format == "openvino":
        pytest.importorskip("openvino")
        package = import_module("openvino")
        ops = OpenVINO(package, import_module("openvino.opset13"), graph, len(given), normalized_input=not raw)
    else:
        pytest.importorskip("onnxruntime")
        helper = import_module("onnx.helper")
        ops = onnx.Nodes(helper, graph, normalized_input=not raw, qdq=format == "onnx-qdq")
    logits = ops.features(operation(ops, ops.pixels(normalized=not raw)), count)
    if format != "openvino":
        return onnx.Network(ops.model(ops.output(logits)).SerializeToString(), 1, 1)(given)
    model = package.Model([logits], [ops.parameter], "test")
    compiled = openvino.core().compile_model(model, "CPU", openvino.PRECISION | {"INFERENCE_NUM_THREADS": 1})
    return compiled(given)[0].copy()


def torchs(function, given=X):
    return function(torch.from_numpy(given)).numpy()


CHANNELS, PLACES = drawn(3), drawn(3, SIDE, SIDE)
UNEVEN = Window((2, 1), (1, 0))
STEPS = Steps(np.array([[0, 1, -1], [0.5, 2, -0.5]], np.float32), np.array([0, 3, 2], np.float32),
              np.array([[1, -3, 0], [2, 0, 1]], np.float32))  # fmt: skip
SIGNS = Steps(np.array([[0, 0.5, -0.25]], np.float32), np.array([-1, 1, -1], np.float32), np.array([[2, -2, 2]], "f4"),
              signs=True)  # fmt: skip
TURNING = Steps(np.array([[0, 0.5, -1], [0.5, 1, 0]], np.float32), np.ones(3, np.float32),
                np.array([[-2] * 3, [2] * 3], np.float32), signs=True)  # fmt: skip
POSITIVE = RANDOM.random((6, 3, 3, 2)) < 0.5


def stepped(steps, x=X):
    total = np.broadcast_to(steps.start[:, None, None], x.shape)
    for above, change in zip(steps.above, steps.change, strict=True):
        total = total + change[:, None, None] * (x > above[:, None, None])
    return total


def sign_sums(positive, window, *, groups=1):
    signs = stepped(SIGNS)
    rows, columns = window.padding
    signs = np.pad(signs, ((0, 0), (0, 0), (rows, rows), (columns, columns)), constant_values=window.border)
    weight = torch.from_numpy(2 * positive.astype(np.float32) - 1)
    return F.conv2d(torch.from_numpy(signs), weight, stride=window.stride, groups=groups).numpy()


def strided(before, after):
    return lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, after))


CASES = {
    "steps": (lambda ops, x: ops.steps(x, STEPS), stepped(STEPS)),
    "signs": (lambda ops, x: ops.steps(x, SIGNS), stepped(SIGNS)),
    "signs that start and end at +1": (lambda ops, x: ops.steps(x, TURNING), stepped(TURNING)),
    "multiply": (lambda ops, x: ops.multiply(x, CHANNELS), X * CHANNELS[:, None, None]),
    "multiply places": (lambda ops, x: ops.multiply(x, PLACES), X * PLACES),
    "add": (lambda ops, x: ops.add(x, CHANNELS), X + CHANNELS[:, None, None]),
    "add places": (lambda ops, x: ops.add(x, PLACES), X + PLACES),
    "relu": (lambda ops, x: ops.kink(x, np.zeros(3, np.float32)), X.clip(0)),
    "kink": (lambda ops, x: ops.kink(x, CHANNELS), X.clip(0) + CHANNELS[:, None, None] * X.clip(max=0)),
    "kink places": (lambda ops, x: ops.kink(x, PLACES), X.clip(0) + PLACES * X.clip(max=0)),
    "kink of one": (
        lambda ops, x: ops.kink(x, np.array([0, 0, 0.5], np.float32)),
        np.concatenate([X[:, :2].clip(0), np.where(X[:, 2:] > 0, X[:, 2:], 0.5 * X[:, 2:])], 1),
    ),
    "clip": (lambda ops, x: ops.clip(x, -0.5, 0.75), X.clip(-0.5, 0.75)),
    "sum": (lambda ops, x: ops.sum(x, ops.multiply(x, CHANNELS)), X * (1 + CHANNELS[:, None, None])),
    "product": (lambda ops, x: ops.product(x, ops.mean_magnitude(x)), X * np.abs(X).mean(1, keepdims=True)),
    "mean": (lambda ops, x: ops.mean(x), X.mean((2, 3))),
    "average pool": (
        lambda ops, x: ops.average_pool(x, (2, 3), Window((2, 1), (0, 1))),
        torchs(lambda x: F.avg_pool2d(x, (2, 3), (2, 1), (0, 1))),
    ),
    "max pool": (lambda ops, x: ops.max_pool(x, 3, 2, 1), torchs(lambda x: F.max_pool2d(x, 3, 2, 1))),
    "max pool of negatives": (
        lambda ops, x: ops.max_pool(ops.add(x, np.full(3, -9, np.float32)), 2, 1, 1),
        torchs(lambda x: F.max_pool2d(x - 9, 2, 1, 1)),
    ),
    "subsample": (lambda ops, x: ops.subsample(x, 2, 1, 2), torchs(strided(1, 2))),
    "concat": (lambda ops, x: ops.concat([x, ops.clip(x, 0, 1), x]), np.concatenate([X, X.clip(0, 1), X], 1)),
    "padded": (lambda ops, x: ops.padded(x, (1, 2)), np.pad(X, ((0, 0), (0, 0), (1, 1), (2, 2)))),
    "positions first": (lambda ops, x: ops.positions_first(x), X.transpose(0, 2, 3, 1)),
    "as map": (
        lambda ops, x: ops.mean(ops.as_map(ops.features(x, 192), Map(4, 8, 6))),
        X.reshape(2, 6, 4, 8).mean((2, 3)),
    ),
    "linear": (
        lambda ops, x: ops.linear(ops.features(x, 192), drawn(5, 192)),
        X.reshape(2, 192) @ drawn(5, 192).T,
    ),
    "convolution": (
        lambda ops, x: ops.convolution(x, drawn(6, 3, 3, 2), UNEVEN),
        torchs(lambda x: F.conv2d(x, torch.from_numpy(drawn(6, 3, 3, 2)), None, (2, 1), (1, 0))),
    ),
    "grouped convolution": (
        lambda ops, x: ops.convolution(x, drawn(6, 1, 3, 2), Window((2, 1), (1, 0), 3)),
        torchs(lambda x: F.conv2d(x, torch.from_numpy(drawn(6, 1, 3, 2)), None, (2, 1), (1, 0), groups=3)),
    ),
    "levels": (lambda ops, x: ops.levels(x, 0.01), np.rint((X / np.float32(0.01)).clip(0, 255))),
    "byte linear": (
        lambda ops, x: ops.byte_linear(ops.features(x, 192), 0.01, np.arange(-96, 96, dtype=np.int8).reshape(1, 192)),
        np.rint((X.reshape(2, 192) / np.float32(0.01)).clip(0, 255)) @ np.arange(-96, 96)[:, None],
    ),
    "linear of small integers": (
        lambda ops, x: ops.linear(ops.features(x, 192), 2 * (drawn(5, 192) > 0).astype(np.float32) - 1),
        X.reshape(2, 192) @ (2 * (drawn(5, 192) > 0).astype(np.float32) - 1).T,
    ),
    "linear of small integers and codes": (
        lambda ops, x: ops.linear(ops.features(ops.steps(x, STEPS), 192), np.ones((1, 192), np.float32)),
        stepped(STEPS).reshape(2, 192).sum(1, keepdims=True),
    ),
    "sums of signs": (lambda ops, x: ops.sign_sums(x, SIGNS, POSITIVE, UNEVEN), sign_sums(POSITIVE, UNEVEN)),
    "sums of signs with ones around": (
        lambda ops, x: ops.sign_sums(x, SIGNS, POSITIVE, Window((1, 2), (2, 1), border=1)),
        sign_sums(POSITIVE, Window((1, 2), (2, 1), border=1)),
    ),
    "sums of groups of signs": (
        lambda ops, x: ops.sign_sums(x, SIGNS, POSITIVE[:, :1], Window((2, 1), (1, 0), 3)),
        sign_sums(POSITIVE[:, :1], UNEVEN, groups=3),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("format", FORMATS)
def test_an_operation_computes_what_its_name_says(format, name):
    operation, expected = CASES[name]
    found = computed(format, operation, int(np.prod(expected.shape[1:])))
    np.testing.assert_allclose(found, expected.reshape(2, -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", [(0, 0), (1, 2)])
@pytest.mark.parametrize("format", FORMATS)
def test_a_convolution_of_bytes_pads_each_channel_with_its_own_value(format, padding):
    weight = np.random.default_rng(2).integers(-127, 128, (4, 3, 3, 2)).astype(np.int8)
    fill = np.array([0, 100, 255], np.uint8)
    (rows, columns), maps = padding, PIXELS.transpose(0, 3, 1, 2).astype(np.float32)
    padded = np.stack(
        [np.pad(maps[:, c], ((0, 0), (rows, rows), (columns, columns)), constant_values=fill[c]) for c in range(3)], 1
    )
    expected = F.conv2d(torch.from_numpy(padded), torch.from_numpy(weight.astype(np.float32)), stride=(2, 1)).numpy()
    found = computed(
        format,
        lambda ops, x: ops.byte_convolution(x, weight, fill, Window((2, 1), padding)),
        int(np.prod(expected.shape[1:])),
        PIXELS,
    )
    np.testing.assert_array_equal(found, expected.reshape(2, -1))


@pytest.mark.parametrize("format", FORMATS)
def test_sums_of_bytes_beyond_fp32_are_refused(format, monkeypatch):
    """fp32 holds 2^24, and 255 times the magnitudes of a filter's weights may not exceed it."""
    weight = np.full((2, 3, SIDE, SIDE), 127, np.int8)
    weight[0] = 0  # a filter after the first counts too
    operation = lambda ops, x: ops.byte_convolution(x, weight, np.zeros(3, np.uint8), Window())  # noqa: E731
    assert computed(format, operation, 2, PIXELS).shape == (2, 2)
    most = 255 * 127 * 3 * SIDE * SIDE
    monkeypatch.setattr(openvino_nodes if format == "openvino" else onnx, "EXACT", most)
    computed(format, operation, 2, PIXELS)
    monkeypatch.setattr(openvino_nodes if format == "openvino" else onnx, "EXACT", most - 1)
    with pytest.raises(UserError, match="stem cannot be exported: its sums of bytes exceed what fp32 holds"):
        computed(format, operation, 2, PIXELS)


@pytest.mark.parametrize("format", FORMATS)
def test_raw_pixels_cannot_be_had_from_normalised_images(format):
    with pytest.raises(UserError, match="stem cannot be exported: its 8-bit form reads uint8 pixels; omit normalized"):
        computed(format, lambda ops, x: ops.pixels(normalized=False), 192)


@pytest.mark.parametrize("format", FORMATS)
def test_pixels_are_normalised_by_the_graphs_mean_and_deviation(format):
    """128 and 64."""
    expected = (PIXELS.transpose(0, 3, 1, 2).astype(np.float32) - 128) / 64
    found = computed(format, lambda ops, x: ops.pixels(normalized=True), 192, PIXELS)
    np.testing.assert_array_equal(found, expected.reshape(2, -1))


def test_a_format_without_8_bit_convolutions_of_reals_says_so():
    class Least(Operations):
        """All that a format has to have, and no more."""

    Least.__abstractmethods__ = frozenset()
    with pytest.raises(UserError, match="a convolution of reals in 8 bits cannot be exported in this format"):
        Least().levels("x", 0.5)
    assert Least().integer_sums("x", SIGNS, POSITIVE, Window()) is None
    assert Least().bordered("x", Window((2, 2), (1, 1))) == ("x", Window((2, 2), (1, 1))), "no border"
    assert Least().bordered("x", Window((2, 2), border=1)) == ("x", Window((2, 2), border=1)), "no padding"
