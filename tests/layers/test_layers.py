"""Layers pad with zeros, centre fc6 like the convolution that it is, and keep constant channels steady."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from xnorlit.binarize import binarizers
from xnorlit.binarize.bireal import BiReal
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.dorefa import DoReFa
from xnorlit.binarize.float import Float
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.binarize.straight_through import sign
from xnorlit.binarize.xnor import XNOR
from xnorlit.binarize.xnorplusplus import XNORPlusPlus
from xnorlit.errors import UserError
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLinear, attach

ALL = binarizers()


def test_padding_adds_nothing():
    layer = BinaryConv2d(2, 1, 3, padding=1, bias=False, binarizer=XNOR)
    nn.init.ones_(layer.weight)
    x = torch.ones(1, 2, 3, 3)
    corner, centre = 2 * 4, 2 * 9  # taps inside the image, of two channels
    for mode in (True, False):
        y = layer.train(mode)(x)[0, 0]
        assert y[0, 0] == corner
        assert y[1, 1] == centre


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_float_layer_is_torchs_convolution_behind_a_relu(stride, groups):
    layer = BinaryConv2d(4, 6, 3, stride, 1, groups=groups, binarizer=Float)
    reference = nn.Conv2d(4, 6, 3, stride, 1, groups=groups)
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 9, 9)
    for mode in (True, False):
        layer.bind(Float(), rectify=True)
        torch.testing.assert_close(layer.train(mode)(x), reference(x.relu()))
        layer.bind(Float(), rectify=False)
        torch.testing.assert_close(layer.train(mode)(x), reference(x))


def test_another_binarizer_keeps_the_layers_own_settings_unless_others_are_given():
    layer = BinaryConv2d(4, 4, 3, padding=1, binarizer="XNOR", rectify=True, extent=(5, 6))
    layer.bind("XNORPlusPlus")
    layer.bind(XNORPlusPlus(scale="rank-1"))
    assert (layer.binarizer.height.shape, layer.binarizer.width.shape) == ((5, 1), (6,))
    layer.bind("Float")
    x = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x.relu(), layer.weight, layer.bias, padding=1))
    layer.bind("Float", rectify=False)
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x, layer.weight, layer.bias, padding=1))
    layer.bind(XNORPlusPlus(scale="rank-1"), extent=(3, 2))
    assert (layer.binarizer.height.shape, layer.binarizer.width.shape) == ((3, 1), (2,))
    rows = BinaryLinear(6, 4, binarizer="XNOR", rectify=True)
    rows.bind("Float")
    x = torch.randn(3, 6)
    torch.testing.assert_close(rows(x), nn.functional.linear(x.relu(), rows.weight, rows.bias))


@pytest.mark.parametrize(("padding", "stride"), [(1, 1), (1, 2), ((1, 0), 1), ("same", 1)])
def test_a_border_of_ones_is_signs_in_training_and_in_evaluation(padding, stride):
    layer = BinaryConv2d(4, 6, (3, 2), stride, padding, bias=False, padding_mode="ones", binarizer=XNOR)
    plain = BinaryConv2d(4, 6, (3, 2), stride, bias=False, binarizer=XNOR)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 9, 8)
    sides = {1: (1, 1, 1, 1), (1, 0): (0, 0, 1, 1), "same": (0, 1, 1, 1)}[padding]
    framed = torch.nn.functional.pad(x, sides, value=3.0)
    for mode in (True, False):
        assert torch.equal(layer.train(mode)(x), plain.train(mode)(framed))
    assert "padding_mode='ones'" in repr(layer)
    with pytest.raises(UserError, match=r"DoReFa does not turn inputs into -1 and \+1"):
        BinaryConv2d(4, 4, 3, padding=1, padding_mode="ones", binarizer=DoReFa)


def test_the_bias_is_added_after_every_scale():
    layer = BinaryLinear(2, 1, binarizer=XNOR(input_scale="K"))
    layer.weight.data = torch.tensor([[0.5, 0.5]])
    layer.bias.data = torch.tensor([10.0])
    x = torch.tensor([[3.0, 1.0]])  # signs sum to 2, alpha 0.5, K 2
    for mode in (True, False):
        assert layer.train(mode)(x).item() == 2 * 0.5 * 2 + 10


def test_fc6_is_centred_per_output_and_position():
    channels, positions = 3, 4
    layer = BinaryLinear(channels * positions, 2, binarizer=BWN, positions=positions)
    as_convolution = layer.weight.detach().clone().view(2, channels, 2, 2)
    layer.after_step()
    as_convolution -= as_convolution.mean(dim=1, keepdim=True)
    torch.testing.assert_close(layer.weight.data, as_convolution.view(2, -1))


def test_dropout_acts_on_the_quantised_input_in_training_alone():
    layer = BinaryLinear(1000, 1, bias=False, binarizer=XNOR, dropout=0.5)
    nn.init.ones_(layer.weight)
    x = torch.full((1, 1000), 0.1)
    assert layer.eval()(x).item() == 1000
    kept = layer.train()(x).item() / 2  # what is kept is doubled
    assert 400 < kept < 600
    assert kept == round(kept)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("norm", "shape"), [(BatchNorm2d, (8, 2, 3, 3)), (BatchNorm1d, (8, 2))])
def test_a_dead_channel_keeps_its_sign_between_training_and_evaluation(norm, shape, affine):
    """The channel varied once; then the ReLU in front of it died. A plain batch norm flips the sign here."""
    batch_norm = norm(2, eps=1e-4, affine=affine)
    plain = type(batch_norm).__mro__[2](2, eps=1e-4, affine=affine)
    for layer in (batch_norm, plain):
        torch.manual_seed(0)
        layer(torch.randn(shape).relu() + 1)
        alive = torch.randn(shape)
        alive[:, 0] = 0
        for _ in range(800):
            layer.train()(alive)
    trained = sign(batch_norm.train()(alive))[:, 0]
    assert (trained == 1).all()
    assert torch.equal(sign(batch_norm.eval()(alive))[:, 0], trained)
    assert (sign(plain.eval()(alive))[:, 0] == -1).all(), "the trap that this norm is for has gone; so may the norm"


def test_a_constant_channel_gives_beta_in_evaluation():
    batch_norm = BatchNorm2d(2, eps=1e-4)
    nn.init.constant_(batch_norm.bias, 0.25)
    x = torch.randn(4, 2, 5, 5)
    x[:, 0] = 3.7
    for _ in range(2000):
        batch_norm.train()(x)
    assert (batch_norm.eval()(x)[:, 0] == 0.25).all()


def test_a_varying_channel_is_normalised_as_by_torch():
    ours, theirs = BatchNorm2d(3), nn.BatchNorm2d(3)
    x = torch.randn(4, 3, 5, 5)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x))


# --- in the place of torch's layers -----------------------------------------------------------------------------------
def conv(binarizer="XNOR", *arguments, **settings):
    torch.manual_seed(0)
    return BinaryConv2d(4, 6, *(arguments or (3, 1, 1)), binarizer=binarizer, **settings)


def x4(side=5):
    return torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(1))


WINDOWS = [
    ((3,), {}),
    ((3, 2, 1), {"groups": 2}),
    (((3, 1), (2, 1), (1, 0)), {}),
    (((1, 5), 1, (0, 2)), {"bias": False}),
    ((3, 1, "same"), {}),
    ((4, 1, "same"), {}),
    (((2, 5), 1, "same"), {}),
    ((3, 2, "valid"), {}),
]


@pytest.mark.parametrize(("arguments", "settings"), WINDOWS)
def test_with_float_the_layer_is_torchs_convolution_for_every_window(arguments, settings):
    ours, theirs = conv("Float", *arguments, **settings), nn.Conv2d(4, 6, *arguments, **settings)
    theirs.load_state_dict(ours.state_dict())
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x4(7)), theirs(x4(7)))


@pytest.mark.parametrize(("arguments", "settings"), WINDOWS)
@pytest.mark.parametrize("binarizer", ["XNOR", XNOR(input_scale="K"), "BiReal"])
def test_training_and_evaluation_agree_for_every_window(binarizer, arguments, settings):
    layer = conv(binarizer, *arguments, **settings)
    torch.testing.assert_close(layer.train()(x4(7)), layer.eval()(x4(7)), rtol=1e-4, atol=1e-5)


def test_a_shortcut_stands_around_a_layer_with_padding_same():
    torch.manual_seed(0)
    for kernel in (3, 4, (2, 5)):
        layer = BinaryConv2d(4, 4, kernel, padding="same", binarizer=BiReal)
        plain = BinaryConv2d(4, 4, kernel, padding="same", binarizer=BiReal(shortcut=False))
        plain.load_state_dict(layer.state_dict())
        assert torch.equal(layer(x4()), plain(x4()) + x4())


def test_arguments_have_torchs_names_places_and_attributes():
    import inspect

    for ours, theirs in ((BinaryConv2d, nn.Conv2d), (BinaryLinear, nn.Linear)):
        expected = list(inspect.signature(theirs).parameters)
        parameters = inspect.signature(ours).parameters
        assert [name for name, each in parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD] == expected
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"]
    ours, theirs = conv("XNOR", (3, 1), 2, "valid", groups=2), nn.Conv2d(4, 6, (3, 1), 2, "valid", groups=2)
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]


def test_weights_start_like_torchs():
    for ours, theirs in (
        (lambda: BinaryConv2d(4, 6, 3, groups=2, binarizer="XNOR"), lambda: nn.Conv2d(4, 6, 3, groups=2)),
        (lambda: BinaryLinear(7, 5, binarizer="ReCU"), lambda: nn.Linear(7, 5)),
    ):
        states = []
        for make in (ours, theirs):
            torch.manual_seed(3)
            states.append(make().state_dict())
        assert all(torch.equal(states[0][key], value) for key, value in states[1].items())


def test_the_binarizer_may_be_an_instance_a_class_or_a_name_and_is_the_layers_own():
    settings = XNOR(gradient="paper")
    layers = [conv(settings), conv(settings), conv(XNOR), conv("XNOR")]
    assert {type(layer.binarizer) for layer in layers} == {XNOR}
    assert [layer.binarizer.gradient for layer in layers] == ["paper", "paper", "corrected", "corrected"]
    assert len({id(each) for each in (settings, *(layer.binarizer for layer in layers))}) == 5


def test_the_module_that_a_binarizer_adds_is_included():
    layer = conv("ReActNet")
    assert isinstance(layer.post_layer, RPReLU)
    bare = conv("ReActNet", post_layer=False)
    torch.testing.assert_close(layer(x4()), layer.post_layer(bare(x4())))


def test_repr_says_the_window_and_the_settings_that_are_not_defaults():
    layer = conv(XNOR(gradient="paper"), (3, 1), 2, (1, 0), bias=False)
    first, *_ = repr(layer).splitlines()
    assert "4, 6, kernel_size=(3, 1), stride=(2, 2), padding=(1, 0), bias=False" in repr(layer)
    assert first == "BinaryConv2d("
    assert "XNOR(gradient='paper')" in repr(layer)
    assert "7, 5" in repr(BinaryLinear(7, 5, binarizer=DoReFa(weight_bits=2)))


@pytest.mark.parametrize("name", ALL)
def test_copies_pickles_and_state_dicts_compute_the_same(name):
    for layer, x in ((conv(name), x4()), (BinaryLinear(6, 6, binarizer=name), torch.randn(3, 6))):
        layer.train()(x)  # A first batch may set a scale.
        other = type(layer)(*((4, 6, 3, 1, 1) if x.ndim == 4 else (6, 6)), binarizer=name)
        other.load_state_dict(layer.state_dict())
        expected = layer.eval()(x)
        for same in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
            assert torch.equal(same.eval()(x), expected)


@pytest.mark.parametrize("name", ALL)
def test_dtype_follows_to_and_the_constructor(name):
    for layer in (conv(name).to(torch.float64), conv(name, dtype=torch.float64)):
        floating = [t for t in layer.state_dict().values() if t.is_floating_point()]
        assert {tensor.dtype for tensor in floating} == {torch.float64}
        for mode in (True, False):
            assert layer.train(mode)(x4().double()).dtype == torch.float64


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALL)
def test_device_follows_to_and_the_constructor(name):
    for layer in (conv(name).cuda(), conv(name, device="cuda")):
        assert {tensor.device.type for tensor in layer.state_dict().values()} == {"cuda"}
        for mode in (True, False):
            assert layer.train(mode)(x4().cuda()).device.type == "cuda"


def test_a_layer_on_the_meta_device_has_shapes_and_no_numbers():
    layer = conv("ReActNet", device="meta")
    assert {tensor.device.type for tensor in layer.state_dict().values()} == {"meta"}
    for mode in (True, False):
        assert layer.train(mode)(x4().to("meta")).shape == (2, 6, 5, 5)


@pytest.mark.parametrize("name", ALL)
def test_compiling_breaks_no_graph_and_changes_no_result(name):
    """`aot_eager` traces forward and backward as the default backend does; evaluation has no backward."""
    for mode in (True, False):
        torch._dynamo.reset()
        layer = conv(name).train(mode)
        plain = copy.deepcopy(layer)
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager" if mode else "eager")
        for _ in range(2):  # A first batch may set a scale.
            ours, theirs = compiled(x4()), plain(x4())
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        if mode:
            ours.square().sum().backward()
            theirs.square().sum().backward()
            if layer.binarizer.gradient_bits == 32:  # Otherwise it is rounded at random.
                torch.testing.assert_close(layer.weight.grad, plain.weight.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [True, False])
def test_the_default_compiler_gives_the_same(mode):
    net = nn.Sequential(BatchNorm2d(4), conv(), nn.Flatten(), BinaryLinear(150, 3, binarizer="XNOR")).train(mode)
    plain = copy.deepcopy(net)
    torch.testing.assert_close(torch.compile(net, fullgraph=True)(x4()), plain(x4()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "mode"), [*((name, False) for name in ALL), ("ReActNet", True), ("AdaBin", True)])
def test_exporting_gives_the_same_for_any_number_of_images(name, mode):
    layer = conv(name)
    layer.train()(x4())
    batch = torch.export.Dim("batch", min=2)
    # Newer versions are not strict by default. Strict, torch 2.7 loses the size of a batch in a gradient's formula.
    shapes = {"dynamic_shapes": ({0: batch},), "strict": False}
    exported = torch.export.export(layer.train(mode), (x4(),), **shapes).module()
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(exported(x), layer(x))


def test_functional_call_uses_the_parameters_that_it_is_given():
    layer = conv("ReActNet").train()
    other = {key: torch.randn_like(value) for key, value in layer.named_parameters()}
    given = torch.func.functional_call(layer, other, (x4(),))
    layer.load_state_dict(other, strict=False)
    assert torch.equal(given, layer(x4()))


def trains(rank, file, results):
    """One of two processes: a step of the whole network on its half of the batch."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.manual_seed(0)
    net = nn.Sequential(BatchNorm2d(4), conv("ReActNet"), nn.Flatten(), BinaryLinear(150, 3, binarizer="LSQ"))
    parallel = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(parallel.parameters(), 0.1)
    attach(optimizer, parallel)
    half = x4()[rank : rank + 1].repeat(4, 1, 1, 1)
    for _ in range(2):
        optimizer.zero_grad()
        parallel(half + torch.randn_like(half)).square().sum().backward()
        optimizer.step()
    torch.save([parameter.detach() for parameter in net.parameters()], f"{results}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_stay_alike(tmp_path):
    torch.multiprocessing.spawn(trains, (tmp_path / "rendezvous", tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5), (2, 3, 4, 5), (0, 5), (2, 0, 5)])
