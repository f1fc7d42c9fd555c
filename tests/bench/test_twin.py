"""The float twin, in one torch process, gives its module's answers for the pixels that classify shows."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.packed.networks import unkind
from xnorlit.binarize.float import Float
from xnorlit.data.pictures import as_validated
from xnorlit.models import network_named


@pytest.mark.parametrize("network", ["alexnet-small", "cnv"])  # cnv ends in a norm
def test_its_five_likeliest_are_the_modules(tmp_path, network):
    model = unkind(network_named(network), binarizer=Float(), classes=9)
    torch.save({"state_dict": {f"net.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "a.ckpt")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "xnorlit.bench.twin", tmp_path / "a.ckpt", tmp_path / "a.png"]
    options = ["--network", network, "--image-size", "32", "--crop", "0.8"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    shown = torch.from_numpy(as_validated(tmp_path / "a.png", 32, 0.8, False).copy()).permute(2, 0, 1)[None]
    with torch.no_grad():
        likeliest = model(shown)[0].softmax(0).topk(5)
    found = re.findall(r"(\d+) (\d+\.\d) %", done.stdout)
    assert [int(number) for number, _ in found] == likeliest.indices.tolist()
    assert [share for _, share in found] == [f"{100 * share:.1f}" for share in likeliest.values.tolist()]
