"""Fine-tuning starts with learned scales that fit the trained weights best."""

import pytest
import torch

from xnorlit.binarize import Binarizer, binarizers
from xnorlit.binarize.bwn import alpha
from xnorlit.binarize.lsq import LSQ
from xnorlit.binarize.nearest import nearest_scale
from xnorlit.binarize.straight_through import sign
from xnorlit.binarize.ttq import TTQ


def test_by_hand():
    """<W, c> = 3 + 1 + 2 = 6 over 3 codes that are not 0; by filter (3 + 1) / 2 and 2 / 1."""
    weight = torch.tensor([[3.0, -1.0], [2.0, 0.1]])
    codes = torch.tensor([[1.0, -1.0], [1.0, 0.0]])
    assert nearest_scale(weight, codes) == 2
    assert nearest_scale(weight, codes, by_filter=True).tolist() == [2, 2]
    assert nearest_scale(weight, torch.zeros(2, 2), by_filter=True).tolist() == [0, 0]


def test_for_signs_it_is_alpha():
    weight = torch.randn(5, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(nearest_scale(weight, sign(weight), by_filter=True), alpha(weight))


@pytest.mark.parametrize("name", [name for name, cls in binarizers().items() if cls.fit is not Binarizer.fit])
def test_no_other_scale_fits_the_weights_better(name):
    torch.manual_seed(0)
    weight = torch.randn(6, 40, dtype=torch.float64)
    bound = binarizers()[name]().for_layer(torch.randn_like(weight), rectify=False).double()
    bound.fit(weight)
    made = bound.weight(weight).detach()
    errors = {factor: (weight - factor * made).square().sum().item() for factor in (0.5, 0.98, 1.0, 1.02, 2.0)}
    assert min(errors, key=errors.get) == 1.0


@pytest.mark.parametrize("scope", ["layer", "filter"])
def test_lsqs_step_is_the_best_of_many(scope):
    torch.manual_seed(0)
    weight = 3 * torch.randn(4, 500, dtype=torch.float64)
    bound = LSQ(weight_bits=2, scope=scope).for_layer(torch.randn_like(weight), rectify=False)
    bound.fit(weight)
    fitted = (weight - bound.weight(weight)).square().sum()
    for factor in torch.linspace(0.2, 3, 50):
        bound.weight_step.data.mul_(factor)
        assert fitted <= (weight - bound.weight(weight)).square().sum() * 1.01
        bound.weight_step.data.div_(factor)


def test_ttqs_two_scales_are_the_means_of_their_sides():
    weight = torch.tensor([[1.0, 0.5, -0.25, 0.001]])
    bound = TTQ().for_layer(weight, rectify=False)
    bound.fit(weight)
    assert (bound.plus.item(), bound.minus.item()) == (0.75, 0.25)
