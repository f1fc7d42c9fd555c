"""Re-estimation of the running statistics of batch norms."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xnorlit.binarize.autocast import without_autocast
from xnorlit.errors import UserError


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running mean and variance of every batch norm to their plain averages over some batches, in fp32.

    Training leaves an exponential average over its last steps, which no longer fits weights that moved or were
    binarised. During recalibration each norm uses the statistics of its batch, as in training. Everything else is in
    evaluation mode: codes as in the packed file, no dropout. Modes are restored.

    Args:
        model: The network, on the device of the batches.
        batches: Inputs, such as uint8 training images `(N, 3, S, S)`; at least two samples in each batch.

    Raises:
        UserError: There are no batches.
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
            with without_autocast(batch.device):
                model(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
    if empty:
        raise UserError("no batches were given for estimating batch-norm statistics. Expected one or more.")
