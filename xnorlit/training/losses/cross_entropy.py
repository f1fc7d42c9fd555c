"""Cross-entropy, the default loss."""

import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from xnorlit.data import Batch
from xnorlit.models import BuiltNetwork
from xnorlit.training.losses.base import Loss


class CrossEntropy(Loss):
    """`-mean_n log softmax(logits_n)[label_n]`.

    Args:
        smoothing: Label smoothing: share of each target that is spread evenly over all classes.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    @override
    def __call__(self, net: BuiltNetwork, batch: Batch, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.smoothing)
