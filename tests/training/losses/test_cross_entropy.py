"""Cross-entropy: hand-computed values."""

import math

import pytest
import torch

from xnorlit.data import Batch
from xnorlit.training.losses.cross_entropy import CrossEntropy


def batch(labels):
    return Batch(torch.empty(0), torch.tensor(labels), torch.empty(0))


def test_it_is_the_mean_of_minus_log_of_the_labels_probability():
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    expected = -(math.log(3 / 4) + math.log(1 / 2)) / 2
    assert CrossEntropy()(None, batch([0, 1]), logits).item() == pytest.approx(expected)


def test_smoothing_spreads_a_share_of_the_target_over_all_classes():
    logits = torch.tensor([[math.log(3), 0.0]])
    expected = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4))
    assert CrossEntropy(smoothing=0.2)(None, batch([0]), logits).item() == pytest.approx(expected)
