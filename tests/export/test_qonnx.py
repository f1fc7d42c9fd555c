"""QONNX and FINN: qonnx's own passes and analyses on an exported network."""

import sys

import numpy as np
import pytest
import torch

from tests.export.runtimes import with_qonnx
from tests.export.test_binarizers import CLASSES, pixels_for, to_torch
from tests.export.test_formats import KIND, packed_of
from tests.packed.graphs import GRAPHS, graph, tensors_of
from xnorlit.errors import UserError
from xnorlit.export import finn, qonnx
from xnorlit.export.pack import pack
from xnorlit.models import create
from xnorlit.models.summary import summary
from xnorlit.packed import PackedNetwork

pytest.importorskip("qonnx")

FORMS = {"qonnx": qonnx.build, "finn": finn.build}


def wrapped(built):
    from qonnx.core.modelwrapper import ModelWrapper

    return ModelWrapper(built)


def answer(model, pixels):
    from qonnx.core.onnx_exec import execute_onnx

    given = {model.graph.input[0].name: pixels.transpose(0, 3, 1, 2).astype(np.float32)}
    return execute_onnx(model, given)[model.graph.output[0].name]


def cleaned(built, **how):
    from qonnx.util.cleanup import cleanup_model

    return cleanup_model(wrapped(built), **how)


def channels_last(built):
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean

    return cleaned(built).transform(ConvertToChannelsLastAndClean())


def lowered(built, *, typed):
    """Convolutions as products of matrices, behind what FINN does first: weights folded, types inferred."""
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.infer_shapes import InferShapes
    from qonnx.transformation.lower_convs_to_matmul import LowerConvsToMatMul

    model = cleaned(built, preserve_qnt_ops=False)
    model = model.transform(InferDataTypes()) if typed else model
    model = model.transform(LowerConvsToMatMul()).transform(InferShapes())
    return model.transform(InferDataTypes()) if typed else model


def network(name, binarizer="XNOR"):
    """A named network with fresh weights and the statistics of a few images, packed."""
    torch.manual_seed(0)
    model = create(name, binarizer=binarizer, classes=10)
    side = model.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)
    with torch.no_grad():
        model.train()(to_torch(pixels))
    return model, pack(model.eval(), image_size=side, classes=list("abcdefghij")), pixels


def cost(built):
    """What `qonnx-inference-cost` reports."""
    from qonnx.util.inference_cost import inference_cost

    return inference_cost(wrapped(built), discount_sparsity=False)["total_cost"]


@pytest.mark.parametrize("form", FORMS)
def test_qonnxs_passes_do_not_change_the_answers(form):
    _, packed = packed_of(KIND, format=form)
    pixels = pixels_for(KIND, 1)
    expected = PackedNetwork(*packed)(pixels)
    built = FORMS[form](*packed)
    # The plain form pads signs with zeros, which its type does not have: lowered, it runs without inferred types.
    for model in (cleaned(built), channels_last(built), lowered(built, typed=form == "finn")):
        np.testing.assert_allclose(answer(model, pixels), expected, rtol=1e-4, atol=1e-4)


def test_the_network_for_fpgas_has_only_bits_and_bytes_and_matches_the_engine():
    model, packed, pixels = network("cnv", "BNN")
    built = finn.build(*packed)
    expected = PackedNetwork(*packed)(pixels[:1])
    np.testing.assert_allclose(answer(lowered(built, typed=True), pixels[:1]), expected, rtol=1e-4, atol=1e-4)
    found, weighed = cost(built), summary(model)
    assert {key: value for key, value in found.items() if key.startswith("mem_w")} == {
        "mem_w_BIPOLAR": weighed.binary_weights
    }
    first = weighed.layers[0].macs
    assert found["op_mac_UINT8_BIPOLAR"] == first
    assert found["op_mac_BIPOLAR_BIPOLAR"] == sum(layer.macs for layer in weighed.layers) - first


@pytest.mark.parametrize("name", ["alexnet-small", "resnet20", "vgg-small"])
def test_weights_count_as_one_bit(name):
    model, packed, pixels = network(name)
    built = qonnx.build(*packed)
    found, weighed = cost(built), summary(model)
    assert found["mem_w_BIPOLAR"] == weighed.binary_weights
    assert found["total_bops"] == weighed.ace  # qonnx's name for multiply-adds times both widths
    assert found["mem_w_FLOAT32"] == sum(layer.weights for layer in weighed.layers if layer.weight_bits == 32)
    np.testing.assert_allclose(
        answer(cleaned(built), pixels[:1]), PackedNetwork(*packed)(pixels[:1]), rtol=1e-4, atol=1e-4
    )


def test_signs_that_finn_pads_have_the_same_threshold_twice_and_a_type_with_a_zero():
    _, packed = packed_of(KIND, format="finn")
    built = finn.build(*packed)
    model = wrapped(built)
    makers = {node.output[0]: node for node in built.graph.node}
    seen = {}
    for layer in ("conv2", "conv3", "fc6"):
        node = makers[makers[f"{layer}/sums"].input[0]]
        seen[layer] = next(one.s.decode() for one in node.attribute if one.name == "out_dtype")
        thresholds = model.get_initializer(node.input[1])
        doubled = layer != "fc6"  # the only one of them without padding
        assert thresholds.shape[1] == (2 if doubled else 1)
        assert (thresholds == thresholds[:, :1]).all()
    assert seen == {"conv2": "INT2", "conv3": "INT2", "fc6": "BIPOLAR"}


def test_ends_in_8_bits_are_few_bits_for_finn():
    model, _ = packed_of(KIND)
    packed = pack(model, image_size=20, classes=CLASSES, ends="int8", calibration=pixels_for(KIND, 32, 5))
    found = cost(finn.build(*packed))
    assert {key for key in found if key.startswith("mem_w")} == {"mem_w_BIPOLAR", "mem_w_INT8"}
    assert not [key for key in found if key.startswith("op_mac") and "FLOAT" in key]
    built = finn.build(*packed)
    makers = {node.output[0]: node.op_type for node in built.graph.node}
    read = {name for node in built.graph.node for name in node.input if makers.get(name) == "Relu"}
    assert not read, "a ReLU before thresholds above zero has no effect"
    assert "Relu" not in makers.values()


def test_real_ends_are_refused_with_the_setting_that_trains_them():
    _, packed = packed_of(KIND)
    with pytest.raises(UserError, match=r"conv1 .* fp32.*--model\.layers\.conv1 '\{class_path: LSQ.*--ends int8"):
        finn.build(*packed)


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_package_is_named_with_what_to_type(form, monkeypatch):
    _, packed = packed_of(KIND, format=form)
    for name in [name for name in sys.modules if name.partition(".")[0] == "qonnx"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "qonnx", None)
    with pytest.raises(UserError, match=r"qonnx is not installed. Install it: pip install 'xnorlit\[qonnx\]'"):
        FORMS[form](*packed)


def test_codes_that_are_all_zero_still_have_a_type_of_one_bit():
    from onnx.numpy_helper import to_array

    given = graph(GRAPHS["bytes"])
    tensors, pixels = tensors_of(given), np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    tensors |= {name: np.zeros_like(tensors[name]) for name in ("codes.flip", "codes.change")}
    built = qonnx.build(given, tensors)
    constants = {each.name: to_array(each) for each in built.graph.initializer}
    widths = [int(constants[node.input[3]]) for node in built.graph.node if node.op_type == "Quant"]
    assert min(widths, default=0) >= 1
    expected = PackedNetwork(given, tensors)(pixels)
    found = with_qonnx(given, tensors, pixels)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
