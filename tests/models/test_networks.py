"""Shapes, parameter counts and multiply-adds of every network, against published or hand-computed figures."""

import pytest
import torch

from tests.models.tables import (
    BIASES_224,
    BINARY_224,
    DESIGNS,
    MACS_224,
    NORMS,
    SHAPES,
    SMALL,
    WEIGHTS_224,
)
from tests.runs.factory import BINARY_PACKED_BITS, PACKED_BITS
from xnorlit.binarize.bnn import BNN
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.float import Float
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.models import Block, NetworkSpec, build, network_named, networks, summarize


def summary_of(name, binarizer=None, classes=1000):
    network = network_named(name)
    with torch.device("meta"):  # No weights are drawn.
        model = build(network, binarizer or Float(), classes=classes, image_size=network.image_size)
    return summarize(model)


def test_every_network_has_its_shapes_stated_here():
    assert networks().keys() == SHAPES.keys() | DESIGNS.keys()


@pytest.mark.parametrize("name", SHAPES)
def test_layer_shapes_and_macs(name):
    """Each weight is used once per output position."""
    summary = summary_of(name, classes=10 if name in SMALL else 1000)
    assert {layer.name: (layer.weight, layer.output) for layer in summary.layers} == SHAPES[name]
    for layer in summary.layers:
        positions = 1 if len(layer.output) == 1 else layer.output[1] * layer.output[2]
        assert layer.macs == layer.weights * positions


@pytest.mark.parametrize("name", NORMS)
def test_parameters_by_hand(name):
    summary = summary_of(name)
    assert summary.parameters == WEIGHTS_224 + BIASES_224 + NORMS[name]
    assert sum(layer.macs for layer in summary.layers) == MACS_224


def test_larqs_published_parameter_count():
    """62 396 768 by larq's own table, which counts the norms' moving statistics and has no scale in them."""
    network = network_named("alexnet-xnor-larq")
    with torch.device("meta"):
        model = build(network, XNOR(), classes=1000, image_size=224)
    moving = sum(buffer.numel() for name, buffer in model.named_buffers() if "running" in name)
    summary = summarize(model)
    assert summary.parameters + moving == 62_396_768
    larqs = summary.binary_weights + 32 * (summary.parameters - summary.binary_weights + moving)  # no alpha in it
    assert round(larqs / 8 / 2**20, 2) == 22.81


def test_the_small_network_weighs_what_its_recipe_says():
    summary = summary_of("alexnet-small", XNOR(), classes=10)
    assert summary.parameters == 1_472_650
    assert summary.binary_weights == 1_458_688
    assert summary.float_bits // 8 == 5_890_600
    assert summary.packed_bits == PACKED_BITS
    assert summary.binary_packed_bits == BINARY_PACKED_BITS


def test_cnv_weighs_what_is_published():
    """1,542,848 weights, two numbers for each channel of a norm and two of the last one; 59.5 M multiply-adds."""
    summary = summary_of("cnv", BNN(), classes=10)
    assert (summary.parameters, summary.binary_weights) == (1_542_848 + 2 * 1_920 + 2, 1_542_848)
    of_pixels, *others = [layer.macs for layer in summary.layers]
    assert (of_pixels, sum(others)) == (1_728 * 900, 57_906_176)


def test_xnor_packs_alexnet_into_a_tenth():
    summary = summary_of("alexnet-xnor", XNOR())
    assert summary.binary_weights == BINARY_224
    # Thresholds and directions behind conv1 to conv5 and fc6, scale and shift per output of fc7, fc8.
    ends = 32 * 34_848 + 32 * (4_096_000 + 2 * 1000)
    assert summary.packed_bits == BINARY_224 + 33 * (96 + 256 + 384 + 384 + 256 + 4096) + 32 * 2 * 4096 + ends


def test_a_float_network_packs_unchanged():
    summary = summary_of("alexnet-xnor")
    assert (summary.binary_weights, summary.binary_packed_bits) == (0, 0)
    assert summary.packed_bits == summary.float_bits == 32 * summary.parameters


def test_parameters_are_counted_once():
    for name in SHAPES:
        network = network_named(name)
        with torch.device("meta"):
            model = build(network, BWN(), classes=10, image_size=network.image_size)
        assert summarize(model).parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_twin_starts_from_the_same_latent_weights():
    network = network_named("alexnet-small")
    models = []
    for binarizer in (XNOR(), Float(), BWN()):
        torch.manual_seed(3)
        models.append(build(network, binarizer, classes=10, image_size=32))
    for model in models[1:]:
        for (key, ours), theirs in zip(model.state_dict().items(), models[0].state_dict().values(), strict=True):
            assert torch.equal(ours, theirs), key


def test_float_gets_a_relu_only_where_a_block_has_none():
    def rectified(name):
        with torch.device("meta"):
            model = build(network_named(name), Float(), classes=10, image_size=network_named(name).image_size)
        return {layer: module.binarizer.rectify for layer, module in model.layers()}

    binary = {"conv2", "conv3", "conv4", "conv5", "fc6", "fc7"}
    assert {layer for layer, relu in rectified("alexnet-small").items() if relu} == binary - {"conv2"}
    assert not any(rectified("alexnet").values())
    assert not any(rectified("alexnet-xnor-relu").values())
    assert not any(rectified("alexnet-2012").values())
    assert {layer for layer, relu in rectified("alexnet-dorefa").items() if relu} == binary  # fc8 reads a clip
    assert {layer for layer, relu in rectified("alexnet-binary").items() if relu} == {*binary, "fc8"}


