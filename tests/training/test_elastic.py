"""A run that goes on with other processes, at one global batch, comes to the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.conftest import VAL
from xnorlit import runs

ROOT = Path(__file__).parents[2]
GLOBAL_BATCH = 10  # of 32 photographs an epoch: 10, 10, 10, and 2 that every process reads


def fit(photos, root, arm, *options, stop_after=None):
    line = [
        *(sys.executable, "-m", "xnorlit", "fit", "-c", "experiments/cifar10/base.yaml"),
        *("-c", f"experiments/cifar10/{arm}.yaml", f"--data.source={photos}", "--data.backend=folder"),
        *(f"--data.global_batch={GLOBAL_BATCH}", "--trainer.max_epochs=3", f"--run.root={root}", "--run.wandb=off"),
        # In fp64, so that what the order of sums leaves is far below what a sign would notice.
        *("--trainer.precision=64-true", "--trainer.sync_batchnorm=true", "--trainer.accelerator=cpu"),
        *("--trainer.callbacks+=tests.training.stopping.StopAfter", *options),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if stop_after is not None:
        environment["STOP_AFTER"] = str(stop_after)
    result = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (result.returncode == 0) is (stop_after is None), result.stderr
    return result


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("arm", ["float", "bwn"])  # A sign of inputs may turn on the last bit of a constant channel.
def test_one_process_then_two_then_one_come_to_the_weights_of_one(photos, tmp_path, arm):
    one, two = ("--data.batch_size=10",), ("--data.batch_size=5", "--trainer.devices=2", "--trainer.strategy=ddp")
    fit(photos, tmp_path / "whole", arm, *one)
    fit(photos, tmp_path / "parts", arm, *one, stop_after=2)
    fit(photos, tmp_path / "parts", arm, *two, "--run.resume=true", stop_after=9)
    fit(photos, tmp_path / "parts", arm, *one, "--run.resume=true")
    whole, parts = (tmp_path / name / "cifar10" / "pair-0" / arm / "seed-0" for name in ("whole", "parts"))
    expected, found = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in (whole, parts)
    )
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-7, msg=lambda text, key=key: f"{key}: {text}")
    measured = [runs.read(folder) for folder in (whole, parts)]
    assert [run.predictions.index.tolist() for run in measured] == [list(range(VAL))] * 2
    assert measured[0].summary.top1 == measured[1].summary.top1
