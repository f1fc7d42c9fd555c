"""Progress is a bar on a terminal and one plain line per epoch elsewhere."""

import sys
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import RichProgressBar

from xnorlit.training import progress
from xnorlit.training.progress import EpochBar, EpochLines

MODULE = SimpleNamespace(train_loss=SimpleNamespace(compute=lambda: torch.tensor(1.23456)))


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def trainer(epoch, **metrics):
    return SimpleNamespace(
        current_epoch=epoch, max_epochs=20, callback_metrics={f"val/{key}": value for key, value in metrics.items()}
    )


def test_a_line_has_the_loss_the_accuracies_and_the_seconds_of_its_epoch(clock, capsys):
    lines = EpochLines()
    lines.on_train_start(trainer(2), MODULE)  # resumed in the middle of the third epoch
    clock.seconds += 11.25
    lines.on_validation_end(trainer(2), MODULE)
    lines.on_train_epoch_end(trainer(2, top1=0.5678, top5=0.9012), MODULE)
    lines.on_train_epoch_start(trainer(3), MODULE)
    clock.seconds += 2
    lines.on_train_epoch_end(trainer(3, top1=0.5678, top5=0.9012), MODULE)  # not validated: they are the former ones
    lines.on_train_epoch_start(trainer(4), MODULE)
    lines.on_validation_end(trainer(4), MODULE)
    lines.on_train_epoch_end(trainer(4, top1=0.5), MODULE)
    assert [line.partition("]")[2].strip() for line in capsys.readouterr().out.splitlines()] == [
        "3/20  loss 1.235  val top-1 56.78 %  top-5 90.12 %  11.2 s",
        "4/20  loss 1.235  2.0 s",
        "5/20  loss 1.235  val top-1 50.00 %  0.0 s",
    ]


@pytest.mark.parametrize(
    ("bar", "terminal", "kind"), [(True, True, EpochBar), (True, False, EpochLines), (False, True, EpochLines)]
)
def test_the_bar_is_for_a_terminal_alone(bar, terminal, kind, monkeypatch):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: terminal))
    assert type(progress.progress(bar)) is kind


def test_the_bar_of_each_epoch_stays_and_shows_neither_the_version_nor_the_epochs_loss(monkeypatch):
    metrics = {"v_num": 0, "train/loss_epoch": 1.5, "train/loss_step": 2.5, "val/top1": 0.5}
    monkeypatch.setattr(RichProgressBar, "get_metrics", lambda *_: metrics)
    bar = EpochBar()
    assert bar._leave is True
    assert bar.get_metrics(None, None) == {"train/loss_step": 2.5, "val/top1": 0.5}


@pytest.mark.parametrize("kind", [EpochBar, EpochLines])
def test_a_process_sums_the_loss_at_the_same_moment_with_and_without_a_terminal(kind, clock, monkeypatch):
    """The module's own sums follow; in another order, processes would add up different quantities."""
    asked = []
    monkeypatch.setattr(RichProgressBar, "on_train_epoch_end", lambda *_: asked.append("bar"))
    module = SimpleNamespace(train_loss=SimpleNamespace(compute=lambda: asked.append("loss") or torch.tensor(1.0)))
    shown = kind()
    shown._clock = 0.0
    shown.on_train_epoch_end(trainer(2), module)
    assert asked == (["loss", "bar"] if kind is EpochBar else ["loss"])
