"""Promises of every binarizer. A new file in xnorlit/binarize is found automatically."""

import copy
import inspect
import math
import re
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import nn

from xnorlit.binarize import Binarizer, binarizers
from xnorlit.errors import UserError
from xnorlit.layers import BinaryConv2d, BinaryLayer, BinaryLinear, attach
from xnorlit.layers.convert import binarize_
from xnorlit.models import Block, Network, build, network_named
from xnorlit.training.bop import Bop
from xnorlit.training.own_network import OwnSpec

ALL = binarizers()


def conv(name, dtype=torch.float64, **settings):
    torch.manual_seed(0)

    def initialise(layer):
        nn.init.normal_(layer.weight, std=0.3)
        nn.init.normal_(layer.bias)

    binarizer = ALL[name](**settings)
    return BinaryConv2d(
        4, 6, 3, padding=1, dtype=dtype, binarizer=binarizer, rectify=True, post_layer=False, initialise=initialise
    )


def optimizer_of(module, binarizer, rate):
    """Adam, or Bop for flipped weights, with the parameter groups of training."""
    if not binarizer.flips:
        return torch.optim.Adam(module.parameters(), rate)
    groups = [{"params": [], "flips": flips} for flips in (False, True)]
    flipped = {id(m.weight) for m in module.modules() if isinstance(m, BinaryLayer) and m.binarizer.flips}
    for parameter in module.parameters():
        groups[id(parameter) in flipped]["params"].append(parameter)
    return Bop(groups, rate, gamma=rate, threshold=rate)  # Few weights flip at a time.


def inputs(dtype=torch.float64):
    return torch.randn(2, 4, 5, 5, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ALL)
def test_training_and_evaluation_compute_the_same(name):
    layer, x = conv(name), inputs()
    torch.testing.assert_close(layer.train()(x), layer.eval()(x))


@pytest.mark.parametrize("name", ALL)
def test_codes_times_scale_is_the_operand(name):
    layer, x = conv(name), inputs()
    weights, values = layer.binarizer.weight_codes(layer.weight), layer.binarizer.input_codes(x)
    scale = weights.scale.view(-1, 1, 1, 1)
    torch.testing.assert_close(scale * weights.values, layer.binarizer.weight(layer.weight).detach())
    torch.testing.assert_close(values.scale * values.values, layer.binarizer.input(x).detach())


@pytest.mark.parametrize("name", ALL)
def test_codes_fit_their_bits(name):
    layer, x = conv(name), inputs()
    layer.train()(x)  # A first batch may set a scale.
    binarizer = layer.binarizer
    for bits, codes, parts in (
        (binarizer.weight_bits, binarizer.weight_codes(layer.weight).values, len(layer.weight)),
        (binarizer.input_bits, binarizer.input_codes(x).values, 1),
    ):
        if bits < 32:
            # One of two values around a centre is packed as a bit.
            assert binarizer.cannot_pack or binarizer.two_valued or torch.equal(codes, codes.round())
            assert all(len(part.unique()) <= 2**bits for part in codes.chunk(parts))


@pytest.mark.parametrize("name", ALL)
def test_gradients_reach_weights_inputs_and_bias(name):
    layer, x = conv(name), inputs().requires_grad_()
    layer(x).square().sum().backward()
    for tensor in (x, layer.weight, layer.bias):
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().max() > 0


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_is_linear_and_does_not_change_its_input(name):
    layer, x = conv(name), inputs().requires_grad_()
    if layer.binarizer.gradient_bits < 32:
        pytest.skip("its gradient is quantised at random")
    wanted = [x, *layer.parameters()]
    y = layer(x)
    g = torch.randn_like(y)
    once, kept = torch.autograd.grad(y, wanted, g, retain_graph=True), g.clone()
    thrice = torch.autograd.grad(y, wanted, 3 * g)
    assert torch.equal(g, kept)
    for one, three in zip(once, thrice, strict=True):
        torch.testing.assert_close(three, 3 * one)


