"""Networks of the package pack by name and give the logits of evaluation, bit for bit."""

import numpy as np
import pytest
import torch

import xnorlit as xl
from tests.models.test_designs import stirred


@pytest.mark.parametrize(
    ("name", "binarizer"),
    [("resnet20", "IRNet"), ("resnet20-recu", "ReCU"), ("resnet20", "AdaBin"), ("vgg-small", "XNOR"), ("cnv", "BNN")],
)
def test_the_packed_network_gives_evaluations_logits(name, binarizer, tmp_path):
    net = stirred(xl.create(name, binarizer=binarizer, classes=5)).eval()
    xl.pack(net, tmp_path / "net.safetensors", image_size=32, classes=list("abcde"))
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    with torch.no_grad():
        logits = net(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert np.array_equal(xl.load(tmp_path / "net.safetensors")(images), logits)
