"""A chain as links: what belongs to a layer, and layers, pools and orders that a chain does not have."""

import pytest
import torch
from torch import nn

import xnorlit as xl
from xnorlit.errors import UserError
from xnorlit.export.chain import as_ours, check_finite, is_chain, links, square_pool
from xnorlit.export.trace import IMAGES, Step, traced

OPTIONS = {"mean": (128,) * 3, "std": (64,) * 3}


def steps_of(*modules):
    """Each module reads the one before it."""
    names = [f"m{i}" for i in range(len(modules))]
    reads = [IMAGES, *names[:-1]]
    return [Step(name, module, "", (before,)) for name, module, before in zip(names, modules, reads, strict=True)]


def binary(inputs=4, outputs=4, kernel=1, **more):
    return xl.BinaryConv2d(inputs, outputs, kernel, **{"binarizer": "XNOR", **more})


def chain(*modules, side=8):
    return is_chain(traced(nn.Sequential(*modules).eval(), side, **OPTIONS))


HEAD = nn.Conv2d(3, 4, 1)


def tail(side=8):
    return nn.Flatten(), nn.Linear(4 * side * side, 2)


@pytest.mark.parametrize(
    ("modules", "is_one"),
    [
        ((), True),
        ((nn.BatchNorm2d(4), binary(), nn.ReLU()), True),
        ((nn.MaxPool2d(3, 1, 1), binary(), nn.MaxPool2d(3, 1, 1)), True),  # one pool behind each layer
        ((nn.MaxPool2d(3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 1, 1), binary()), False),
        ((binary(), nn.AvgPool2d(3, 1, 1)), False),
        ((binary(), nn.AvgPool2d(1)), False),
        ((xl.Conv2d(4, 4, 1),), False),
        ((binary(padding_mode="ones", kernel=3, padding=1),), False),
        ((binary(binarizer=xl.BiReal()),), False),
        ((binary(binarizer=xl.BiReal(shortcut=False)),), True),
        ((binary(binarizer=xl.AdaBin(maxout=False)),), False),
    ],
)
def test_a_chain_has_layers_with_at_most_one_pool_and_nothing_that_only_nodes_have(modules, is_one):
    assert chain(HEAD, *modules, *tail()) is is_one


def test_branches_are_no_chain():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(256, 2)

        def forward(self, x):
            x = self.conv(x)
            return self.fc((x + x.relu()).flatten(1))

    assert not is_chain(traced(Sum().eval(), 8, **OPTIONS))


# --- links ------------------------------------------------------------------------------------------------------------
def test_each_link_has_what_stands_between_its_layer_and_the_next():
    norm, relu, last, flat = nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm1d(16), nn.PReLU()
    first, second, third = nn.Conv2d(3, 4, 3), binary(), nn.Linear(16, 2)
    found = links(
        steps_of(first, norm, nn.MaxPool2d(2, 1), relu, second, nn.MaxPool2d(3, 2), nn.Flatten(), last, flat, third)
    )
    one, two, three = found
    assert [each.name for each in found] == ["m0", "m4", "m9"]
    assert (one.before_pool, one.pool, one.after_pool, one.after_flatten) == ((norm,), (2, 1, 0), (relu,), ())
    assert (two.before_pool, two.pool, two.after_pool, two.after_flatten) == ((), (3, 2, 0), (), (last, flat))
    assert (one.reader, three.reader, three.reads) == (second, None, None)
    assert torch.equal(two.reader.weight, third.weight)
    assert [each.operand.form for each in found] == ["pixels", "signs", "reals"]
    assert [each.gives_reals for each in found] == [False, True, True]
    assert [each.copies for each in found] == [1, 1, 1]
    assert [each.outputs for each in found] == [4, 4, 2]


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ((nn.ReLU(),), "the network cannot be packed: it has no convolution and no linear layer"),
        ((nn.ReLU(), nn.Linear(3, 2)), "m0 cannot be packed: it stands between the pixels and the first layer"),
        ((nn.Conv2d(3, 4, 1), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Linear(4, 2)),
         "m0 cannot be packed: a second max pool, or a max pool after a flattening, follows it"),
        ((nn.Conv2d(3, 4, 1), nn.Flatten(), nn.MaxPool2d(2), nn.Linear(4, 2)), "a second max pool, or a max"),
    ],
)  # fmt: skip
def test_orders_that_the_engine_does_not_have_are_refused(modules, message):
    with pytest.raises(UserError, match=message):
        links(steps_of(*modules))