@pytest.mark.parametrize("name", ALL)
def test_memory_format_changes_nothing_and_is_kept(name):
    def trained(memory_format):
        layer = conv(name).to(memory_format=memory_format)
        layer.bind(ALL[name](), rectify=True)
        x = inputs().to(memory_format=memory_format).requires_grad_()
        torch.manual_seed(0)
        y = layer(x)
        y.square().sum().backward()
        return y, x.grad, layer.weight.grad

    random = ALL[name]().gradient_bits < 32
    for last, plain in zip(trained(torch.channels_last), trained(torch.contiguous_format), strict=True):
        assert last.is_contiguous(memory_format=torch.channels_last)
        if not random:
            torch.testing.assert_close(last, plain, rtol=1e-5, atol=1e-5)  # A sum in another order.


@pytest.mark.parametrize("name", ALL)
def test_state_survives_saving(name, tmp_path):
    layer, other = conv(name), conv(name)
    nn.init.normal_(other.weight)
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(layer.eval()(inputs()), other.eval()(inputs()))


@pytest.mark.parametrize("name", ALL)
def test_each_layer_has_a_binarizer_of_its_own(name):
    settings = ALL[name]()
    before = copy.deepcopy(settings.__dict__)
    first = settings.for_layer(torch.randn(2, 3), rectify=True)
    assert first is not settings
    assert settings.__dict__.keys() == before.keys()
    assert settings.rectify is False


