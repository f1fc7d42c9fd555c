"""The scripts in `examples/`, and the one that counts flips, do what they claim."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(("name", "most"), [("alexnet", 25), ("resnet18", 30)])
def test_a_script_is_short(name, most):
    lines = (EXAMPLES / f"{name}.py").read_text().splitlines()
    assert len([line for line in lines if line and not line.startswith('"')]) <= most


def pictures(folder, counts, shape):
    """Generated pictures of two classes in the splits of a folder."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for name in ("ant", "bee"):
            inside = folder / split / name
            inside.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(inside / f"{i}.png")
    return folder


def ran(script, folder):
    done = subprocess.run([sys.executable, *map(str, script)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_alexnets_script_ends_in_equal_predictions(tmp_path):
    photos = pictures(tmp_path / "photos", {"train": 3, "val": 2}, (230, 260))
    told = ran([EXAMPLES / "alexnet.py", photos], tmp_path)
    assert "its 6 binary layers 6.88 MiB, 31.6 times smaller" in told
    assert told.endswith("4 of 4 predictions are equal without torch\n")


@pytest.mark.slow
def test_the_script_that_counts_flips_finds_none(tmp_path):
    photos = pictures(tmp_path / "photos", {"train": 40, "test": 6}, (32, 32))
    script = [EXAMPLES.parent / "scripts" / "flips.py", photos, "--seconds", "2"]
    for arm, layers, size, images in (
        ("resnet20:AdaBin", 18, 32, 12),
        ("cnv", 8, 32, 12),
        ("alexnet-small", 6, 32, 12),
        ("resnet18-bireal", 16, 224, 2),
    ):
        row = ran([*script, "--only", arm, "--size", size, "--images", images], tmp_path).splitlines()[-1].split(" | ")
        assert int(row[3]) == layers
        assert int(row[4].replace(",", "")) > 1e5  # sums
        assert row[5:7] == ["0", "0"]
