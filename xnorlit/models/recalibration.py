"""Re-estimation of the running statistics of batch norms."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xnorlit.errors import UserError


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running mean and variance of every batch norm to their plain averages over some batches, in fp32.

    Training leaves an exponential average over its last steps, which no longer fits weights that moved or were
    binarised. Meanwhile each norm uses the statistics of its batch, as in training. All else is in evaluation mode:
    codes as they are packed, and no dropout. Modes are restored.

    Args:
        model: The network, on the device of the batches.
        batches: Its inputs, such as uint8 images `(N, 3, S, S)` of the training split; two samples or more in each.

    Raises:
        UserError: There is no batch.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's setting for a plain average
        norm.train()
    empty = True
    try:
        for batch in batches:
            empty = False
            with torch.autocast(batch.device.type, enabled=False):
                model(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
    if empty:
        raise UserError("no batch was given to estimate batch-norm statistics from. Expected one or more.")
