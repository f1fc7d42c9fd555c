"""The exported twins of chains and of graphs compute what they are measured for."""

import numpy as np
import pytest
import torch

from tests.bench.operators import read_operators_once
from xnorlit.bench.opponents import exported, onnx_int8, openvino
from xnorlit.bench.subject import of_random_weights, pixels

pytestmark = pytest.mark.skipif(bool(exported.missing()), reason=exported.missing())
EIGHT_BITS = 0.1  # of the norm of the logits


@pytest.fixture(scope="module", autouse=True)
def operators():
    with pytest.MonkeyPatch.context() as patch:
        read_operators_once(patch)
        yield


@pytest.fixture(scope="module", params=["alexnet-small", "resnet20"])
def twin(request):
    """With a quarter of the weights behind the stem: fresh ones turn one grey level of noise into half of resnet20's
    logits, so that no rounding to 8 bits could be told from a fault.
    """
    with torch.no_grad():
        found = of_random_weights(request.param).twin
        _, *behind = (module for module in found.modules() if isinstance(module, torch.nn.Conv2d))
        for module in behind:
            module.weight /= 4
        return found


@pytest.fixture(scope="module")
def images():
    return np.ascontiguousarray(pixels(3, 32).transpose(0, 3, 1, 2))


@pytest.fixture(scope="module")
def files(twin, images):
    return exported.exported(twin, images)


@pytest.fixture(scope="module")
def expected(twin, images):
    with torch.no_grad():
        return twin(torch.from_numpy(images)).numpy()


def error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_onnxruntime_computes_the_twin(files, images, expected):
    assert error(onnx_int8.network_call(files.fp32, images, 1)(), expected) < 1e-5
    assert 0 < error(onnx_int8.network_call(files.int8, images, 1)(), expected) < EIGHT_BITS


def test_every_convolution_of_the_8_bit_twin_reads_levels(files):
    """A layer that stayed in fp32 would make our engine look better."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(files.int8).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert layers
    for node in layers:
        assert {made_by[name] for name in node.input[:2]} == {"DequantizeLinear"}, node.name


@pytest.mark.skipif(bool(openvino.missing()), reason=openvino.missing())
def test_openvino_computes_the_twin(files, images, expected):
    openvino.fp32_network(files.fp32, images, 1, expected)()
    openvino.int8_network(files.int8, images, 1)()
    with pytest.raises(openvino.OpponentError, match="other logits than the twin"):
        openvino.fp32_network(files.fp32, images, 1, -expected)
    with pytest.raises(openvino.OpponentError, match="does not compile"):
        openvino.fp32_network(b"no model", images, 1, expected)


def test_a_twin_that_cannot_be_exported_is_a_reason(images):
    class Odd(torch.nn.Module):
        def forward(self, x):
            raise ValueError("odd")

    with pytest.raises(exported.ExportError, match="the twin cannot be exported: "):
        exported.exported(Odd(), images)


def test_a_missing_tool_is_a_reason(monkeypatch, images):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(exported.ExportError, match=r"onnxscript not installed: pip install 'xnorlit\[bench\]'"):
        exported.exported(torch.nn.Identity(), images)
