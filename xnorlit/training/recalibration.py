"""Re-estimates batch-norm statistics before every validation of a run."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from xnorlit.errors import UserError
from xnorlit.models import recalibrate


class Recalibration(pl.Callback):
    """Before each validation, replaces running statistics by plain averages over the same training images.

    The validated and saved network then does not depend on how a moving average followed weights with flipping signs.
    Training itself is unaffected: it uses the statistics of its own batches.

    Args:
        images: Number of training images, augmented as in training and held as uint8.
    """

    def __init__(self, images: int = 2048) -> None:
        if images < 2:
            raise UserError(f"Recalibration.images is {images}. Expected 2 or more: a variance needs two.")
        self.images = images
        self._batches: list[Tensor] = []

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Read once, at the start: not every backend can iterate a loader that is already in use.
        self._batches = list(trainer.datamodule.training_sample(self.images))

    @override
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx or not self._batches:
            return  # Not at the epoch's start, where averaged weights may be swapped in before or after.
        estimate(trainer, pl_module, self._batches)


def estimate(trainer: pl.Trainer, module: pl.LightningModule, batches: Sequence[Tensor]) -> None:
    """`recalibrate` for a module on its device; processes with a share of the images each agree on the mean.

    Args:
        trainer: Of the module.
        module: Has its network as `net`.
        batches: Images, on any device.
    """
    recalibrate(module.net, (images.to(module.device) for images in batches))
    for norm in module.net.modules():
        if isinstance(norm, _BatchNorm) and trainer.world_size > 1:  # Each process has seen its own share.
            for statistic in (norm.running_mean, norm.running_var):
                statistic.copy_(trainer.strategy.reduce(statistic, reduce_op="mean"))
