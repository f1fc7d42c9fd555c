"""Non-default settings pack to the evaluation's logits, including learned scales of either sign and of 0."""

import pytest
import torch

from tests.binarize.test_every_binarizer import SMALL, images
from xnorlit.binarize.binary_connect import BinaryConnect
from xnorlit.binarize.bireal import BiReal
from xnorlit.binarize.bnn import BNN
from xnorlit.binarize.dorefa import DoReFa
from xnorlit.binarize.rbnn import RBNN
from xnorlit.binarize.recu import ReCU
from xnorlit.binarize.siman import SiMaN
from xnorlit.binarize.xnorplusplus import XNORPlusPlus
from xnorlit.errors import UserError
from xnorlit.models import build

pytest.importorskip("xnorlit.packed._kernels")

from xnorlit.export.pack import pack
from xnorlit.packed import PackedNetwork


def settled(binarizer):
    """A network whose norms have seen some images, with learned gains of either sign or 0."""
    torch.manual_seed(0)
    model = build(SMALL, binarizer, classes=4, image_size=12).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gain"):
                parameter.normal_()
                parameter[::5] = 0
        for _ in range(3):
            model(images())
    return model.eval()


@pytest.mark.parametrize(
    "binarizer",
    [
        *(
            DoReFa(weights, inputs, 32)
            for weights, inputs in ((1, 1), (2, 2), (3, 1), (4, 4), (8, 8), (1, 32), (32, 2))
        ),
        BinaryConnect("stochastic"),
        BNN("stochastic", "stochastic"),
        BiReal(shortcut=False),
        BiReal(),
        RBNN(center=False),
        XNORPlusPlus(),
        ReCU(),
    ],
    ids=lambda b: f"{type(b).__name__}-{b.weight_bits}-{b.input_bits}",
)
def test_packed_logits_are_the_evaluations(binarizer):
    model = settled(binarizer)
    graph, tensors = pack(model, image_size=12, classes=list("abcd"))
    with torch.no_grad():
        expected = model(images())
    logits = PackedNetwork(graph, tensors)(images().permute(0, 2, 3, 1).numpy())
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("binarizer", "instead"),
    [
        (XNORPlusPlus("rank-1"), r"conv2 .* scale: channel"),
        (BinaryConnect("stochastic", "real"), r"conv2 .*inference: binary"),
        (RBNN(), r"conv2 .*mean over the whole map .* use IRNet or ReCU"),
        (SiMaN(), r"conv2 .*mean over the whole map .* use IRNet or ReCU"),
    ],
    ids=["rank-1", "real", "RBNN", "SiMaN"],
)
def test_methods_without_a_packed_form_name_an_alternative(binarizer, instead):
    with pytest.raises(UserError, match=instead):
        pack(settled(binarizer), image_size=12, classes=list("abcd"))
