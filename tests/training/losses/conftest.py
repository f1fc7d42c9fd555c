"""A finished run of the float twin, for the losses that learn from it."""

import pytest

from tests.training.test_aids import fit

TRAINER = ("--trainer.max_epochs", "1", "--trainer.precision", "32-true", "--run.wandb", "off")
DATA = ("--data.backend", "folder", "--data.batch_size", "16")


@pytest.fixture(scope="module")
def pair(photos, tmp_path_factory):
    """A folder of runs in which the float arm has finished an epoch."""
    root = tmp_path_factory.mktemp("pair")
    assert fit(root, *TRAINER, *DATA, "--data.source", str(photos), "--model.binarizer=Float", "--run.arm=float") == 0
    return root
