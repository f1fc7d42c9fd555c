"""The mean of an epoch's losses over its samples."""

from torch import Tensor
from torchmetrics import MeanMetric
from typing_extensions import override


class SampleMean(MeanMetric):
    """`sum_i value_i * size_i / sum_i size_i` over batches, for any number of processes that share them.

    torchmetrics' own mean either reads each value on the CPU to find NaN, which waits for the GPU, or takes every size
    as 1. Here a NaN stays in the mean, and another check ends the run.

    Examples:
        >>> mean = SampleMean()
        >>> mean.update(torch.tensor(3.0), 4)
        >>> mean.update(torch.tensor(6.0), 2)
        >>> mean.compute().item()
        4.0
    """

    @override
    def update(self, value: Tensor, weight: float) -> None:  # type: ignore[override]
        self.mean_value += value * weight
        self.weight += weight
