"""Every arm of the photographs' recipe, trained for one epoch, packs and agrees with its module, or says why not."""

import re
import shutil
from pathlib import Path

import pytest

from tests.export.conftest import EXPERIMENTS, VAL

RECIPE = EXPERIMENTS / "cifar10"
ARMS = sorted(file.stem for file in RECIPE.glob("*.yaml") if file.stem not in ("base", "float"))
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_packs_or_is_refused_by_the_name_of_a_layer(xnorlit, photos, trained, tmp_path, arm):
    place = Path("cifar10", "pair-0")
    shutil.copytree(trained / place / "float", tmp_path / "runs" / place / "float")  # some arms learn from it
    words = ["fit", "-c", RECIPE / "base.yaml", "-c", RECIPE / f"{arm}.yaml", "--trainer.max_epochs", 1]
    words += ["--data.source", photos, "--data.backend", "folder", "--data.workers", 0, "--data.batch_size", 8]
    words += ["--run.root", tmp_path / "runs", "--run.wandb", "off", "--trainer.precision", "32-true"]
    status, _, err = xnorlit(*words)
    if status and "Train it first" in err:
        pytest.skip(f"{arm} begins from another run: {err}")
    assert status == 0, err
    run = tmp_path / "runs" / place / arm / "seed-0"
    status, out, err = xnorlit("pack", run)
    if status:
        assert re.match(r"error: \S+ cannot be packed: |.* has no binary layer, so there is nothing to pack", err), err
        assert not list(run.glob("packed*"))
    else:
        assert f"the five likeliest, in order, differ for 0 of {VAL} images" in out