def test_a_linear_layer_reads_the_last_dimension_as_torchs_does(shape):
    ours, theirs, x = BinaryLinear(5, 4, binarizer="Float"), nn.Linear(5, 4), torch.randn(shape)
    theirs.load_state_dict(ours.state_dict())
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), theirs(x))


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.randn(4, 5, 5), r"shape \(4, 5, 5\)\. Expected \(N, 4, H, W\); give a single image a batch dimension"),
        (torch.randn(2, 4), r"shape \(2, 4\)\. Expected \(N, 4, H, W\)"),
        (torch.randn(2, 3, 5, 5), r"shape \(2, 3, 5, 5\)\. Expected \(N, 4, H, W\)"),
        (torch.zeros(2, 4, 5, 5, dtype=torch.uint8), r"input of torch\.uint8\. Expected floating point"),
        (torch.zeros(2, 4, 5, 5, dtype=torch.int64), r"input of torch\.int64\. Expected floating point"),
        (np.zeros((2, 4, 5, 5), np.float32), r"received a ndarray\. Expected a torch\.Tensor"),
    ],
)
def test_an_invalid_input_is_refused_with_a_message(x, message, mode):
    with pytest.raises(ValueError, match=message):
        conv().train(mode)(x)


def test_sizes_may_be_numpys_whole_numbers_and_print_as_pythons():
    ours = BinaryConv2d(*np.array([4, 6, 3]), stride=np.int64(2), groups=np.int8(2), binarizer="XNOR")
    assert repr(ours) == repr(BinaryConv2d(4, 6, 3, stride=2, groups=2, binarizer="XNOR"))
    assert repr(BinaryLinear(np.int64(5), np.int64(4), binarizer="XNOR")) == repr(BinaryLinear(5, 4, binarizer="XNOR"))


