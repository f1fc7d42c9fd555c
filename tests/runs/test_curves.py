"""Curves join the rows of Lightning's CSVLogger without inventing or losing a value."""

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from tests.runs.factory import write_run
from xnorlit.errors import UserError
from xnorlit.runs import Curves


def curves(folder: Path, text: str) -> Curves:
    (folder / "metrics.csv").write_text(text)
    return Curves.load(folder / "metrics.csv")


def test_blank_cells_are_no_values(tmp_path):
    loaded = Curves.load(write_run(tmp_path, "xnor", right=600) / "metrics.csv")
    assert loaded["val/top1"].step.tolist() == [99, 199]
    assert loaded["val/top1"].epoch.tolist() == [0, 1]
    assert loaded["val/top1"].value.tolist() == [0.3, 0.6]
    assert loaded["lr-Adam"].value.tolist() == [0.003]
    assert "val/top5" not in loaded


def test_a_written_nan_is_a_value(tmp_path):
    loss = curves(tmp_path, "epoch,step,train/loss,val/loss\n0,1,2.0,\n0,2,nan,\n0,2,,3.0\n")["train/loss"]
    assert loss.step.tolist() == [1, 2]
    assert np.isnan(loss.value).tolist() == [False, True]


def test_steps_repeated_after_a_resume_keep_the_later_value(tmp_path):
    loss = curves(tmp_path, "epoch,step,loss\n0,1,5\n0,2,4\n0,3,9\n0,2,3\n0,3,2\n")["loss"]
    assert loss.step.tolist() == [1, 2, 3]
    assert loss.value.tolist() == [5, 3, 2]


def test_per_epoch_takes_the_last_value_of_each(tmp_path):
    epochs, values = curves(tmp_path, "epoch,step,loss\n0,1,5\n0,2,4\n2,5,3\n2,6,2\n")["loss"].per_epoch()
    assert epochs.tolist() == [0, 2]
    assert values.tolist() == [4, 2]


class Tiny(pl.LightningModule):
    """Logs a loss at each step; its learning rate is 0.1^(epoch + 1)."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch, _):
        loss = self.weight * batch[0].mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)]


@pytest.mark.parametrize(
    ("interval", "steps", "epochs"), [("epoch", [0, 2, 4], [0, 1, 2]), ("step", list(range(6)), [0, 0, 1, 1, 2, 2])]
)
def test_a_learning_rate_has_the_epoch_in_which_lightning_used_it(interval, steps, epochs, tmp_path):
    trainer = pl.Trainer(
        max_epochs=3,
        log_every_n_steps=1,
        accelerator="cpu",
        logger=CSVLogger(tmp_path, name="", version=""),
        callbacks=[LearningRateMonitor(logging_interval=interval)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Tiny(), DataLoader(TensorDataset(torch.ones(4, 1)), batch_size=2))
    rates = Curves.load(tmp_path / "metrics.csv")["lr-SGD"]
    assert (rates.step.tolist(), rates.epoch.tolist()) == (steps, epochs)
    assert rates.value == pytest.approx([0.1 ** (epoch + 1) for epoch in epochs])


def test_a_row_without_epoch_belongs_to_the_next_that_has_one_or_else_to_the_last(tmp_path):
    text = "epoch,step,lr,loss\n,0,0.3,\n3,10,,5\n,11,0.1,\n,12,0.2,\n4,12,,6\n,13,0.4,\n"
    found = curves(tmp_path, text)
    assert found["lr"].step.tolist() == [0, 11, 12, 13]
    assert found["lr"].epoch.tolist() == [3, 4, 4, 4]
    assert found["loss"].epoch.tolist() == [3, 4]


def test_an_unknown_metric_names_the_near_miss(tmp_path):
    with pytest.raises(UserError, match=r"metric 'val/top_1' was not logged\. Did you mean val/top1"):
        curves(tmp_path, "epoch,step,val/top1\n0,1,0.5\n")["val/top_1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'step'"),
        ("a,b\n1,2\n", "has no column 'step'"),
        ("epoch,step,loss\n0,1,abc\n", "line 2: expected a step and numbers, found '0,1,abc'"),
        ("epoch,step,loss\n0,1,1\n0,,2\n", "line 3"),
        ("epoch,step,loss\n0,inf,1\n", "line 2"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        curves(tmp_path, text)


def test_no_rows_give_no_series(tmp_path):
    assert curves(tmp_path, "epoch,step,loss\n").series == {}


def test_a_truncated_number_is_ignored(tmp_path):
    """0.6 is what a full disk may leave of 0.6745."""
    (tmp_path / "metrics.csv").write_text("epoch,step,val/top1\n0,99,0.5\n1,199,0.6")
    found = Curves.load(tmp_path / "metrics.csv")["val/top1"]
    assert (list(found.epoch), list(found.value)) == ([0], [0.5])


def test_layer_curves_are_found_by_quantity(tmp_path):
    found = curves(tmp_path, "epoch,step,layer/fc6/flips,layer/conv2/flips,layer/conv2/dead,flips\n0,1,1,2,3,4\n")
    assert {layer: series.value.tolist() for layer, series in found.of_layers("flips").items()} == {
        "fc6": [1], "conv2": [2],
    }  # fmt: skip
    assert found.of_layers("alpha") == {}
