"""Recalibration changes the validated network but not the training."""

import pytest
import torch

from tests.training.test_module import fit
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.models import recalibrate
from xnorlit.training.module import Classifier
from xnorlit.training.recalibration import Recalibration


def trained(photos, *callbacks):
    torch.manual_seed(0)
    module = Classifier("alexnet-small", XNOR())
    return module, fit(photos, module, epochs=2, callbacks=list(callbacks))


def test_the_last_statistics_are_averages_over_training_images(photos):
    module, trainer = trained(photos, Recalibration(images=16))
    found = {name: value.clone() for name, value in module.net.named_buffers()}
    recalibrate(module.net, trainer.datamodule.training_sample(16))
    for name, value in module.net.named_buffers():
        assert torch.equal(found[name], value), name
    assert module.net.conv3.norm.num_batches_tracked == 2, "16 images in batches of 8"


def test_the_weights_are_those_of_a_training_without_it(photos):
    (with_it, _), (without, _) = trained(photos, Recalibration(images=8)), trained(photos)
    for (name, one), (_, other) in zip(with_it.named_parameters(), without.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    assert not torch.equal(with_it.net.conv3.norm.running_var, without.net.conv3.norm.running_var)


def test_one_image_is_refused():
    with pytest.raises(UserError, match="images is 1"):
        Recalibration(images=1)