def test_a_linear_layer_reports_how_many_features_it_expects():
    with pytest.raises(UserError, match=r"input of 6 features\. Expected 5"):
        BinaryLinear(5, 4, binarizer="XNOR")(torch.randn(2, 6))


def test_a_nan_becomes_minus_one_and_is_refused_with_detect_anomaly():
    layer, x = conv(bias=False).eval(), x4()
    x[0, 0, 2, 2] = torch.nan
    hidden = x.nan_to_num(-1)
    assert torch.equal(layer(x), layer(hidden))
    for mode in (True, False):
        with torch.autograd.detect_anomaly(check_nan=False), pytest.raises(UserError, match="not finite; its sign"):
            layer.train(mode)(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: conv("XNORR"), r"no binarizer named 'XNORR'\. Did you mean XNOR\?"),
        (lambda: conv(3), r"binarizer is 3\. Expected an instance such as XNOR\(\), a class or a name"),
        (lambda: conv(groups=3), r"groups is 3, which does not divide in_channels, 4"),
        (lambda: conv("XNOR", 3, 1, 0, 2), r"dilation is 2\. Expected 1"),
        (lambda: conv(padding_mode="reflect"), r"padding_mode is 'reflect'\. Expected 'zeros'"),
        (lambda: conv("XNOR", 3, 2, "same"), r"'same' with a stride of \(2, 2\)"),
        (lambda: conv("XNOR", 3, 1, "sane"), r"padding is 'sane'\. Expected whole numbers, 'same' or 'valid'"),
        (lambda: conv("XNOR", 0), r"kernel_size is 0\. Expected a whole number of 1 or more"),
        (lambda: conv("XNOR", (3, 3, 3)), r"kernel_size is \(3, 3, 3\)\. Expected one whole number, or two"),
        (lambda: conv("XNOR", 3, XNOR()), r"stride is XNOR\(\)\. Expected a whole number"),
        (lambda: BinaryLinear(5, 4, binarizer="XNOR", positions=2), r"positions is 2, which does not divide 5"),
        (lambda: BinaryLinear(0, 4, binarizer="XNOR"), r"in_features is 0\. Expected a whole number of 1 or more"),
    ],
)  # fmt: skip
def test_an_argument_out_of_range_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- what follows each step -------------------------------------------------------------------------------------------
def step(net, optimizer):
    net(torch.randn(8, 6)).square().sum().backward()
    optimizer.step()