# --- layers -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda bias: nn.Conv2d(4, 6, (3, 1), (2, 1), (1, 0), groups=2, bias=bias),
        lambda bias: nn.Linear(4, 6, bias=bias),
    ],
)
@torch.no_grad()
def test_a_layer_of_torch_keeps_its_weights_and_gets_real_operands(make, bias):
    module = make(bias)
    found = as_ours(Step("m", module, ""))
    assert found.binarizer.input_bits == found.binarizer.weight_bits == 32
    x = torch.randn(2, 4, 6, 5) if isinstance(module, nn.Conv2d) else torch.randn(2, 4)
    torch.testing.assert_close(found.eval()(x), module(x))
    assert (found.bias is not None) is bias


def test_a_layer_of_ours_is_taken_as_it_is():
    layer = binary()
    assert as_ours(Step("m", layer, "")) is layer


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Conv2d(3, 3, 3, padding=1, dilation=(1, 2)), r"dilation is \(1, 2\) \(here\); use 1"),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), r"padding_mode is 'circular' \(here\); use 'zeros'"),
        (nn.Conv2d(3, 3, (3, 2), padding="same"), r"padding 'same' is uneven for its kernel \(here\); use an odd"),
        (
            nn.Conv2d(3, 3, 3, padding=(0, 3)),
            r"padding \(0, 3\) is not smaller than kernel \(3, 3\) \(here\); use less",
        ),
        (nn.Conv2d(3, 3, (2, 3), padding=(2, 0)), r"padding \(2, 0\) is not smaller than kernel \(2, 3\)"),
        (binary(binarizer=xl.TTQ()), "TTQ: its weights have two scales"),
    ],
)
def test_layers_that_the_engine_does_not_have_are_refused_with_their_line(module, message):
    with pytest.raises(UserError, match=f"^layer cannot be packed: {message}"):
        as_ours(Step("layer", module, " (here)"))


def test_a_padding_may_be_one_less_than_the_kernel():
    assert as_ours(Step("m", nn.Conv2d(3, 3, 3, padding=2), "")).window.padding == (2, 2)


# --- pools ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("pool", "found"),
    [
        (nn.MaxPool2d(3), (3, 3, 0)),
        (nn.MaxPool2d((3, 3), 2, (1, 1)), (3, 2, 1)),
        (nn.MaxPool2d(3, (1, 1), 1, dilation=(1, 1)), (3, 1, 1)),
        (nn.MaxPool2d((3, 2), 2), None),
        (nn.MaxPool2d(2, (1, 2)), None),
        (nn.MaxPool2d(3, 1, (1, 0)), None),
        (nn.MaxPool2d(2, dilation=2), None),
        (nn.MaxPool2d(2, dilation=(1, 2)), None),
        (nn.MaxPool2d(2, ceil_mode=True), None),
    ],
)
def test_a_pool_of_the_engine_is_square(pool, found):
    if found:
        assert square_pool(pool, "pool", "") == found
        return
    with pytest.raises(UserError, match=r"pool cannot be packed: its max pool .* \(here\) is not square, or has dil"):
        square_pool(pool, "pool", " (here)")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("key", ["weight", "running_var"])
def test_what_is_not_finite_is_named(key, value):
    norm = nn.BatchNorm2d(2)
    check_finite(norm, "n")
    getattr(norm, key).data[1] = value
    with pytest.raises(UserError, match=f"n cannot be packed: {key} of its BatchNorm2d is not finite; check the check"):
        check_finite(norm, "n")
