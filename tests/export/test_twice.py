"""BinaryDuo's decoupled network is packed with duplicated outputs."""

import pytest
import torch

from xnorlit.binarize.duo import BinaryDuo
from xnorlit.export.pack import pack
from xnorlit.models import build, network_named, summarize
from xnorlit.models.decouple import decouple
from xnorlit.packed import PackedNetwork

CLASSES = list("abcde")


def images(count=6):
    return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def duo(suffix, stage):
    torch.manual_seed(0)
    return build(network_named(f"alexnet-small-duo{suffix}"), BinaryDuo(stage), classes=len(CLASSES), image_size=32)


def decoupled():
    """A decoupled network whose halves differ a little."""
    coupled = duo("", "coupled")
    with torch.no_grad():
        for _ in range(3):
            coupled.train()(images())
    net = duo("-decoupled", "decoupled")
    net.load_state_dict(decouple(coupled.state_dict(), coupled.network))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(2):
        torch.nn.functional.cross_entropy(net.train()(images()), torch.arange(6) % 5).backward()
        optimizer.step()
    return net.eval()


def test_the_packed_network_computes_the_decoupled_ones_logits_and_is_as_large_as_its_summary_says():
    pytest.importorskip("xnorlit.packed._kernels")
    net = decoupled()
    graph, tensors = pack(net, image_size=32, classes=CLASSES)
    logits = PackedNetwork(graph, tensors)(images().permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), net(images()), rtol=1e-4, atol=1e-4)
    assert tensors["conv1.weight"].shape[0] == 68
    packed = {layer.name: layer.packed_bits for layer in summarize(net).layers}
    assert 8 * tensors["conv1.weight"].nbytes + 33 * 68 == packed["conv1"]
