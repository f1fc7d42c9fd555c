"""Initial weights are measured before the first step, and the network is left as it was."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xnorlit.data import Batch
from xnorlit.training import pretrained
from xnorlit.training.evaluation import Evaluation
from xnorlit.training.pretrained import accuracy


class Module(Evaluation):
    """Says class 0 of every image, in evaluation mode alone."""

    def __init__(self):
        super().__init__()
        self.count_right(6)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, images):
        assert not self.norm.training
        assert not torch.is_grad_enabled()
        return torch.linspace(1, 0, 6).expand(len(images), 6)

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        assert (device, dataloader_idx) == (self.device, 0)
        return batch


def batch(*labels):
    return Batch(torch.zeros(len(labels), 3), torch.tensor(labels), torch.arange(len(labels)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("quick", "top1", "top5"), [(False, 2 / 6, 4 / 6), (0, 2 / 6, 4 / 6), (1, 1 / 2, 1), (2, 2 / 4, 1)]
)
def test_it_is_the_accuracy_over_the_validation_images(quick, top1, top5, training, monkeypatch, capsys):
    module, rows, estimated, closed = Module().train(training), [], [], []

    def batches():
        try:
            yield from (batch(0, 4), batch(1, 0), batch(5, 5))
        finally:
            closed.append(True)

    data = SimpleNamespace(val_dataloader=batches, training_sample=lambda count: iter([count, "images"]))
    logger = SimpleNamespace(log_metrics=lambda metrics, step: rows.append((metrics, step)))
    trainer = SimpleNamespace(datamodule=data, loggers=[logger, logger], fast_dev_run=quick)
    monkeypatch.setattr(pretrained, "estimate", lambda *given: estimated.append(given))
    found = accuracy(trainer, module, "float.ckpt")
    assert found == {"top1": pytest.approx(top1), "top5": pytest.approx(top5)}
    assert estimated == [(trainer, module, [4096, "images"])]
    assert rows == [({"init/top1": found["top1"], "init/top5": found["top5"]}, 0)] * 2
    assert module.training is module.norm.training is training
    assert closed == [True]
    assert module.top1.update_count == module.top5.update_count == 0, "the validation starts with none"
    said = f"float.ckpt: top-1 {100 * top1:.2f} %, top-5 {100 * top5:.2f} % before training (batch norms re-estimated)"
    assert said in capsys.readouterr().out
