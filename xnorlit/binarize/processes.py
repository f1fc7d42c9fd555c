"""Keep the values that binarizers learn or count without gradients equal on all processes of a distributed training."""

from typing import Literal

import torch.distributed as dist
from torch import Tensor


def agreed(tensor: Tensor, how: Literal["mean", "max"]) -> Tensor:
    """The mean or maximum over all processes, element by element. With one process, the tensor itself.

    Each process sees another part of the batch. DDP averages only gradients, and overwrites the buffers of all
    processes with those of the first. Without this function, the other processes' values would be lost.

    Args:
        tensor: A tensor with the same shape on all processes. All processes must call this function.
        how: `mean` or `max`.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    tensor = tensor.clone()
    dist.all_reduce(tensor, dist.ReduceOp.MAX if how == "max" else dist.ReduceOp.SUM)
    return tensor if how == "max" else tensor / dist.get_world_size()
