"""BNN-DL's loss: hand-computed terms, with gamma and beta instead of the activations' moments."""

import pytest
import torch
from torch import nn

from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.layers import BatchNorm1d, BatchNorm2d, BinaryLinear
from xnorlit.models import build, network_named
from xnorlit.training.losses.distribution import DistributionLoss, distribution_loss, norms_before_quantised_inputs


def small(binarizer, network="alexnet-small"):
    return build(network_named(network), binarizer, classes=3, image_size=network_named(network).image_size)


def released(x):
    """What the released layer computes from activations `(N, C)`."""
    mean = x.mean(dim=0)
    std = (((x - mean) ** 2).mean(dim=0) + 1e-10).sqrt()
    first = (torch.min(2 - mean - std, 2 + mean - std).clamp(min=0) ** 2).mean()
    return first + ((std - 4).clamp(min=0) ** 2).mean() + (mean**2 - std**2).clamp(min=0).mean()


def test_by_hand():
    # m, s = 0.5, 1: (2 - 1.5)^2; -3, 1: 9 - 1; 0, 6: (6 - 4)^2; 1, 2: nothing
    mean, deviation = torch.tensor([0.5, -3.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 6.0, 2.0])
    assert distribution_loss(mean, deviation).item() == pytest.approx((0.25 + 8 + 4) / 4)


def test_gamma_and_beta_are_the_moments_that_the_released_code_measures():
    """Value and gradient, through a batch norm with a tiny eps; its input receives no gradient."""
    torch.manual_seed(0)
    norm = BatchNorm1d(6, eps=1e-12).double().train()
    nn.init.normal_(norm.weight, std=3)
    nn.init.normal_(norm.bias, std=2)
    x = torch.randn(50, 6, dtype=torch.float64, requires_grad=True)
    measured, ours = released(norm(x)), distribution_loss(norm.bias, norm.weight.abs())
    torch.testing.assert_close(ours, measured, rtol=1e-8, atol=1e-8)
    of_x, *expected = torch.autograd.grad(measured, (x, norm.weight, norm.bias))
    for gradient, reference in zip(torch.autograd.grad(ours, (norm.weight, norm.bias)), expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-8, atol=1e-8)
    assert of_x.abs().max() < 1e-10


def test_it_reads_the_norms_before_quantised_inputs_wherever_their_block_has_them():
    net = small(XNOR())
    blocks = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    assert norms_before_quantised_inputs(net) == [net.get_submodule(f"{block}.norm") for block in blocks]
    behind = small(XNOR(), "alexnet-xnor-larq")
    assert len(norms_before_quantised_inputs(behind)) == 6


def test_activations_and_pools_between_norm_and_quantiser_do_not_hide_the_norm():
    vgg = small(XNOR(), "vgg-small")
    blocks = [vgg.get_submodule(name) for name in ("stem", "conv2", "conv3", "conv4", "conv5")]
    assert norms_before_quantised_inputs(vgg) == [block.norm for block in blocks]
    assert vgg.training


@pytest.mark.parametrize(
    ("network", "layer"),
    [("resnet20", "unit2.conv"), ("resnet18-cifar", "unit2.conv1"), ("quicknet-small", "unit2.conv")],
)
def test_a_sum_with_a_shortcut_is_refused_because_no_norm_has_its_moments(network, layer):
    with torch.device("meta"):
        net = small(XNOR(), network)
    with pytest.raises(UserError, match=rf"but {layer} of {network} reads several values that meet \(add\)"):
        DistributionLoss().prepare(net, None, None)


class Own(nn.Module):
    """Of two linear layers, where a norm is registered in another order than it is called in."""

    name = "Own"

    def __init__(self, joined):
        super().__init__()
        self.first, self.last = (BinaryLinear(4, 4, binarizer=XNOR) for _ in range(2))
        self.before_last, self.before_first = BatchNorm1d(4), BatchNorm1d(4)
        self.joined = joined

    def layers(self):
        return [("first", self.first), ("last", self.last)]

    def forward(self, x):
        y = self.first(self.before_first(x))
        y = nn.functional.hardtanh(self.before_last(y))
        return self.last(self.joined(y, x))


def test_the_norms_of_an_own_network_are_found_as_its_forward_calls_them():
    net = Own(lambda y, x: y.flatten(1))
    assert norms_before_quantised_inputs(net) == [net.before_first, net.before_last]
    for joined in (torch.add, lambda y, x: torch.cat([y, x])):
        with pytest.raises(UserError, match="last of Own reads several values that meet"):
            norms_before_quantised_inputs(Own(joined))
    with pytest.raises(
        UserError, match=r"torch\.fx cannot trace Own \(TraceError: .*Remove the loss, or the control flow"
    ):
        norms_before_quantised_inputs(Own(lambda y, x: y if y.sum() > 0 else x))


def test_it_moves_gamma_and_beta_and_is_dropped_for_the_last_epochs():
    net, term = small(XNOR()), DistributionLoss(weight=2, until=0.5)
    term.prepare(net, None, None)
    logits = torch.zeros(2, 3)
    loss = term(net, None, logits)
    assert loss.item() == pytest.approx(2 * (2 - 0 - 1) ** 2)  # fresh norms: beta 0, gamma 1
    loss.backward()
    assert net.conv2.norm.weight.grad.abs().min() > 0
    assert net.conv1.norm.weight.grad is None  # a ReLU follows, nothing is quantised
    seen = []
    for epoch in range(4):
        term.on_epoch(epoch, 4)
        seen.append(term(net, None, logits).item() > 0)
    assert seen == [True, True, False, False]


def test_a_norm_without_gamma_has_the_deviation_one():
    net, term = small(XNOR()), DistributionLoss()
    for module in net.modules():
        if isinstance(module, BatchNorm1d | BatchNorm2d):
            module.register_parameter("weight", None)
    term.prepare(net, None, None)
    assert term(net, None, torch.zeros(2, 3)).item() == pytest.approx(2)


def test_a_norm_without_gamma_and_beta_is_left_out_and_a_network_of_such_norms_is_refused():
    net, term = Own(lambda y, x: y), DistributionLoss()
    net.before_first = BatchNorm1d(4, affine=False)
    nn.init.constant_(net.before_last.weight, 5)
    term.prepare(net, None, None)
    assert term(net, None, torch.zeros(2, 3)).item() == pytest.approx(2 * (5 - 4) ** 2)
    net.before_last = BatchNorm1d(4, affine=False)
    with pytest.raises(UserError, match=r"those of Own have neither \(affine=False\)"):
        term.prepare(net, None, None)


def test_real_inputs_and_bad_settings_are_refused():
    with pytest.raises(UserError, match="alexnet-small has none with this binarizer"):
        DistributionLoss().prepare(small(BWN()), None, None)
    for bad in ({"weight": -1.0}, {"weight": float("nan")}, {"until": 1.5}):
        with pytest.raises(UserError, match="Expected a"):
            DistributionLoss(**bad)
