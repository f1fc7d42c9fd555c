"""After `recalibrate`, running statistics are plain averages over the batches, and nothing else has changed."""

import pytest
import torch
from torch import nn

from xnorlit.binarize.float import Float
from xnorlit.binarize.xnor import XNOR
from xnorlit.errors import UserError
from xnorlit.layers import BatchNorm2d
from xnorlit.models import build, network_named, recalibrate


def pixels(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*shape, 3, 32, 32), dtype=torch.uint8, generator=generator)


def test_means_and_variances_are_averaged_over_the_batches():
    norm = BatchNorm2d(1, momentum=0.1)
    norm.running_mean.fill_(7)
    first, second = torch.tensor([0.0, 2.0]).view(2, 1, 1, 1), torch.tensor([4.0, 10.0]).view(2, 1, 1, 1)
    recalibrate(norm, [first, second])
    assert norm.running_mean.item() == pytest.approx((1 + 7) / 2)
    assert norm.running_var.item() == pytest.approx((2 + 18) / 2), "unbiased: 2 of {0, 2} and 18 of {4, 10}"
    assert norm.momentum == 0.1


def test_modes_and_weights_stay_unchanged():
    torch.manual_seed(0)
    net = build(network_named("alexnet-small"), XNOR(), classes=3, image_size=32)
    net.train()
    net.conv3.eval()
    before = {name: value.clone() for name, value in net.named_parameters()}
    recalibrate(net, [pixels(4)])
    assert net.training
    assert net.conv4.training
    assert not net.conv3.norm.training
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())


def test_evaluation_then_reproduces_the_batch_that_it_was_calibrated_on():
    """With one batch, running statistics are that batch's but for the factor n / (n - 1) of the variance.

    Of the float twin: that factor would flip signs.
    """
    torch.manual_seed(0)
    net = build(network_named("alexnet-small"), Float(), classes=3, image_size=32)
    images = pixels(64)
    stale = net.eval()(images)
    recalibrate(net, [images])
    recalibrated = net.eval()(images)
    trained = net.train()(images)
    assert (recalibrated - trained).abs().mean() < 0.05 * (stale - trained).abs().mean()


def test_dropout_does_not_disturb_the_statistics():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(1)
    recalibrate(nn.Sequential(nn.Dropout(0.9), norm), [torch.full((8, 1), 5.0)])
    assert norm.running_mean.item() == 5


def test_no_batch_is_refused():
    with pytest.raises(UserError, match="no batches were given"):
        recalibrate(nn.BatchNorm1d(1), [])
