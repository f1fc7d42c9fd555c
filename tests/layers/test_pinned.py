"""Evaluation rounds where its docstrings say, so an engine can repeat it bit for bit. The references use numpy."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import xnorlit as xl
from tests.packed.networks import unsettle
from xnorlit.models.quicknet import Blur

FORMATS = [torch.contiguous_format, torch.channels_last]


def norm(kind=xl.BatchNorm2d, channels=33, seed=0, **settings):
    torch.manual_seed(seed)
    made = kind(channels, **settings)
    if made.affine:
        unsettle(made)
    else:
        made.running_mean.normal_()
        made.running_var.uniform_(0.01, 4)
    return made.eval()


def numbers(made):
    """s and h of a norm, by its docstring, in fp64."""
    state = {key: values.numpy().astype(np.float64) for key, values in made.state_dict().items()}
    living = state["running_var"] > 1e-12 * made.eps
    scale = living * state.get("weight", 1.0) / np.sqrt(state["running_var"] + made.eps)
    return scale, state.get("bias", 0.0) - state["running_mean"] * scale


@torch.no_grad()
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("layout", FORMATS)
def test_a_norm_evaluates_as_a_product_and_a_sum_each_rounded(layout, affine):
    made = norm(affine=affine)
    x = torch.randn(5, 33, 7, 6)
    scale, shift = (np.float32(values)[:, None, None] for values in numbers(made))
    product = x.numpy() * scale
    assert product.dtype == np.float32
    np.testing.assert_array_equal(made(x.to(memory_format=layout)).numpy(), product + shift)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(5, 33), (5, 33, 4)])
def test_a_norm_of_vectors_does_too(shape):
    made = norm(xl.BatchNorm1d)
    scale, shift = (np.float32(values).reshape(-1, *(1,) * (len(shape) - 2)) for values in numbers(made))
    x = torch.randn(shape)
    np.testing.assert_array_equal(made(x).numpy(), x.numpy() * scale + shift)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_comes_from_the_input_not_the_sum(dtype):
    made, x = norm(), torch.randn(2, 33, 3, 3).to(dtype)
    given = made(x)
    assert given.dtype == dtype
    assert torch.equal(given, made(x.float()).to(dtype))
    whole = copy.deepcopy(made).to(dtype)(x)
    assert whole.dtype == dtype
    torch.testing.assert_close(whole.float(), made(x.float()), rtol=0.02, atol=0.1)


@torch.no_grad()
def test_a_norm_in_fp64_stays_in_fp64():
    made, x = norm().double(), torch.randn(2, 33, 3, 3).double()
    scale, shift = (values[:, None, None] for values in numbers(made))
    np.testing.assert_allclose(made(x).numpy(), x.numpy() * scale + shift, rtol=1e-14, atol=1e-14)


def test_evaluation_is_differentiable_in_input_gamma_and_beta():
    made, x = norm().double(), torch.randn(2, 33, 3, 3).double().requires_grad_()
    made.running_var.clamp_(min=0.1)
    expected = nn.functional.batch_norm(x, made.running_mean, made.running_var, made.weight, made.bias, eps=made.eps)
    values = [x, made.weight, made.bias]
    ours, theirs = (torch.autograd.grad(y.square().sum(), values) for y in (made(x), expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_a_norm_refuses_other_channels_and_other_ranks():
    with pytest.raises(xl.UserError, match=r"BatchNorm2d received .*\(2, 1, 3, 3\)\. Expected 33 channels"):
        norm()(torch.zeros(2, 1, 3, 3))
    with pytest.raises(ValueError, match="4D"):
        norm()(torch.zeros(2, 33))


@torch.no_grad()
def test_exported_layers_round_alike():
    made, x = norm(), torch.randn(4, 33, 5, 5)
    assert torch.equal(torch.export.export(made, (x,)).module()(x), made(x))


@pytest.mark.slow
@torch.no_grad()
def test_compiled_layers_round_alike():
    net = nn.Sequential(xl.Conv2d(3, 33, 3, bias=False), norm()).eval()
    x = torch.randn(4, 3, 9, 9)
    assert torch.equal(torch.compile(net)(x), net(x))


# --- real layers ------------------------------------------------------------------------------------------------------
def windows(x, kernel, stride, padding):
    """Each window of a map, `(N, H', W', C, kh, kw)`, in long double."""
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    found = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))[:, :, ::stride, ::stride]
    return found.transpose(0, 2, 3, 1, 4, 5)


@torch.no_grad()
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("groups", [1, 4, 8])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(7, 2, 3), (3, 1, 1), (1, 2, 0)])
def test_a_real_convolution_sums_exactly_and_rounds_once(kernel, stride, padding, groups, layout):
    torch.manual_seed(0)
    layer = xl.Conv2d(8, 16, kernel, stride, padding, groups=groups, bias=groups == 4).eval()
    x = torch.randn(2, 8, 12, 11)
    seen = windows(x.numpy().astype(np.longdouble), (kernel, kernel), stride, padding)
    seen = seen.reshape(*seen.shape[:3], groups, -1)
    weight = layer.weight.numpy().astype(np.longdouble).reshape(groups, 16 // groups, -1)
    expected = np.einsum("nhwgk,gok->ngohw", seen, weight).reshape(2, 16, *seen.shape[1:3]).astype(np.float32)
    if layer.bias is not None:
        expected = expected + layer.bias.numpy()[:, None, None]
    np.testing.assert_array_equal(layer(x.to(memory_format=layout)).numpy(), expected)


@torch.no_grad()
def test_a_real_linear_layer_and_an_average_do_too():
    torch.manual_seed(0)
    layer, x = xl.Linear(300, 7).eval(), torch.randn(9, 300)
    sums = (x.numpy().astype(np.longdouble) @ layer.weight.numpy().T.astype(np.longdouble)).astype(np.float32)
    np.testing.assert_array_equal(layer(x).numpy(), sums + layer.bias.numpy())
    np.testing.assert_array_equal(layer(x.view(3, 1, 3, 300)).numpy(), layer(x).view(3, 1, 3, 7).numpy())
    maps = torch.randn(3, 5, 7, 7)
    means = (maps.numpy().astype(np.longdouble).sum((2, 3), keepdims=True) / 49).astype(np.float32)
    for size in (1, (1, 1), [1, 1]):
        for layout in FORMATS:
            found = xl.AdaptiveAvgPool2d(size).eval()(maps.to(memory_format=layout))
            np.testing.assert_array_equal(found.numpy(), means)


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (xl.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), (2, 4, 6, 6)),
        (xl.Linear(4, 6), nn.Linear(4, 6), (2, 4)),
        (xl.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d(2), (2, 4, 6, 6)),
    ],
    ids=["conv", "linear", "average"],
)
def test_training_and_the_state_dict_are_torchs_and_evaluation_is_near_it(ours, theirs, shape):
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(shape)
    assert torch.equal(ours.train()(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), ours(x.float()))


@torch.no_grad()
@pytest.mark.parametrize(
    ("layer", "theirs", "shape"),
    [
        (xl.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 16, 3, padding=1), (3, 16, 16)),  # as many rows as outputs
        (xl.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), (3, 9, 7)),
        (xl.Linear(8, 4), nn.Linear(8, 4), (8,)),
        (Blur(3), None, (3, 8, 8)),
    ],
    ids=["square", "oblong", "linear", "blur"],
)
def test_one_image_evaluates_like_a_batch_of_one_and_as_in_training(layer, theirs, shape):
    if theirs is not None:
        layer.load_state_dict(theirs.state_dict())
    x = torch.randn(shape)
    expected = (theirs or layer.train())(x)
    found = layer.eval()(x)
    assert torch.equal(found, layer(x[None])[0])
    torch.testing.assert_close(found, expected)


# --- binary layers ----------------------------------------------------------------------------------------------------
@torch.no_grad()
@pytest.mark.parametrize("form", ["added", "scaled"])
@pytest.mark.parametrize(("kernel", "stride", "padding", "groups"), [(3, 1, 1, 1), (3, 2, 1, 4), (1, 1, 0, 2)])
def test_adabin_counts_signs_and_adds_the_contribution_of_its_centres(kernel, stride, padding, groups, form):
    torch.manual_seed(0)
    layer = xl.BinaryConv2d(8, 12, kernel, stride, padding, groups=groups, binarizer=xl.AdaBin(form, maxout=False))
    layer.binarizer.distance.fill_(0.7)
    layer.binarizer.centre.fill_(-0.3)
    x = torch.randn(2, 8, 7, 7)
    weight = layer.weight.numpy().reshape(12, -1).astype(np.float64)
    taken = layer.binarizer.weight_values(layer.weight)
    centre, deviation = (values.numpy().astype(np.float64) for values in (taken.centre, taken.distance))
    np.testing.assert_allclose(centre, weight.mean(1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(deviation, weight.std(1), rtol=1e-5)
    signs = np.where(layer.weight.numpy().reshape(12, -1) >= np.float32(centre)[:, None], 1.0, -1.0)
    distance, middle = float(np.float32(0.7)), float(np.float32(-0.3))
    middle = middle if form == "added" else float(np.float32(0.7) * np.float32(-0.3))
    bits = np.where(x.numpy() >= np.float32(-0.3), 1.0, -1.0)

    def over(maps, filters):
        seen = windows(maps, (kernel, kernel), stride, padding)
        seen = seen.reshape(*seen.shape[:3], groups, -1)
        found = np.einsum("nhwgk,gok->ngohw", seen, filters.reshape(groups, 12 // groups, -1))
        return found.reshape(len(maps), 12, *seen.shape[1:3])

    shape = (12, 1, 1)
    values = signs * deviation[:, None] + centre[:, None]
    agree, plain = over(bits, signs), over(bits, np.ones_like(signs))
    border = middle * over(np.ones_like(bits[:1]), values)
    expected = np.float32(agree) * np.float32(distance * deviation).reshape(shape)
    expected = expected + np.float32(plain) * np.float32(distance * centre).reshape(shape)
    expected = expected + np.float32(border)
    expected = expected + layer.bias.numpy().reshape(shape)
    found = layer.eval()(x).numpy()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, layer.train()(x).numpy(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_adabin_works_in_a_linear_layer_and_with_slopes():
    torch.manual_seed(0)
    layer = xl.BinaryLinear(40, 9, binarizer="AdaBin")
    layer.binarizer.centre.fill_(0.2)
    layer.post_layer.positive.uniform_(-1, 2)
    layer.post_layer.negative.uniform_(-1, 2)
    x = torch.randn(6, 40)
    torch.testing.assert_close(layer.eval()(x), layer.train()(x))
    slopes = layer.post_layer.eval()
    y = torch.randn(6, 9)
    expected = np.where(y > 0, y.numpy() * slopes.positive.numpy(), y.numpy() * slopes.negative.numpy())
    np.testing.assert_array_equal(slopes(y).numpy(), expected)


@torch.no_grad()
def test_a_layer_of_ours_without_codes_rounds_once_where_it_is_told_to():
    torch.manual_seed(0)
    layer = xl.BinaryConv2d(8, 16, 5, padding=2, binarizer="Float").eval()
    exact = xl.Conv2d(8, 16, 5, padding=2).eval()
    exact.load_state_dict(layer.state_dict())
    x = torch.randn(2, 8, 9, 9)
    assert not torch.equal(layer(x), exact(x))
    layer.rounds_once = True
    assert torch.equal(layer(x), exact(x))
