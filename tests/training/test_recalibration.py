"""Recalibration changes the validated network but not the training."""

from types import SimpleNamespace

import pytest
import torch

from tests.training.test_module import fit
from xnorlit.binarize.xnor import XNOR
from xnorlit.data import Batch
from xnorlit.errors import UserError
from xnorlit.layers import BatchNorm1d
from xnorlit.models import recalibrate
from xnorlit.training import recalibration
from xnorlit.training.module import Classifier
from xnorlit.training.recalibration import Recalibration, estimate


def trained(photos, *callbacks):
    torch.manual_seed(0)
    module = Classifier("alexnet-small", XNOR())
    return module, fit(photos, module, epochs=2, callbacks=list(callbacks))


def test_the_last_statistics_are_averages_over_training_images(photos):
    module, trainer = trained(photos, Recalibration(images=16))
    found = {name: value.clone() for name, value in module.net.named_buffers()}
    recalibrate(module.net, (batch.images for batch in trainer.datamodule.training_sample(16)))
    for name, value in module.net.named_buffers():
        assert torch.equal(found[name], value), name
    assert module.net.conv3.norm.num_batches_tracked == 2, "16 images in batches of 8"


def test_the_weights_are_those_of_a_training_without_it(photos):
    (with_it, _), (without, _) = trained(photos, Recalibration(images=8)), trained(photos)
    for (name, one), (_, other) in zip(with_it.named_parameters(), without.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    assert not torch.equal(with_it.net.conv3.norm.running_var, without.net.conv3.norm.running_var)


def test_it_comes_before_the_first_batch_of_a_validation_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(recalibration, "estimate", lambda *given: asked.append(given))
    callback = Recalibration(images=4)
    callback.on_validation_batch_start("trainer", "module", None, 0)
    assert asked == [], "a look at two batches before the training has no images yet"
    data = SimpleNamespace(training_sample=lambda count: iter(range(count)))
    callback.on_train_start(SimpleNamespace(datamodule=data), "module")
    for batch in range(3):
        callback.on_validation_batch_start("trainer", "module", None, batch)
    assert asked == [("trainer", "module", [0, 1, 2, 3])]


def test_one_image_is_refused():
    with pytest.raises(UserError, match="images is 1"):
        Recalibration(images=1)


def test_processes_with_a_share_of_the_images_each_agree_on_the_mean():
    without = torch.nn.BatchNorm1d(3, track_running_stats=False)
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(3), without, torch.nn.BatchNorm1d(3, affine=False))
    module = SimpleNamespace(net=net, device="cpu")
    batches = [Batch(torch.randn(8, 3), *[torch.arange(8)] * 2) for _ in range(2)]

    def with_others(statistic, *, reduce_op):
        assert reduce_op == "mean"
        return (statistic + 3) / 2  # of one other process, whose statistics are all 3

    estimate(SimpleNamespace(world_size=1), module, batches)
    alone = [value.clone() for name, value in net.named_buffers() if "running" in name]
    estimate(SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce=with_others)), module, batches)
    found = [value for name, value in net.named_buffers() if "running" in name]
    assert len(found) == 4
    for mine, agreed in zip(alone, found, strict=True):
        torch.testing.assert_close(agreed, (mine + 3) / 2)


def test_images_that_several_processes_hold_count_once():
    """A last step that is too small to divide is read whole by each process; other batches are not."""
    norm, seen = BatchNorm1d(3), []
    norm.register_forward_pre_hook(lambda *_: seen.append(norm.copies))
    norm.copies = 5  # of the last training step
    batches = [Batch(torch.randn(8, 3), *[torch.arange(8)] * 2, copies=copies) for copies in (1, 2, 1)]
    estimate(SimpleNamespace(world_size=1), SimpleNamespace(net=torch.nn.Sequential(norm), device="cpu"), batches)
    assert seen == [1, 2, 1]
