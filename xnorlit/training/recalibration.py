"""Re-estimates batch-norm statistics before every validation of a run."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from xnorlit.data import Batch
from xnorlit.errors import UserError
from xnorlit.models import recalibrate
from xnorlit.training.sync import set_copies


class Recalibration(pl.Callback):
    """Before each validation, replace running statistics with plain averages over a fixed set of training images.

    A moving average lags behind weights whose signs flip. This makes the validated and saved network independent of
    that lag. Training itself is unaffected, because it uses the statistics of its own batches.

    Args:
        images: Number of training images, augmented as in training and held as uint8.
    """

    def __init__(self, images: int = 2048) -> None:
        if images < 2:
            raise UserError(f"Recalibration.images is {images}. Expected 2 or more: a variance needs two.")
        self.images = images
        self._batches: list[Batch] = []

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Read the images once, at the start: not every backend can iterate a loader that is already in use.
        self._batches = list(trainer.datamodule.training_sample(self.images))

    @override
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx or not self._batches:
            return  # Not at the start of the epoch: averaged weights may be swapped in before or after that hook.
        estimate(trainer, pl_module, self._batches)


def estimate(trainer: pl.Trainer, module: pl.LightningModule, batches: Sequence[Batch]) -> None:
    """Apply `recalibrate` to a module on its device, and average the statistics over all processes.

    Args:
        trainer: The module's trainer.
        module: A module with its network as `net`.
        batches: Images, on any device; each process has its own share.
    """

    def shown() -> Iterator[Tensor]:
        for batch in batches:
            set_copies(module.net, batch.copies)  # The last training step may have left another number.
            yield batch.images.to(module.device)

    recalibrate(module.net, shown())
    if trainer.world_size == 1:
        return
    for norm in module.net.modules():
        if isinstance(norm, _BatchNorm) and norm.track_running_stats:  # Each process has seen its own share.
            for statistic in (norm.running_mean, norm.running_var):
                statistic.copy_(trainer.strategy.reduce(statistic, reduce_op="mean"))
