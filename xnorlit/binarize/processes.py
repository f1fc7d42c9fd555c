"""What binarizers learn or count by themselves, made the same on all processes of a distributed training."""

from typing import Literal

import torch.distributed as dist
from torch import Tensor


def agreed(tensor: Tensor, how: Literal["mean", "max"]) -> Tensor:
    """The mean or the largest over all processes, element by element; the tensor itself where there is one process.

    Every process has seen another part of the batch. DDP averages gradients alone, and copies the first process's
    buffers to the others, which would forget what those have seen.

    Args:
        tensor: Of one shape on all processes, all of which call this.
        how: How their values are put together.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    tensor = tensor.clone()
    dist.all_reduce(tensor, dist.ReduceOp.MAX if how == "max" else dist.ReduceOp.SUM)
    return tensor if how == "max" else tensor / dist.get_world_size()
