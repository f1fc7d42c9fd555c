"""Bop flips weights with a steady gradient, applies Adam to the rest, and saves its mean."""

import copy

import pytest
import torch
from torch import nn

from xnorlit.binarize.bnn import BNN
from xnorlit.binarize.latent_free import LatentFree
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.layers import BinaryLinear, attach
from xnorlit.training.bop import Bop


def parameters(weights, real=(1.0, 2.0)):
    binary, other = nn.Parameter(torch.tensor(weights)), nn.Parameter(torch.tensor(real))
    return binary, other, [{"params": [other]}, {"params": [binary], "flips": True}]


def test_by_hand():
    binary, _, groups = parameters([[1.0, 1.0], [-1.0, -1.0]])
    bop = Bop(groups, gamma=0.5, threshold=0.3)
    binary.grad = torch.tensor([[1.0, 0.4], [-1.0, 1.0]])
    bop.step()
    # m = g / 2: w m = 0.5, 0.2, 0.5, -0.5; the first and the third exceed 0.3
    assert binary.tolist() == [[-1, 1], [1, -1]]
    binary.grad = torch.tensor([[1.0, 0.4], [0.0, 0.0]])
    bop.step()
    # m = 0.75, 0.3, -0.25, 0.25: w m = -0.75, 0.3, -0.25, -0.25; 0.3 does not exceed itself
    assert binary.tolist() == [[-1, 1], [1, -1]]
    binary.grad = torch.tensor([[0.0, 0.4], [1.5, -2.0]])
    bop.step()
    # m = 0.375, 0.35, 0.625, -0.875: w m = -0.375, 0.35, 0.625, 0.875
    assert binary.tolist() == [[-1, -1], [-1, 1]]


def test_it_is_the_written_rule_over_many_steps():
    torch.manual_seed(0)
    start = torch.where(torch.rand(20, 30) < 0.5, 1.0, -1.0).double()
    binary = nn.Parameter(start.clone())
    bop = Bop([{"params": [binary], "flips": True}], gamma=0.1, threshold=0.05)
    weight, mean, flips = start, torch.zeros_like(start), 0
    for _ in range(50):
        g = torch.randn(20, 30, dtype=torch.float64)
        binary.grad = g
        bop.step()
        mean = 0.9 * mean + 0.1 * g
        turn = (mean.abs() > 0.05) & (mean.sign() == weight.sign())
        weight = torch.where(turn, -weight, weight)
        flips += turn.sum().item()
        assert torch.equal(binary, weight)
    assert flips > 1000


def test_the_other_groups_take_adams_steps():
    _, other, groups = parameters([[1.0]])
    reference = nn.Parameter(other.detach().clone())
    bop, adam = Bop(groups, lr=0.1, weight_decay=0.01), torch.optim.Adam([reference], lr=0.1, weight_decay=0.01)
    for _ in range(5):
        other.grad = reference.grad = torch.tensor([0.3, -2.0])
        bop.step()
        adam.step()
        assert torch.equal(other, reference)
    assert len(bop.param_groups) == 2


def test_gamma_is_the_learning_rate_that_a_schedule_moves():
    binary, _, groups = parameters([[1.0]])
    bop = Bop(groups, lr=0.1, gamma=1e-3, threshold=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(bop, lambda step: 0.5**step)
    assert [group["lr"] for group in bop.param_groups] == [0.1, 1e-3]
    binary.grad = torch.tensor([[-1.0]])
    bop.step()
    schedule.step()
    bop.step()
    assert bop.param_groups[1]["lr"] == 5e-4
    assert bop.state[binary]["m"].item() == pytest.approx(-(1e-3 * (1 - 5e-4) + 5e-4))


def test_its_mean_is_saved():
    torch.manual_seed(0)
    made = []
    for _ in range(2):
        binary, _, groups = parameters([[1.0, -1.0, 1.0, 1.0]])
        made.append((binary, Bop(groups, gamma=0.3, threshold=0.1)))
    (first, bop), (second, other) = made
    first.grad = torch.randn(1, 4)
    bop.step()
    second.data = first.detach().clone()
    other.load_state_dict(copy.deepcopy(bop.state_dict()))
    first.grad = second.grad = torch.randn(1, 4)
    for each in (bop, other):
        each.step()
    assert torch.equal(first, second)
    assert torch.equal(bop.state[first]["m"], other.state[second]["m"])


def test_impossible_settings_are_refused():
    for settings in ({"gamma": 0.0}, {"gamma": 1.5}, {"threshold": -1.0}):
        with pytest.raises(UserError, match=r"Expected 0 < gamma <= 1, threshold >= 0"):
            Bop([nn.Parameter(torch.ones(1))], **settings)


def test_weights_without_latent_ones_are_signs_from_the_start_and_stay_so():
    torch.manual_seed(0)
    drawn = torch.randn(4, 6)
    layer = BinaryLinear(6, 4, binarizer=LatentFree, initialise=lambda layer: layer.weight.copy_(drawn))
    assert torch.equal(layer.weight, torch.where(drawn >= 0, 1.0, -1.0))
    bop = Bop([{"params": [layer.weight], "flips": True}, {"params": [layer.bias]}], gamma=0.5, threshold=0.0)
    attach(bop, layer)
    before = layer.weight.detach().clone()
    for _ in range(3):
        bop.zero_grad()
        layer(torch.randn(5, 6)).square().sum().backward()
        bop.step()
        assert (layer.weight.abs() == 1).all()
    assert not torch.equal(layer.weight, before)


def test_averaged_weights_are_evaluated_as_signs():
    codes = LatentFree().weight_codes(torch.tensor([[0.2, -0.9], [0.0, 1.0]]))
    assert codes.values.tolist() == [[1, -1], [1, 1]]
    assert codes.scale == 1


def test_the_gradient_is_the_binary_weights_own():
    torch.manual_seed(0)
    x, g, drawn = torch.randn(5, 6, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64), torch.randn(4, 6)
    layer = BinaryLinear(6, 4, bias=False, dtype=torch.float64, binarizer=LatentFree)
    layer.weight.data = drawn.double().sign()
    layer(x).backward(g)
    torch.testing.assert_close(layer.weight.grad, g.T @ torch.where(x >= 0, 1.0, -1.0).double())


@pytest.mark.parametrize(
    ("binarizer", "optimizer", "message"),
    [
        (LatentFree, torch.optim.Adam, r"can only be flipped; Adam cannot flip weights\. Give --model\.optimizer Bop"),
        (XNOR, Bop, r"this network has none\. Give --model\.binarizer LatentFree"),
        (BNN, Bop, r"this network has none"),
    ],
)
def test_mismatched_weights_and_optimizers_are_refused(photos, binarizer, optimizer, message):
    from tests.training.test_module import fit
    from xnorlit.training.module import Classifier

    with pytest.raises(UserError, match=message):
        fit(photos, Classifier("alexnet-small", binarizer(), optimizer=optimizer))


def test_training_flips_weights_and_leaves_them_signs(photos):
    from tests.training.test_module import fit
    from xnorlit.training.module import Classifier

    module = Classifier("alexnet-small", LatentFree(), optimizer=Bop)
    started = []
    module.on_train_start = lambda: started.append(module.net.fc7.linear.weight.detach().clone())
    fit(photos, module)
    weight = module.net.fc7.linear.weight
    assert (weight.abs() == 1).all()
    assert 0 < (weight != started[0]).float().mean() < 0.9