@pytest.mark.parametrize("name", ALL)
def test_two_steps_change_the_weights_and_lower_the_loss(name):
    layer, x = conv(name, torch.float32), inputs(torch.float32)
    target = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(2))
    start = layer.weight.detach().clone()
    optimizer = optimizer_of(layer, layer.binarizer, 1e-2)
    attach(optimizer, layer)
    losses = []
    for _ in range(30):
        loss = (layer(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert not torch.equal(layer.weight, start)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ALL)
def test_a_linear_layer_is_the_convolution_of_a_one_pixel_map(name):
    torch.manual_seed(0)
    linear = BinaryLinear(8, 5, dtype=torch.float64, binarizer=name, rectify=True)
    convolution = BinaryConv2d(8, 5, 1, dtype=torch.float64, binarizer=name, rectify=True)
    state = convolution.state_dict().items()
    linear.load_state_dict({key: value.flatten(1) if value.ndim == 4 else value for key, value in state})
    x = torch.randn(3, 8, dtype=torch.float64)
    for mode in (True, False):
        expected = convolution.train(mode)(x[:, :, None, None]).flatten(1)
        torch.testing.assert_close(linear.train(mode)(x), expected)


@pytest.mark.parametrize("name", ALL)
def test_bfloat16_training_stays_near_fp32_and_evaluation_leaves_autocast(name):
    layer, x = conv(name, torch.float32), inputs(torch.float32)
    full = layer.train()(x)
    exact = layer.eval()(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer.train()(x)
        evaluated = layer.eval()(x)
    assert (rough.float() - full).abs().max() < 0.05 * full.abs().max()
    assert torch.equal(evaluated, exact)


# conv3 and fc7 keep their input's shape, so that a shortcut fits; conv2 has a pool for what stands behind a layer.
SMALL = Network(
    "small",
    12,
    "made up",
    (
        Block("conv1", "conv norm relu", 8, kernel=3, padding=1, binary=False),
        Block("conv2", "norm conv pool", 12, kernel=3, padding=1, pool=(2, 2)),
        Block("conv3", "norm conv pool", 12, kernel=3, padding=1, pool=(2, 2)),
        Block("fc6", "flatten norm linear", 24),
        Block("fc7", "norm linear", 24),
        Block("fc8", "norm relu linear", binary=False),
    ),
)


def network(name, seed=0):
    torch.manual_seed(seed)
    return build(SMALL, ALL[name](), classes=4, image_size=12)


def images(count=16):
    return torch.randint(0, 256, (count, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def trained(name, steps=2):
    """A network after some training steps, with the binarizers' step hooks."""
    model = network(name)
    optimizer = optimizer_of(model, ALL[name](), 1e-3)
    tended = attach(optimizer, model)
    for step in range(steps):
        tended.on_epoch(step, steps)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images()), torch.arange(16) % 4).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("name", ALL)
def test_two_steps_train_every_parameter_of_a_network(name):
    model, start = trained(name), dict(network(name).named_parameters())
    for key, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), key
        if not key.endswith(("conv.bias", "linear.bias")):  # In front of a norm a bias only shifts the mean.
            assert parameter.grad.abs().max() > 0, key
        assert parameter.shape == start[key].shape


@pytest.mark.parametrize("name", ALL)
def test_latent_weights_start_alike_whatever_the_binarizer(name):
    """Random numbers of the method, or modules that it adds, do not change the initial weights."""
    float_twin = dict(network("Float").named_parameters())
    last = dict(network(name).named_parameters())["fc8.linear.weight"]
    assert torch.equal(last, float_twin["fc8.linear.weight"])


def made(form, binarizer, seed):
    """The binary layers of a network of some form, and the next random number after it was made."""
    torch.manual_seed(seed)
    if form in ("resnet20", "vgg-small"):
        net = build(network_named(form), ALL[binarizer](), classes=3, image_size=32)
    else:
        net = nn.Sequential(*(nn.Conv2d(16, 16, 3) for _ in range(4)))
        if form == "converted":
            binarize_(net, binarizer)
        else:
            net = OwnSpec(net, ALL[binarizer]()).build(classes=3)
    return [layer for layer in net.modules() if isinstance(layer, BinaryLayer)], torch.rand(1)


@pytest.mark.parametrize("form", ["resnet20", "vgg-small", "converted", "own"])
@pytest.mark.parametrize(("name", "learned", "largest"), [("ReCU", "gain", 1), ("RBNN", "angle", math.pi / 2)])
def test_each_layer_draws_its_own_numbers_which_follow_from_the_seed(name, learned, largest, form):
    (layers, after), (again, _), (others, _), (twin, after_twin) = (
        made(form, *given) for given in ((name, 0), (name, 0), (name, 1), ("Float", 0))
    )
    drawn, same, different = (
        [getattr(layer.binarizer, learned) for layer in found if hasattr(layer.binarizer, learned)]
        for found in (layers, again, others)
    )
    assert len(drawn) >= 4
    assert all(map(torch.equal, drawn, same))
    assert len({tuple(values[:16].tolist()) for values in (*drawn, *different)}) == 2 * len(drawn)
    if form not in ("converted", "own") or learned == "angle":  # `binarize_` fits gains to the weights.
        assert 0 <= min(values.min() for values in drawn) <= max(values.max() for values in drawn) <= largest
        assert torch.cat(drawn).mean().item() == pytest.approx(largest / 2, rel=0.3)
    assert torch.equal(after, after_twin)
    assert all(torch.equal(one.weight, other.weight) for one, other in zip(layers, twin, strict=True))


@pytest.mark.gpu
def test_a_layer_on_a_gpu_leaves_its_generator_alone():
    torch.manual_seed(0)
    weights = torch.randn(2, 8, 4, device="cuda")
    state = torch.cuda.get_rng_state()
    gains = [ALL["ReCU"]().for_layer(weight).gain for weight in (*weights, weights[0])]
    assert torch.equal(state, torch.cuda.get_rng_state())
    assert torch.equal(gains[0], gains[2])
    assert not torch.equal(gains[0], gains[1])


@pytest.mark.parametrize("name", ALL)
def test_a_trained_network_comes_back_from_its_file(name, tmp_path):
    model, other = trained(name), network(name, seed=1)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    with torch.no_grad():
        expected = model.eval()(images())
        assert torch.isfinite(expected).all()
        assert torch.equal(other.eval()(images()), expected)


@pytest.mark.parametrize("name", ALL)
def test_the_packed_network_computes_the_evaluation_or_the_refusal_names_the_layer(name):
    pytest.importorskip("xnorlit.packed._kernels")
    from xnorlit.export.pack import pack
    from xnorlit.packed import PackedNetwork

    model = trained(name)
    try:
        graph, tensors = pack(model, image_size=12, classes=list("abcd"))
    except UserError as refusal:
        layer, _, why = str(refusal).partition(" cannot be packed: ")
        assert layer in dict(model.layers())
        assert len(why) > 20
        return
    assert not any(layer.binarizer.cannot_pack for _, layer in model.layers())
    logits = PackedNetwork(graph, tensors)(images().permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        expected = model.eval()(images())
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_the_docstring_states_formula_and_source(name):
    text = ALL[name].__doc__
    assert "`" in text.split("\n\n")[0], "the first paragraph states the formula"
    assert "Source:" in text or ALL[name].weight_bits == 32 == ALL[name].input_bits


def test_the_page_names_every_binarizer_that_follows_the_epochs():
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    named = re.search(r"`on_epoch` advances the schedules of ([^;]*);", page)
    own = {name for name, kind in ALL.items() if kind.on_epoch is not Binarizer.on_epoch}
    assert set(re.findall(r"`(\w+)`", named[1])) == own - {"WeightsOnly"}, "which only passes the epoch on"


def test_integer_sums_are_exact_for_long_dot_products():
    torch.manual_seed(0)
    layer = BinaryLinear(9216, 8, bias=False, binarizer="XNOR")
    nn.init.normal_(layer.weight)
    x = torch.randn(3, 9216) + layer.weight.detach()[:3]
    sums = torch.where(x >= 0, 1, -1) @ torch.where(layer.weight >= 0, 1, -1).T
    assert sums.abs().max() > 256, "beyond what bfloat16 holds"
    assert torch.equal(layer.eval()(x), sums * layer.binarizer.weight_codes(layer.weight).scale)


WORDS = [
    (name, setting, word)
    for name, kind in ALL.items()
    for setting, hint in get_type_hints(kind.__init__).items()
    for each in (hint, *get_args(hint))
    if get_origin(each) is Literal
    for word in get_args(each)
]


@pytest.mark.parametrize(("name", "setting", "word"), WORDS)
def test_a_misspelt_word_is_refused_when_the_binarizer_is_made(name, setting, word):
    with pytest.raises(UserError, match=rf"{name}'s {setting} is '{word}x'\. Expected .*'{word}'"):
        ALL[name](**{setting: f"{word}x"})


def test_numbers_and_flags_of_another_type_are_refused_and_signatures_stay():
    for wrong in ({"center": "yes"}, {"clip": 1}, {"gradient": None}):
        with pytest.raises(UserError, match=f"XNOR's {next(iter(wrong))} is "):
            ALL["XNOR"](**wrong)
    with pytest.raises(UserError, match=r"PACT's init is '2'\. Expected a number\."):
        ALL["PACT"](init="2")
    with pytest.raises(UserError, match=r"WeightsOnly\.method is 'BNN'\. Expected a binarizer, such as BWN\(\)\."):
        ALL["WeightsOnly"]("BNN")
    with pytest.raises(TypeError, match="unexpected keyword argument 'centre'"):
        ALL["XNOR"](centre=True)
    assert list(inspect.signature(ALL["XNOR"]).parameters)[:2] == ["gradient", "center"]


@pytest.mark.parametrize("name", ALL)
def test_an_empty_batch_has_an_empty_output_as_torchs_has(name):
    x = torch.empty(0, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    trained, evaluated = (conv(name).train(mode)(x) for mode in (True, False))
    assert trained.shape == evaluated.shape == (0, 6, 5, 5)
    trained.sum().backward()