def test_the_float_twin_is_not_linear_between_any_two_layers():
    """Without the ReLU a block of norm and convolution is linear, and so is a stack of them."""
    model = build(network_named("alexnet-small"), Float(), classes=10, image_size=32).double()
    tail = torch.nn.Sequential(model.conv3, model.conv4).eval()
    x = torch.randn(1, 96, 8, 8, dtype=torch.float64)
    zero = tail(torch.zeros_like(x))
    assert not torch.allclose(tail(-x) - zero, zero - tail(x))


def test_layers_are_overridden_by_name_and_pattern():
    overrides = {"fc*": BWN(), "fc7": Float(), "conv1": BWN()}
    model = build(network_named("alexnet-small"), XNOR(), classes=10, image_size=32, layers=overrides)
    kinds = {name: type(layer.binarizer).__name__ for name, layer in model.layers()}
    assert kinds == {
        "conv1": "BWN",
        **dict.fromkeys(("conv2", "conv3", "conv4", "conv5"), "XNOR"),
        "fc6": "BWN",
        "fc7": "Float",
        "fc8": "BWN",
    }


def test_an_override_that_matches_nothing_names_the_near_miss():
    with pytest.raises(UserError, match=r"no layer of alexnet-small matches 'conv22'\. Did you mean conv2\?"):
        build(network_named("alexnet-small"), XNOR(), classes=10, image_size=32, layers={"conv22": Float()})


def test_an_unknown_network_names_the_near_miss():
    with pytest.raises(UserError, match=r"no network named alexnet-xnr\. Did you mean alexnet-xnor\?"):
        network_named("alexnet-xnr")


def test_a_sign_behind_a_relu_is_refused():
    with pytest.raises(UserError, match="conv2: XNOR takes the sign of a ReLU's output"):
        build(network_named("alexnet"), XNOR(), classes=10, image_size=224)


def test_an_image_too_small_is_refused():
    with pytest.raises(UserError, match="image is too small"):
        build(network_named("alexnet-small"), XNOR(), classes=10, image_size=7)


def test_a_block_of_unknown_steps_is_refused():
    with pytest.raises(UserError, match="block odd: steps 'norm convv' must be words out of"):
        Block("odd", "norm convv")


def test_pixels_are_normalised_inside_the_network():
    model = build(network_named("alexnet-small"), Float(), classes=10, image_size=32, mean=(10, 20, 30), std=(1, 2, 4))
    pixels = torch.full((1, 3, 2, 2), 30, dtype=torch.uint8)
    assert model.normalize(pixels)[0, :, 0, 0].tolist() == [20, 5, 0]


def test_one_step_trains_every_parameter_of_every_network():
    for name in ("alexnet-small", "alexnet-xnor-relu"):
        network = network_named(name)
        model = build(network, XNOR(), classes=10, image_size=network.image_size).train()
        pixels = torch.randint(0, 256, (4, 3, network.image_size, network.image_size), dtype=torch.uint8)
        model(pixels).square().sum().backward()
        untouched = [key for key, parameter in model.named_parameters() if parameter.grad is None]
        assert untouched == []


def test_the_builders_shapes_are_those_of_the_forward_pass():
    seen = {}
    for name in ("alexnet-small", "alexnet-dorefa"):
        network = network_named(name)
        model = build(network, Float(), classes=10, image_size=network.image_size).eval()
        for layer_name, layer in model.layers():
            layer.register_forward_hook(lambda _, __, y, key=layer_name: seen.update({key: tuple(y.shape[1:])}))
        model(torch.zeros(1, 3, network.image_size, network.image_size, dtype=torch.uint8))
        assert model.outputs == seen


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("alexnet-xnor", (2 / 3456) ** 0.5),
        ("alexnet-xnor-relu", 2 / 3456),
        ("alexnet-xnor-larq", (2 / (3456 + 3456)) ** 0.5),
        ("alexnet-small", (1 / (3 * 1152)) ** 0.5),
        ("alexnet-2012", 0.01),
        ("alexnet-duo", (4 / (2304 + 2304)) ** 0.5),  # 256 channels
    ],
)
def test_initial_weights_have_the_recipes_deviation(name, deviation):
    """conv4: 384 x 9 = 3,456 weights into and out of a channel; 128 x 9 = 1,152 in the small network."""
    torch.manual_seed(0)
    network = network_named(name)
    model = build(network, Float(), classes=10, image_size=network.image_size)
    assert model.conv4.conv.weight.std().item() == pytest.approx(deviation, rel=0.01)


def test_a_module_that_keeps_a_spec_owns_no_parameters_and_a_wrong_one_is_refused_at_once():
    keeper = torch.nn.Module()
    keeper.spec = NetworkSpec(network_named("alexnet-small"), BWN(), {"fc*": Float()})
    assert not list(keeper.modules())[1:]
    built = dict(keeper.spec.build(classes=3).layers())
    assert type(built["conv2"].binarizer) is BWN
    assert type(built["fc6"].binarizer) is Float
    with pytest.raises(UserError, match="no layer of alexnet-small matches 'cnv2'"):
        NetworkSpec(network_named("alexnet-small"), BWN(), {"cnv2": Float()})
