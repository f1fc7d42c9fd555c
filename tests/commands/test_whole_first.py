"""`--trainer.limit_val_batches 1` is one batch, not all of them, whatever a process imported before."""

import io
import typing
from contextlib import redirect_stdout
from typing import Union

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import StochasticWeightAveraging

from xnorlit.commands.main import main

WORDS = [
    *("fit", "--model.network=alexnet-small", "--model.binarizer=XNOR", "--trainer.limit_val_batches=1"),
    *("--trainer.limit_train_batches=0.5", "--trainer.callbacks+=StochasticWeightAveraging"),
    *("--trainer.callbacks.swa_lrs=0.1", "--trainer.callbacks.swa_epoch_start=1", "--print_config"),
]


@pytest.fixture(autouse=True)
def forget_unions():
    """Those of earlier tests, and for later ones those of these."""
    for forget in typing._cleanups:
        forget()
    yield
    for forget in typing._cleanups:
        forget()


def float_first(monkeypatch):
    """The unions that `typing` gives Lightning after another module has used the same unions in the other order."""
    turned = Union[float, int, None]  # noqa: UP007 - an equal union of `|` is not in that cache
    begin = pl.Trainer.__init__
    for option in ("limit_val_batches", "limit_train_batches"):
        for function in (begin, getattr(begin, "__wrapped__", begin)):
            monkeypatch.setitem(function.__annotations__, option, turned)
    averaging = StochasticWeightAveraging.__init__.__annotations__
    monkeypatch.setitem(averaging, "swa_epoch_start", Union[float, int])  # noqa: UP007


@pytest.mark.parametrize("before", [lambda _: None, float_first], ids=["as it is", "the other order"])
def test_one_means_one_batch_whatever_was_imported_before(before, monkeypatch):
    before(monkeypatch)
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main(WORDS)
    assert ended.value.code == 0
    said = [line.strip() for line in printed.getvalue().splitlines()]
    assert "limit_val_batches: 1" in said
    assert "limit_train_batches: 0.5" in said
    assert "swa_epoch_start: 1" in said