def test_an_attached_optimizer_centres_and_clamps_without_a_warning(recwarn):
    net = nn.Sequential(BinaryLinear(6, 4, binarizer="XNOR"), BinaryLinear(4, 4, binarizer="Float"))
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    attach(optimizer, net)
    step(net, optimizer)
    assert net[0].weight.mean(dim=1).abs().max() < 1e-6
    optimizer.param_groups[0]["lr"] = 10.0
    step(net, optimizer)
    assert net[0].weight.abs().max() == 1
    assert not recwarn


def test_a_forgotten_attach_warns_once_and_names_it(recwarn):
    net = BinaryLinear(6, 4, binarizer="XNOR")
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with pytest.warns(UserWarning, match=r"BinaryLinear\(6, 4\) with XNOR.*Call xnorlit\.attach\(optimizer, model\)"):
        step(net, optimizer)
    step(net, optimizer)
    assert not recwarn


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_does_not_count_as_attached(copied):
    net = BinaryLinear(6, 4, binarizer="XNOR")
    attach(optimizer := torch.optim.SGD(net.parameters(), 0.1), net)
    step(net, optimizer)
    net.after_step()
    other = copied(net)
    with pytest.warns(UserWarning, match="xnorlit.attach"):
        step(other, torch.optim.SGD(other.parameters(), 0.1))


