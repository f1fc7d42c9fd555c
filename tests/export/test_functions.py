"""Torch's functions as nodes: each computes what torch does, or is left out."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from xnorlit.export.functions import Call, Moving, average_pool, form_of, known, square
from xnorlit.export.nodes import Add, Affine, Concat, GlobalAverage, Shift, Subsample
from xnorlit.models.built import DuplicateChannels

CHANNELS = torch.linspace(-1, 2, 6).view(6, 1, 1)  # a number of each


def images():
    """Maps `(N, C, H, W)`; no two extents are equal, so that none is taken for another."""
    return torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def by_modules(function, *given):
    """The result and the modules of a traced function, each call replaced; None if one has no module form."""
    values, modules, waiting = {}, [], list(given)
    traced = fx.symbolic_trace(function)

    def known_or_moving(node):
        return values[node] if node.op == "get_attr" else Moving(node, tuple(values[node].shape))

    for node in traced.graph.nodes:
        if node.op == "placeholder":
            values[node] = waiting.pop(0)
        elif node.op == "get_attr":
            values[node] = getattr(traced, node.target)
        elif node.op == "output":
            return values[node.args[0]], modules
        else:
            args, kwargs = (fx.map_arg(each, known_or_moving) for each in (node.args, node.kwargs))
            real = fx.map_arg(node.args, values.__getitem__), fx.map_arg(node.kwargs, values.__getitem__)
            called = getattr(torch.Tensor, node.target) if node.op == "call_method" else node.target
            form = form_of(node.target, Call(args, kwargs, tuple(called(*real[0], **real[1]).shape)))
            if form is None:
                return None
            modules.append(form.module)
            values[node] = form.module(*(values[each.source] for each in form.inputs))
    raise AssertionError("no output")


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: F.relu(x), nn.ReLU),
        (lambda x: torch.relu(input=x), nn.ReLU),
        (lambda x: x.relu(), nn.ReLU),
        (lambda x: F.relu(x, inplace=False), nn.ReLU),
        (lambda x: F.relu6(9 * x), None),
        (lambda x: F.hardtanh(x), nn.Hardtanh),
        (lambda x: F.hardtanh(x, -0.5, max_val=0.25), nn.Hardtanh),
        (lambda x: F.leaky_relu(x), nn.LeakyReLU),
        (lambda x: F.leaky_relu(x, 0.3), nn.LeakyReLU),
        (lambda x: F.prelu(x, torch.tensor([0.3])), nn.PReLU),
        (lambda x: F.prelu(x, CHANNELS.flatten()), nn.PReLU),
        (lambda x: F.prelu(x, weight=torch.tensor([0.3])), nn.PReLU),
        (lambda x: x.clamp(-1, 0.5), nn.Hardtanh),
        (lambda x: torch.clamp(x, min=-1, max=0.5), nn.Hardtanh),
        (lambda x: x.clamp(0), nn.ReLU),
        (lambda x: x.clamp(min=0), nn.ReLU),
        (lambda x: x.clamp(0, 0.5), nn.Hardtanh),
        (lambda x: F.max_pool2d(x, 2), nn.MaxPool2d),
        (lambda x: F.max_pool2d(x, 3, 1, 1), nn.MaxPool2d),
        (lambda x: F.max_pool2d(x, (2, 3), stride=(2, 1)), nn.MaxPool2d),
        (lambda x: F.max_pool2d(x, 2, dilation=2, ceil_mode=True), nn.MaxPool2d),
        (lambda x: F.avg_pool2d(x, 3, 1, 1), None),
        (lambda x: F.adaptive_avg_pool2d(x, 1), nn.AdaptiveAvgPool2d),
        (lambda x: x.mean((2, 3)), GlobalAverage),
        (lambda x: x.mean((-1, -2)), GlobalAverage),
        (lambda x: x.mean([2, 3], True), GlobalAverage),
        (lambda x: x.mean(dim=(3, 2), keepdim=True), GlobalAverage),
        (lambda x: torch.mean(x, axis=(2, 3)), GlobalAverage),
        (lambda x: F.dropout(x, 0.5, training=False), nn.Identity),
        (lambda x: F.dropout(x, training=False), nn.Identity),
        (lambda x: torch.cat([x, 2 * x], 1), None),
        (lambda x: torch.cat([x, x], dim=1), DuplicateChannels),
        (lambda x: torch.cat((x, x, x), dim=-3), Concat),
        (lambda x: torch.cat(tensors=[x], axis=1), nn.Identity),
        (lambda x: x + x, Add),
        (lambda x: torch.add(x, x, alpha=1), Add),
        (lambda x: torch.add(input=x, other=x), Add),
        (lambda x: x + 1.5, Shift),
        (lambda x: 2 + x, Shift),
        (lambda x: x.add(CHANNELS), Shift),
        (lambda x: x + torch.tensor(0.5), Shift),
        (lambda x: x + torch.full((1, 1, 1, 1), 0.5), Shift),
        (lambda x: x - CHANNELS, Shift),
        (lambda x: 1.5 - x, Affine),
        (lambda x: CHANNELS[None] - x, Affine),
        (lambda x: x * 3, Affine),
        (lambda x: CHANNELS * x, Affine),
        (lambda x: x.flatten(1) * torch.linspace(0, 1, 120), None),
        (lambda x: -x, Affine),
        (lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), Subsample),
        (lambda x: F.pad(x, [0, 0, 0, 0], value=0.0), nn.Identity),
        (lambda x: F.pad(x, (0, 0, 0, 0, 0, 2), "constant", 0), Subsample),
        (lambda x: x[:, :, ::2, ::2], Subsample),
        (lambda x: x[..., ::3, 0::3], Subsample),
        (lambda x: x[:, ..., ::2, ::2], Subsample),
        (lambda x: x[:, :, ::1, ::1], Subsample),
        (lambda x: x[:], nn.Identity),
        (lambda x: x[:, :, :], nn.Identity),
        (lambda x: x[...], nn.Identity),
        (lambda x: x.clone().contiguous().float().detach(), nn.Identity),
    ],
)
def test_a_call_is_the_module_that_computes_the_same(function, kind):
    x = images()
    found, modules = by_modules(function, x)
    torch.testing.assert_close(found, function(x), rtol=0, atol=1e-6)
    assert kind is None or type(modules[-1]) is kind


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.clamp(max=0.5),
        lambda x: x.clamp(min=-1),
        lambda x: x.clamp(min=1),
        lambda x: x.clamp(torch.tensor(0.0), 1),
        lambda x: F.prelu(x, x.mean((0, 2, 3))),
        lambda x: x.mean((1, 2)),
        lambda x: x.mean(2),
        lambda x: x.mean(),
        lambda x: x.mean((2, 3), dtype=torch.float64),
        lambda x: F.dropout(x, 0.0, training=True),
        lambda x: F.dropout(x, 0.0),
        lambda x: torch.cat([x, x], 2),
        lambda x: torch.cat([x, x], -2),
        lambda x: torch.cat([x, x]),
        lambda x: torch.cat([x, torch.zeros(2, 1, 5, 4)], 1),
        lambda x: torch.cat([x, x[:, :0]], 1),
        lambda x: x + x[:, :1],
        lambda x: torch.add(x, x, alpha=2),
        lambda x: torch.add(x, 1, alpha=2),
        lambda x: x * x,
        lambda x: x - x,
        lambda x: x + torch.arange(4),
        lambda x: x + torch.arange(4.0),
        lambda x: x + torch.zeros(5, 1),
        lambda x: x + torch.zeros(2, 6, 1, 1),
        lambda x: x + torch.zeros(6, 5, 1),
        lambda x: x * torch.zeros(1, 1, 6, 1, 1).view(6, 1, 1).int(),
        lambda x: F.pad(x, (1, 1, 1, 1)),
        lambda x: F.pad(x, (0, 0, 0, 1, 1, 1)),
        lambda x: F.pad(x, (0, 0, 0, 0, 1, 1), value=1.0),
        lambda x: F.pad(x, (0, 0, 0, 0, -1, 1)),
        lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
        lambda x: F.pad(x, (0, 0, 0, 0), mode="replicate"),
        lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0)),
        lambda x: x[:, :4],
        lambda x: x[:, ::2],
        lambda x: x[:1],
        lambda x: x[:, :, ::2, ::3],
        lambda x: x[:, :, ::2],
        lambda x: x[:, :, 1::2, ::2],
        lambda x: x[:, :, ::2, 1::2],
        lambda x: x[:, :, :4:2, ::2],
        lambda x: x[:, :, :4, :4],
        lambda x: F.avg_pool2d(x, (2, 3)),
        lambda x: x.clamp(1.0, 1.0),
        lambda x: x.clamp(1.0, -1.0),
        lambda x: F.hardtanh(x, 0.5, 0.5),
        lambda x: F.relu(torch.sigmoid(x)),
    ],
)
def test_a_call_that_computes_something_else_has_no_module(function):
    x = images()
    function(x)  # which torch takes
    assert by_modules(function, x) is None


def test_a_value_without_rows_and_columns_has_neither_a_mean_nor_a_stride():
    lines, whole = Moving(None, (2, 6, 20)), slice(None)
    assert form_of("mean", Call((lines, (2, 3)), {}, (2, 6))) is None
    assert form_of(operator.getitem, Call((lines, (whole, whole, slice(None, None, 2))), {}, (2, 6, 10))) is None
    assert form_of(operator.getitem, Call((lines, (whole, ...)), {}, (2, 6, 20))) is not None


def test_arguments_that_the_table_does_not_know_have_no_module():
    x = Moving(None, (2, 6, 5, 4))
    assert form_of(F.relu, Call((x,), {"beta": 1}, x.shape)) is None
    assert form_of(F.relu, Call((x, x), {}, x.shape)) is None, "both depend on the images"
    assert form_of("unknown", Call((x,), {}, x.shape)) is None


def test_functions_whose_calls_may_have_a_module_are_known():
    assert known(torch.add)
    assert known("mean")
    assert known(operator.getitem)
    assert not known(torch.sigmoid)
    assert not known("sigmoid")


@pytest.mark.parametrize(
    ("value", "found"),
    [(3, 3), ((3,), 3), ([2, 2], 2), ((0, 0), 0), ((2, 3), None), ((2, 2, 2), None), ((), None)],
)
def test_one_number_of_one_or_two_equal_ones(value, found):
    assert square(value) == found


@pytest.mark.parametrize(
    "how",
    [
        {"kernel_size": 3},
        {"kernel_size": (3, 3), "stride": [2, 2]},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": (), "padding": (1, 1)},
        {"kernel_size": 2, "count_include_pad": False},  # without padding, there is nothing to leave out
    ],
)
def test_a_square_average_pool_becomes_a_node_that_divides_as_torch_does(how):
    x = torch.randn(2, 3, 9, 9)
    node = average_pool(**how)
    assert node is not None
    torch.testing.assert_close(node(x), F.avg_pool2d(x, **how))


@pytest.mark.parametrize(
    "how",
    [
        {"kernel_size": (3, 1)},
        {"kernel_size": 3, "stride": (1, 2)},
        {"kernel_size": 3, "padding": (1, 0)},
        {"kernel_size": 3, "padding": 1, "count_include_pad": False},
        {"kernel_size": 3, "ceil_mode": True},
        {"kernel_size": 3, "divisor_override": 1},
    ],
)
def test_an_average_pool_that_is_not_square_or_divides_otherwise_becomes_none(how):
    assert average_pool(**how) is None
