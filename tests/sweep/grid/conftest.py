import numpy as np
import pytest
import yaml
from PIL import Image

BASE = {
    "run": {"wandb": "off"},
    "trainer": {"max_epochs": 2, "precision": "32-true"},
    "model": {"network": "alexnet-small"},
    "data": {"source": "photos", "image_size": 32, "batch_size": 8, "backend": "folder", "workers": 0},
}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with a recipe and a grid of two binarizers by two seeds on a few pictures; writes another grid."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 8)):
        for index in range(count):
            file = tmp_path / "photos" / split / ("ant", "bee")[index % 2] / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 100, (32, 32, 3)) + 120 * (index % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    for name in ("tiny", "other"):
        (tmp_path / "experiments" / name).mkdir(parents=True)
        (tmp_path / "experiments" / name / "base.yaml").write_text(
            "# Hardware: a moment on any machine\n" + yaml.safe_dump(BASE)
        )

    def write(parameters=None, arm="{model.binarizer}"):
        command = ["${env}", "${interpreter}", "-m", "xnorlit", "fit", "-c", "experiments/tiny/base.yaml"]
        command += ["--run.experiment=tiny", f"--run.arm={arm}", "${args}"]
        both = {"model.binarizer": {"values": ["Float", "XNOR"]}, "seed_everything": {"values": [0, 1]}}
        sweep = {"method": "grid", "description": "Does it matter?", "parameters": parameters or both}
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**sweep, "command": command}, sort_keys=False))

    write()
    return write
