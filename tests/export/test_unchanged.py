"""The packed file of a network stays the same from version to version, byte for byte."""

import hashlib
import zlib

import numpy as np
import pytest
import torch

from xnorlit.binarize import binarizers
from xnorlit.export.pack import pack, write
from xnorlit.models import build, network_named
from xnorlit.packed.origin import Source

# The first 16 digits of each file's SHA-256. The files are those of commit 294a848 but for the real thresholds of first
# layers, which moved in their last bits, and one integer one: norms now evaluate as a product and a sum, each rounded.
FILES = {
    ("alexnet-small", "XNOR"): "c6a590cce0b503b6",
    ("alexnet-small", "XNOR", ("input_scale", "K")): "64165cda7472e35c",
    ("alexnet-small", "BWN"): "eced6f850edee0d1",
    ("alexnet-small", "Float"): "f0fa768faf27f383",
    ("alexnet-small", "DoReFa", ("weight_bits", 2), ("input_bits", 3)): "9128e8c0ae02c1f1",
    ("alexnet-small", "TWN", ("inputs", "sign")): "66e219f048ba583d",
    ("alexnet-small", "IRNet"): "18e17001ca2bbd81",
    ("alexnet-small", "ReActNet", ("shortcut", False)): "a89a9bf527ddc149",
    ("alexnet-small-duo-decoupled", "BinaryDuo", ("stage", "decoupled")): "43cd478097dc60d6",
    ("alexnet-small-duo", "BinaryDuo"): "6d0bcfec56fb90c5",
    ("alexnet-xnor", "XNOR"): "e28c785a1e218324",
    ("alexnet-torchvision-norm", "XNOR"): "bdc7ac472d647f87",
    ("alexnet-dorefa", "DoReFa"): "7d13b578ed4bdb8b",
}
pytestmark = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="other kernels round batch norms otherwise",
)


def settled(name, method, settings):
    """A network whose weights and statistics depend only on their names, not on torch's generator."""
    table = network_named(name)
    size = 32 if table.image_size < 64 else 224
    chosen = binarizers()[method](**settings)
    model = build(table, chosen, classes=5, image_size=size, mean=(125, 123, 114), std=(63, 62, 67))
    with torch.no_grad():
        for key, values in model.state_dict().items():
            if not values.is_floating_point() or key.startswith("normalize."):
                continue
            drawn = np.random.default_rng(zlib.crc32(key.encode())).normal(size=tuple(values.shape))
            if key.endswith("running_var"):
                drawn = 5 * drawn**2
            elif ".binarizer." in key or "behind" in key:
                drawn = values.numpy() * (1 + drawn**2 / 10)
            elif ".norm." not in key:
                drawn = drawn / 10
            values.copy_(torch.from_numpy(np.asarray(drawn)))
    return model, size


def cases():
    """Each file; those of networks for large images take seconds."""
    for case in FILES:
        large = network_named(case[0]).image_size > 64
        yield pytest.param(case, marks=[pytest.mark.slow] if large else [], id="-".join(map(str, case)))


@pytest.mark.parametrize("case", list(cases()))
def test_a_network_packs_to_the_bytes_that_it_packed_to_before(case, tmp_path):
    name, method, settings = case[0], case[1], dict(case[2:])
    model, size = settled(name, method, settings)
    source = Source("random", xnorlit="294a848")
    file = tmp_path / "net.safetensors"
    write(file, *pack(model, image_size=size, classes=list("abcde"), source=source))
    assert hashlib.sha256(file.read_bytes()).hexdigest()[:16] == FILES[case]
