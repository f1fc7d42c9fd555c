"""A run resumed with another number of processes, at the same global batch, ends with the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import VAL

ROOT = Path(__file__).parents[2]
GLOBAL_BATCH = 12  # of 32 photographs an epoch: 12, 12 and 8


def fit(photos, root, arm, precision, backend, processes=1, *options, stop_after=None):
    program = "xnorlit" if precision == "32-true" else "tests.training.exact"
    line = [
        *(sys.executable, "-m", program, "fit", "-c", "experiments/cifar10/base.yaml"),
        *("-c", f"experiments/cifar10/{arm}.yaml", f"--data.source={photos}"),
        *(f"--data.backend={backend}", f"--data.root={root.parent / 'data'}"),
        *(f"--data.global_batch={GLOBAL_BATCH}", "--trainer.max_epochs=3", f"--run.root={root}", "--run.wandb=off"),
        # A bias in front of a batch norm has only rounding errors as gradient, which Adam would turn into full steps.
        *("--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.0005", f"--trainer.precision={precision}"),
        *("--trainer.sync_batchnorm=true", "--trainer.accelerator=cpu", f"--data.batch_size={12 // processes}"),
        *("--trainer.callbacks+=tests.training.stopping.StopAfter", *options),
    ]
    if processes > 1:
        line += [f"--trainer.devices={processes}", "--trainer.strategy=ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if stop_after is not None:
        environment["STOP_AFTER"] = str(stop_after)
    result = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (result.returncode == 0) is (stop_after is None), result.stderr
    return result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arm", "precision", "near"),
    [
        ("float", "32-true", {"rtol": 1e-3, "atol": 1e-5}),
        *((arm, "64-true", {"rtol": 0, "atol": 1e-12}) for arm in ("float", "bwn", "xnor")),
    ],
)
@pytest.mark.parametrize("backend", ["folder", pytest.param("ffcv", marks=pytest.mark.ffcv)])
def test_one_process_then_two_then_three_then_one_come_to_the_weights_of_one(
    photos, tmp_path, backend, arm, precision, near
):
    if backend == "ffcv":
        pytest.importorskip("ffcv")
    fit(photos, tmp_path / "whole", arm, precision, backend)
    fit(photos, tmp_path / "parts", arm, precision, backend, stop_after=2)
    fit(photos, tmp_path / "parts", arm, precision, backend, 2, "--run.resume=true", stop_after=5)
    fit(photos, tmp_path / "parts", arm, precision, backend, 3, "--run.resume=true", stop_after=7)
    fit(photos, tmp_path / "parts", arm, precision, backend, 1, "--run.resume=true")
    whole, parts = (tmp_path / name / "cifar10" / "pair-0" / arm / "seed-0" for name in ("whole", "parts"))
    expected, found = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in (whole, parts)
    )
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, **near, msg=lambda text, key=key: f"{key} {text}")
    indices = [load_file(folder / "predictions.safetensors")["index"].tolist() for folder in (whole, parts)]
    assert indices == [list(range(VAL))] * 2
    top1 = [json.loads((folder / "summary.json").read_text())["top1"] for folder in (whole, parts)]
    assert top1[0] == top1[1]
