"""`python tests/compat/tiny.py COMMAND ...`: xnorlit with an extra network whose checkpoints are small enough to store.

It works with the package at 294a848 and with the current one. `make.py` makes the runs with the former; the tests
resume them with the latter.
"""

import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Callable

from xnorlit import models

TINY = models.Network(
    name="compat-tiny",
    image_size=16,
    source="the tests' own: alexnet-small's blocks at a hundredth of its weights",
    init="torch",
    blocks=(
        models.Block("conv1", "conv norm relu pool", 6, kernel=3, padding=1, pool=(2, 2), binary=False),
        models.Block("conv2", "norm conv pool", 8, kernel=3, padding=1, pool=(2, 2), eps=1e-4),
        models.Block("fc3", "flatten norm linear", 16, eps=1e-4),
        models.Block("fc4", "norm relu linear", binary=False),
    ),
)


def register(put: Callable[..., None] = setattr) -> None:
    """Makes the network known to `--model.network`, which looks through the modules of `xnorlit.models`.

    Args:
        put: `monkeypatch.setattr` in a test, so that the next test knows nothing of it.
    """
    module = importlib.import_module(f"{models.__name__}.{next(iter(pkgutil.iter_modules(models.__path__))).name}")
    module.__dict__.setdefault("COMPAT_TINY", None)
    put(module, "COMPAT_TINY", TINY)


def stop_before(step: int, number: int) -> None:
    """Send this process a signal within the training step with that number, counted from 0."""
    from xnorlit.training.module import Classifier

    whole = Classifier.training_step

    def stopped(self, batch, batch_idx):
        if self.global_step == step:
            os.kill(os.getpid(), number)
        return whole(self, batch, batch_idx)

    Classifier.training_step = stopped


if __name__ == "__main__":
    from xnorlit.__main__ import main

    register()
    if stop := os.environ.get("COMPAT_STOP"):
        step, name = stop.split(":")
        stop_before(int(step), signal.Signals[name])
    sys.exit(main(sys.argv[1:]))