def test_another_optimizer_of_an_attached_network_needs_an_attach_of_its_own(recwarn):
    net = BinaryLinear(6, 4, binarizer="XNOR")
    attach(first := torch.optim.SGD(net.parameters(), 0.1), net)
    step(net, first)
    attach(second := torch.optim.SGD(net.parameters(), 0.1), net)
    step(net, second)
    assert not recwarn
    with pytest.warns(UserWarning, match="Adam has stepped 1 binary layers.*xnorlit.attach"):
        step(net, torch.optim.Adam(net.parameters(), 0.1))
    step(net, first)
    assert not recwarn


def test_a_compiled_network_is_recognised_too():
    net = BinaryLinear(6, 4, binarizer="XNOR")
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with pytest.warns(UserWarning, match="xnorlit.attach"):
        step(compiled, torch.optim.SGD(net.parameters(), 0.1))


@pytest.mark.parametrize("binarizer", ["Float", "DoReFa", "BinaryDuo"])
def test_a_method_without_step_hooks_needs_no_attach(binarizer, recwarn):
    net = BinaryLinear(6, 4, binarizer=binarizer)
    step(net, torch.optim.SGD(net.parameters(), 0.1))
    assert not recwarn


def test_hooks_called_by_hand_before_the_first_step_count(recwarn):
    net = BinaryLinear(6, 4, binarizer="XNOR")
    net.after_step()
    step(net, torch.optim.SGD(net.parameters(), 0.1))
    assert not recwarn


