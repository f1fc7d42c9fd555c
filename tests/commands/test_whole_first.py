"""`--trainer.limit_val_batches 1` is one batch, not all of them, whatever a process imported before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USUAL = "import sys; from xnorlit.commands.main import main; sys.exit(main())"
# What `typing` gives Lightning where another module has just asked for the same union in the other order.
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


@pytest.mark.parametrize(
    "program", ["import sys; from xnorlit.commands.main import main; sys.exit(main())", OTHER_ORDER]
)
def test_one_batch_is_one_batch_whatever_was_imported_before(program):
    words = [
        *("fit", "--model.network=alexnet-small", "--model.binarizer=XNOR", "--trainer.limit_val_batches=1"),
        *("--trainer.limit_train_batches=0.5", "--trainer.callbacks+=StochasticWeightAveraging"),
        *("--trainer.callbacks.swa_lrs=0.1", "--trainer.callbacks.swa_epoch_start=1", "--print_config"),
    ]
    result = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    said = [line.strip() for line in result.stdout.splitlines()]
    assert "limit_val_batches: 1" in said
    assert "limit_train_batches: 0.5" in said
    assert "swa_epoch_start: 1" in said
