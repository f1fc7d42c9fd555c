"""LatentAdam applies Adam to latent weights and SGD to all other parameters."""

import pytest
import torch

from xnorlit.errors import UserError
from xnorlit.training.latent_adam import LatentAdam


def stepped(make, steps=5):
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(3, 4, dtype=torch.float64)) for _ in range(2)]
    optimizers = make(parameters)
    for step in range(steps):
        for number, parameter in enumerate(parameters):
            parameter.grad = (parameter * (step + 1 + number)).detach().cos()
        for optimizer in optimizers:
            optimizer.step()
    return parameters


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_each_group_takes_its_own_optimizers_steps(decay):
    def ours(parameters):
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "latent": True}]
        return [LatentAdam(groups, lr=0.2, momentum=0.8, weight_decay=decay, latent_lr=0.03, eps=1e-6)]

    def theirs(parameters):
        sgd = torch.optim.SGD(parameters[:1], 0.2, momentum=0.8, weight_decay=decay)
        return [sgd, torch.optim.Adam(parameters[1:], 0.03, eps=1e-6, weight_decay=decay)]

    for found, expected in zip(stepped(ours), stepped(theirs), strict=True):
        torch.testing.assert_close(found, expected)


def test_without_latent_weights_it_is_sgd_and_without_others_adam():
    for latent in (False, True):

        def ours(parameters, latent=latent):
            return [LatentAdam([{"params": parameters, "latent": latent}], lr=0.1, latent_lr=0.1)]

        def theirs(parameters, latent=latent):
            adam = torch.optim.Adam(parameters, 0.1, eps=1e-7)
            return [adam if latent else torch.optim.SGD(parameters, 0.1, momentum=0.9)]

        for found, expected in zip(stepped(ours), stepped(theirs), strict=True):
            torch.testing.assert_close(found, expected)


def test_a_saved_state_continues():
    def groups(parameters):
        return [{"params": parameters[:1]}, {"params": parameters[1:], "latent": True}]

    whole = stepped(lambda parameters: [LatentAdam(groups(parameters))], 6)
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(3, 4, dtype=torch.float64)) for _ in range(2)]
    optimizer = LatentAdam(groups(parameters))
    for step in range(6):
        if step == 3:
            state = optimizer.state_dict()
            optimizer = LatentAdam(groups(parameters))
            optimizer.load_state_dict(state)
        for number, parameter in enumerate(parameters):
            parameter.grad = (parameter * (step + 1 + number)).detach().cos()
        optimizer.step()
    for found, expected in zip(parameters, whole, strict=True):
        assert torch.equal(found, expected)


def test_an_invalid_rate_is_refused():
    with pytest.raises(UserError, match="latent_lr is 0"):
        LatentAdam([torch.nn.Parameter(torch.ones(1))], latent_lr=0)
