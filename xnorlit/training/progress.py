"""Progress of a run: a bar on a terminal, one line per epoch in a pipe or file."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from torch import Tensor
from typing_extensions import override

from xnorlit.edge.console import say


class EpochBar(RichProgressBar):
    """Lightning's rich bar, without the logger's version; the bar of each epoch stays on the screen."""

    def __init__(self) -> None:
        super().__init__(leave=True)

    @override
    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        return {key: value for key, value in metrics.items() if key not in ("v_num", "train/loss_epoch")}

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _epoch_loss(pl_module)
        super().on_train_epoch_end(trainer, pl_module)


class EpochLines(pl.Callback):
    """`[epoch]  3/20  loss 1.234  val top-1 56.78 %  top-5 90.12 %  11.2 s`: one plain line per epoch.

    The line has accuracies if the epoch was validated.
    """

    _validated = False

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._clock = time.perf_counter()  # Lightning starts no epoch when it resumes in the middle of one.

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._clock, self._validated = time.perf_counter(), False

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics
        parts = [f"{trainer.current_epoch + 1}/{trainer.max_epochs}"]
        parts.append(f"loss {_epoch_loss(pl_module):.3f}")
        for key, label in (("val/top1", "val top-1"), ("val/top5", "top-5")):
            if key in metrics and self._validated:
                parts.append(f"{label} {100 * metrics[key]:.2f} %")
        parts.append(f"{time.perf_counter() - self._clock:.1f} s")
        say("epoch", "  ".join(parts))


def _epoch_loss(module: pl.LightningModule) -> Tensor:
    """The mean loss of the epoch over all processes, which sum it together.

    The bar asks for it too, although it shows none: one process may have a terminal and another none, and all must
    communicate in the same order.
    """
    return module.train_loss.compute()


def progress(bar: bool) -> pl.Callback:
    """The bar on a terminal, the lines elsewhere.

    Args:
        bar: Whether to show a bar on a terminal; if False, lines.
    """
    return EpochBar() if bar and sys.stdout.isatty() else EpochLines()
