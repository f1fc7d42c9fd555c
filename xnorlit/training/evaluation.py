"""Evaluation on a split: top-1, top-5 and loss of any module that computes logits."""

import pytorch_lightning as pl
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy
from typing_extensions import override

from xnorlit.binarize.autocast import without_autocast
from xnorlit.data import Batch


class Evaluation(pl.LightningModule):
    """Validation, test and prediction; a subclass implements `forward`, from images to logits."""

    def count_right(self, classes: int) -> None:
        """Create the accuracy metrics.

        Args:
            classes: Number of classes.
        """
        self.top1 = MulticlassAccuracy(classes, average="micro", validate_args=False)
        self.top5 = MulticlassAccuracy(classes, top_k=min(5, classes), average="micro", validate_args=False)

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "val")

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "test")

    @override
    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"indices": batch.indices, "labels": batch.labels, "logits": self.exact_logits(batch)}

    def _evaluate(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        logits = self.exact_logits(batch)
        loss = F.cross_entropy(logits, batch.labels)
        self.top1(logits, batch.labels)
        self.top5(logits, batch.labels)
        each_epoch = {"on_step": False, "on_epoch": True, "batch_size": len(batch.labels)}
        self.log(f"{stage}/loss", loss, sync_dist=True, **each_epoch)
        self.log(f"{stage}/top1", self.top1, prog_bar=True, **each_epoch)
        self.log(f"{stage}/top5", self.top5, **each_epoch)
        return {"indices": batch.indices, "labels": batch.labels, "logits": logits}

    def exact_logits(self, batch: Batch) -> Tensor:
        """Logits in fp32, `(N, classes)`, whatever the training's precision."""
        # The packed engine computes in fp32 around its integers, and so does the reported accuracy.
        with without_autocast(self.device):
            return self(batch.images)
