"""`--trainer.limit_val_batches 1` is one batch, not all of them, whatever a process imported before."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from xnorlit.commands.main import main

ROOT = Path(__file__).parents[2]
# The union that `typing` gives Lightning after another module has used the same union in the other order.
OTHER_ORDER = """
import sys
from typing import Union
import pytorch_lightning as pl
from pytorch_lightning.callbacks import StochasticWeightAveraging

turned = Union[(float, int, type(None))]
for option in ("limit_val_batches", "limit_train_batches"):
    pl.Trainer.__init__.__annotations__[option] = turned
    getattr(pl.Trainer.__init__, "__wrapped__", pl.Trainer.__init__).__annotations__[option] = turned
StochasticWeightAveraging.__init__.__annotations__["swa_epoch_start"] = Union[(float, int)]

from xnorlit.commands.main import main

sys.exit(main(sys.argv[1:]))
"""


WORDS = [
    *("fit", "--model.network=alexnet-small", "--model.binarizer=XNOR", "--trainer.limit_val_batches=1"),
    *("--trainer.limit_train_batches=0.5", "--trainer.callbacks+=StochasticWeightAveraging"),
    *("--trainer.callbacks.swa_lrs=0.1", "--trainer.callbacks.swa_epoch_start=1", "--print_config"),
]


def in_this_process():
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main(WORDS)
    assert ended.value.code == 0
    return printed.getvalue()


def in_another():
    done = subprocess.run(
        [sys.executable, "-c", OTHER_ORDER, *WORDS],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("printed", [in_this_process, in_another])
def test_one_means_one_batch_whatever_was_imported_before(printed):
    said = [line.strip() for line in printed().splitlines()]
    assert "limit_val_batches: 1" in said
    assert "limit_train_batches: 0.5" in said
    assert "swa_epoch_start: 1" in said
