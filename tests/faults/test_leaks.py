"""In a long run, memory, threads and open files stay at the level of the second epoch."""

import json
import os
import threading
from pathlib import Path

import pytest

from tests.faults import forked

EPOCHS = 50


def held():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGESIZE"),
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - its own handle is closed when it is counted
    }


# No loss falls by 100: it ends after the second of three epochs.
SOON = (
    "{class_path: pytorch_lightning.callbacks.EarlyStopping, "
    "init_args: {monitor: val/loss, mode: min, patience: 1, min_delta: 100}}"
)


def watched(file):
    def prepare():
        import pytorch_lightning as pl

        class Watch(pl.Callback):
            def on_train_epoch_end(self, trainer, module):
                with file.open("a") as rows:
                    rows.write(json.dumps(held()) + "\n")

        cli = forked.xnorlit.commands.fit.XnorlitCLI
        callbacks = cli._callbacks
        cli._callbacks = lambda self: [*callbacks(self), Watch()]

    return prepare


SYNTHETIC = {  # the built-in set, its recipe's network of 1.5 million parameters, and some of its batches
    "data__source": "synthetic",
    "data__backend": "auto",
    "data__batch_size": 32,
    "model__network": "alexnet-small",
    "model__binarizer": "XNOR",
    "trainer__limit_val_batches": 2,
}


@pytest.mark.parametrize("settings", [{}, pytest.param(SYNTHETIC, marks=pytest.mark.slow)], ids=["tiny", "synthetic"])
def test_fifty_epochs_hold_no_more_than_two(settings, photos, tmp_path):
    file = tmp_path / "held"
    line = forked.words(
        photos, tmp_path / "runs", trainer__max_epochs=EPOCHS, trainer__limit_train_batches=4, **settings
    )
    training = forked.Training(line, tmp_path / "log", watched(file))
    assert training.wait(1500) == 0, training.said
    rows = [json.loads(row) for row in file.read_text().splitlines()]
    assert len(rows) == EPOCHS
    second, last = rows[1], rows[-1]
    assert last["memory"] < 1.05 * second["memory"], rows
    assert last["threads"] == second["threads"]
    assert last["files"] == second["files"]


def test_a_run_that_fails_or_stops_or_ends_early_lets_go_of_its_folder_and_its_signals(photos, tmp_path):
    """Another run may start in the same process: nothing is open or locked any more, and no handler is left."""
    file = tmp_path / "after"

    def prepare():
        import signal

        from xnorlit.training.saving import SIGNALS

        real, main, calls = forked.xnorlit.commands.fit.Classifier.training_step, forked.main, []

        def failing(self, batch, batch_idx):
            calls.append(None)
            if len(calls) == 5:
                raise RuntimeError("a fault")
            if len(calls) == 12:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(self, batch, batch_idx)

        forked.xnorlit.commands.fit.Classifier.training_step = failing
        line = forked.words(photos, tmp_path / "runs", trainer__callbacks=f"[{SOON}]")
        handlers = [signal.getsignal(number) for number in SIGNALS]
        statuses, counts = [], []
        for number in range(4):
            statuses.append(main([*line, f"--run.pair={number // 3}"]))
            counts.append(held())
        same = handlers == [signal.getsignal(number) for number in SIGNALS]
        file.write_text(json.dumps([statuses, counts, same]))

    forked.Training(["--version"], tmp_path / "log", prepare).wait()
    statuses, counts, same = json.loads(file.read_text())
    assert statuses == [1, 75, 0, 0], "failed, stopped, gone on with, and another run"
    assert same
    for key in ("threads", "files"):
        assert {count[key] for count in counts} == {counts[0][key]}
    summaries = [json.loads(file.read_text()) for file in sorted(tmp_path.glob("runs/*/*/*/*/summary.json"))]
    assert [summary["epochs"] for summary in summaries] == [2, 2], "both ended early"