def test_a_layers_own_post_layer_stays_in_its_range_attached_or_by_hand():
    net = BinaryLinear(6, 4, binarizer="ReActNet")
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    for tend in (net.after_step, lambda: (attach(optimizer, net), step(net, optimizer))):
        nn.init.constant_(net.post_layer.slope, -0.5)
        tend()
        assert (net.post_layer.slope == 0).all()


def test_removing_it_stops_it_and_epochs_advance_schedules():
    net = nn.Sequential(BinaryLinear(6, 4, binarizer="IRNet"), BinaryLinear(4, 4, binarizer="XNOR"))
    optimizer = torch.optim.SGD(net.parameters(), 10.0)
    tended = attach(optimizer, net)
    start = net[0].binarizer.t.item()
    tended.on_epoch(5, 10)
    assert net[0].binarizer.t.item() > start
    tended.remove()
    step(net, optimizer)
    assert net[1].weight.abs().max() > 1


def test_each_of_two_optimizers_hooks_its_own_weights():
    net = nn.Sequential(BinaryLinear(6, 4, binarizer="XNOR"), BinaryLinear(4, 4, binarizer="XNOR"))
    first, second = (torch.optim.SGD(layer.parameters(), 0.1) for layer in net)
    assert attach(first, net).layers == [net[0]]
    assert attach(second, net).layers == [net[1]]


def test_an_attachment_without_effect_is_refused():
    net = BinaryLinear(6, 4, binarizer="XNOR")
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with pytest.raises(UserError, match=r"Linear has no binary layers\. Call binarize_"):
        attach(optimizer, nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"SGD has no weight of the model's 1 binary layers"):
        attach(optimizer, BinaryLinear(6, 4, binarizer="XNOR"))
    attach(optimizer, net)
    with pytest.raises(UserError, match="already attached to the model"):
        attach(optimizer, net)


@pytest.mark.parametrize("change", [nn.utils.parametrizations.weight_norm, prune.identity])
def test_a_weight_that_no_optimizer_steps_itself_is_refused_by_name(change):
    net = nn.Sequential(BinaryLinear(4, 4, binarizer="XNOR"), BinaryLinear(4, 4, binarizer="XNOR"))
    change(net[1], "weight")
    with pytest.raises(UserError, match=r"the weight of 1 is computed from other parameters"):
        attach(torch.optim.SGD(net.parameters(), 0.1), net)
