"""Regularisers: hand-computed values and gradients, over the right layers."""

import pytest
import torch

from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.float import Float
from xnorlit.binarize.twn import TWN
from xnorlit.errors import UserError
from xnorlit.models import build, network_named
from xnorlit.training.losses.bipolar import Bipolar, bipolarity
from xnorlit.training.losses.kurtosis import WeightKurtosis, kurtosis


def weights(*rows):
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("target", "power", "value", "gradient"),
    [
        ("one", 2, 0.25 + 2.25 + 0 + 0.64, [[-1.0, -3.0], [0.0, 1.6]]),
        ("one", 1, 0.5 + 1.5 + 0 + 0.8, [[-1.0, -1.0], [0.0, 1.0]]),  # at the target |.| has a corner
        # mean|W| is 1.5 of the first filter and 0.6 of the second
        ("alpha", 2, 1 + 1 + 0.16 + 0.16, [[-2.0, -2.0], [0.8, 0.8]]),
        ("alpha", 1, 1 + 1 + 0.4 + 0.4, [[-1.0, -1.0], [1.0, 1.0]]),
    ],
)
def test_bipolarity_of_two_filters_of_two_weights(target, power, value, gradient):
    weight = weights([0.5, -2.5], [1.0, -0.2])
    loss = bipolarity(weight, target, power)
    loss.backward()
    assert loss.item() == pytest.approx(value)
    assert torch.allclose(weight.grad, weight.new_tensor(gradient))


def test_kurtosis_of_known_shapes():
    assert kurtosis(weights([3.0, -1.0], [-1.0, 3.0])).item() == pytest.approx(1), "two values"
    assert kurtosis(weights([-1.0, 0.0, 0.0, 1.0])).item() == pytest.approx(2), "m4 = 1/2, variance 1/2"
    assert kurtosis(torch.linspace(-1, 1, 10001)).item() == pytest.approx(1.8, abs=1e-3)


def test_a_step_down_the_kurtosis_gradient_flattens_normal_weights():
    torch.manual_seed(0)
    weight = torch.randn(16, 64, dtype=torch.float64, requires_grad=True)
    before = kurtosis(weight)
    (before - 1.8).square().backward()
    after = kurtosis((weight - 10 * weight.grad).detach())
    assert 1.8 < after < before - 0.01


def network(binarizer):
    torch.manual_seed(0)
    return build(network_named("alexnet-small"), binarizer, classes=3, image_size=32)


def test_they_cover_only_the_latent_weights():
    net = network(BWN())
    for term in (Bipolar(), WeightKurtosis()):
        net.zero_grad()
        term.prepare(net, None, None)
        term(net, None, None).backward()
        moved = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
        assert moved == {f"{name}.weight" for name in ("conv2.conv", "conv3.conv", "conv4.conv", "conv5.conv")} | {
            "fc6.linear.weight",
            "fc7.linear.weight",
        }


def test_bipolar_is_the_weighted_sum_over_layers():
    net = network(BWN())
    expected = sum(bipolarity(layer.weight, "alpha", 2) for name, layer in net.layers() if name not in ("conv1", "fc8"))
    assert Bipolar(weight=0.5)(net, None, None).item() == pytest.approx(0.5 * expected.item())


def test_a_network_without_such_weights_is_refused():
    with pytest.raises(UserError, match="Bipolar needs layers with 1-bit weights"):
        Bipolar().prepare(network(TWN()), None, None)
    with pytest.raises(UserError, match="WeightKurtosis needs few-bit weights"):
        WeightKurtosis().prepare(network(Float()), None, None)
    WeightKurtosis().prepare(network(TWN()), None, None)


@pytest.mark.parametrize(
    ("make", "match"), [(lambda: Bipolar(0.0), "weight is 0"), (lambda: WeightKurtosis(target=0.5), "target is 0.5")]
)
def test_settings_out_of_range_are_refused(make, match):
    with pytest.raises(UserError, match=match):
        make()


@pytest.mark.parametrize(("weight", "target"), [(1.0, 1.8), (0.5, 2.5), (2.0, 3.0)])
def test_kurtosis_is_the_weighted_mean_of_squared_distances_to_its_target(weight, target):
    net = network(BWN())
    found = [kurtosis(layer.weight) for name, layer in net.layers() if name not in ("conv1", "fc8")]
    expected = weight * sum((each - target) ** 2 for each in found) / len(found)
    assert WeightKurtosis(weight, target)(net, None, None).item() == pytest.approx(expected.item())
