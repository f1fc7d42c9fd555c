"""The scripts in `examples/` do what they say, in so few lines."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_alexnets_script_is_short():
    lines = (EXAMPLES / "alexnet.py").read_text().splitlines()
    assert len([line for line in lines if line and not line.startswith('"')]) <= 25


@pytest.mark.slow
def test_alexnets_script_ends_in_equal_predictions(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for name in ("ant", "bee"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (230, 260, 3), np.uint8)).save(folder / f"{i}.png")
    script = [sys.executable, EXAMPLES / "alexnet.py", tmp_path / "photos"]
    ran = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "its 6 binary layers 6.88 MiB, 31.6 times smaller" in ran.stdout
    assert ran.stdout.endswith("4 of 4 predictions are equal without torch\n")
