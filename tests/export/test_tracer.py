"""The graph of a forward, the values of its nodes, and the user's line that an error names."""

import operator
import os

import pytest
import torch
from torch import nn

from xnorlit.errors import UserError
from xnorlit.export import tracer
from xnorlit.export.functions import Moving
from xnorlit.export.operands import first_line
from xnorlit.export.tracer import Values, _users_line, graph_of, place_of
from xnorlit.layers import BatchNorm2d, BinaryConv2d

HERE, OURS, TORCHS = __file__, tracer.__file__.replace("tracer", "pack"), nn.__file__


def made(forward):
    """A module with this forward."""
    return type("Forward", (nn.Module,), {"forward": forward})()


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (
            lambda self: None,
            "Forward cannot be packed: its forward takes nothing. Give a module whose forward takes images",
        ),
        (lambda self, x, mask: x, "its forward takes mask besides the images. Give"),
        (lambda self, x, mask, more, known=1: x, "its forward takes mask, more besides the images. Give"),
        (lambda self, x: x if x.sum() > 0 else -x, rf"its forward cannot be traced \({HERE}:\d+\) \("),
    ],
)
def test_a_forward_that_takes_more_or_less_than_images_is_refused(forward, message):
    with pytest.raises(UserError, match=message):
        graph_of(made(forward))


@pytest.mark.parametrize(
    "forward", [lambda self, x, scale=2, *args, **more: x * scale, lambda self, x, *, scale=2: x * scale]
)
def test_defaults_are_part_of_the_network(forward):
    graph = graph_of(made(forward))
    assert [node.args[1] for node in graph.nodes if node.target is operator.mul] == [2]


def test_norms_without_statistics_and_layers_with_a_forward_of_their_own_are_refused():
    class Mine(BinaryConv2d):
        def forward(self, x):
            return x

    graph_of(nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()))
    for module, message in (
        (nn.BatchNorm2d(3, track_running_stats=False), "0 cannot be packed: BatchNorm2d has no running statistics"),
        (Mine(3, 3, 1, binarizer="XNOR"), "0 cannot be packed: Mine has its own forward, .* a plain BinaryConv2d"),
        (nn.Softmax(1), "0 cannot be packed: Softmax has no packed form; leave it out: a packed network gives logits"),
    ):
        with pytest.raises(UserError, match=message):
            graph_of(nn.Sequential(module))


class Standardised(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean((1, 2, 3), keepdim=True), bias)


class Doubled(BinaryConv2d):
    def operate(self, x, weight):
        return 2 * super().operate(x, weight)


class Rectified(BatchNorm2d):
    def _evaluated(self, x):
        return super()._evaluated(x).relu()


def patched(module):
    """The module with a forward of this instance alone."""
    forward = module.forward
    module.forward = lambda x: 2 * forward(x)
    return module


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Standardised(3, 3, 1), "Standardised has its own _conv_forward, which .* or use a plain Conv2d"),
        (Doubled(3, 3, 1, binarizer="XNOR"), "Doubled has its own operate, which .* or use a plain BinaryConv2d"),
        (Rectified(3), "Rectified has its own _evaluated, which .* or use a plain BatchNorm2d"),
        (patched(nn.Conv2d(3, 3, 1)), "Conv2d has its own forward, which"),
        (patched(BinaryConv2d(3, 3, 1, binarizer="XNOR")), "BinaryConv2d has its own forward, which"),
        (patched(nn.ReLU()), "ReLU has its own forward, which"),
    ],
)
def test_what_computes_otherwise_below_its_forward_is_refused_by_the_methods_name(module, said):
    with pytest.raises(UserError, match=rf"^0 cannot be packed: {said}"):
        graph_of(nn.Sequential(module).eval())


def test_each_value_is_a_number_a_tensor_or_depends_on_the_images():
    def forward(self, x):
        size, shape = x.size(1), x.shape
        bias = torch.ones(3, 1, 1)
        wide = bias.expand_as(x)
        return x + wide, size, shape, x.split(1), bias

    model = made(forward)
    found = Values(model, graph_of(model), 4).of(torch.zeros(2, 3, 4, 4))
    by_name = {node.name: value for node, value in found.items()}
    assert isinstance(by_name["x"], Moving)
    assert by_name["x"].shape == (2, 3, 4, 4)
    assert by_name["size"] == 3
    assert by_name["getattr_1"] == (2, 3, 4, 4)
    assert by_name["split"] is ..., "several values"
    assert by_name["_tensor_constant0"].shape == (3, 1, 1)
    assert by_name["expand_as"].shape == (1, 3, 4, 4), "one image's, whatever the batch"
    assert isinstance(by_name["add"], Moving)


def test_a_map_that_does_not_fit_is_named_with_the_first_line_of_the_error():
    model = nn.Sequential(nn.Conv2d(3, 4, 5))
    with pytest.raises(UserError, match=r"^0 cannot be packed: an image of 4 x 4 pixels and 3 channels does not get "):
        Values(model, graph_of(model), 4).of(torch.zeros(2, 3, 4, 4))
    model = made(lambda self, x: x.view(7, 7))
    with pytest.raises(UserError, match=r"^view cannot be packed: .*through it.* \(shape .*\)\. Give the"):
        Values(model, graph_of(model), 4).of(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError(" one.\ntwo"), "one"), (ValueError(""), "ValueError"), (KeyError(), "KeyError"), (OSError("a"), "a")],
)
def test_the_first_line_of_an_error_or_its_kind(error, said):
    assert first_line(error) == said


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([], ""),
        ([(HERE, 3)], f" ({HERE}:3)"),
        ([(HERE, 3), (HERE, 4), (TORCHS, 5)], f" ({HERE}:4)"),
        ([(HERE, 3), (OURS, 4)], f" ({HERE}:3)"),
        ([(TORCHS, 3), (OURS, 4)], ""),
        ([("gone.py", 3)], ""),
        # What called us is no part of the network.
        ([(HERE, 3), (tracer.__file__, 4), (HERE, 5), (TORCHS, 6)], f" ({HERE}:5)"),
        ([(HERE, 3), (tracer.__file__, 4), (TORCHS, 5)], ""),
        ([(HERE, 3), (tracer.__file__, 4), (HERE, 5), (tracer.__file__, 6)], ""),
    ],
)
def test_the_place_is_the_last_line_of_the_users_own_code(frames, said):
    assert _users_line(frames) == said
    stack = "".join(f'  File "{file}", line {line}, in forward\n    x = y{os.linesep}' for file, line in frames)
    assert place_of(stack) == said


def test_an_unknown_place_is_left_out():
    assert place_of(None) == ""
