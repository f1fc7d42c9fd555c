"""The float twin, in one torch process, gives its module's answers for the pixels that classify shows."""

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xnorlit as xl
from xnorlit.bench import cold_start
from xnorlit.bench.subject import of_random_weights
from xnorlit.data.pictures import as_validated
from xnorlit.models.plain import plain


@pytest.mark.parametrize("network", ["alexnet-small", "cnv", "resnet20", "reactnet-a"])  # cnv ends in a norm
def test_its_five_likeliest_are_the_modules(tmp_path, network):
    torch.manual_seed(0)
    model = xl.create(network, binarizer="Float", classes=9, image_size=32).eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    torch.save(plain(model), tmp_path / "a.ckpt")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "xnorlit.bench.twin", tmp_path / "a.ckpt", tmp_path / "a.png"]
    options = ["--image-size", "32", "--crop", "0.8"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    shown = torch.from_numpy(as_validated(tmp_path / "a.png", 32, 0.8, False).copy()).permute(2, 0, 1)[None]
    with torch.no_grad():
        likeliest = model(shown)[0].softmax(0).topk(5)
    found = re.findall(r"(\d+) (\d+\.\d) %", done.stdout)
    assert [int(number) for number, _ in found] == likeliest.indices.tolist()
    assert [share for _, share in found] == [f"{100 * share:.1f}" for share in likeliest.values.tolist()]


def test_the_process_loads_the_twin_that_the_bench_measures(monkeypatch):
    saved = []
    monkeypatch.setattr(torch, "save", lambda module, _: saved.append(module))
    monkeypatch.setattr(cold_start, "by_turns", lambda *_: SimpleNamespace(steady={"classify": [1.0], "twin": [2.0]}))
    subject = of_random_weights("resnet20")
    assert cold_start.measure_cold_start(subject, rounds=1).ratio.median == 2
    assert saved == [subject.twin]
