"""OpenVINO in the bench: measured if possible, else a row with the reason."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from xnorlit.bench import network
from xnorlit.bench.layers import integers, measure_layers
from xnorlit.bench.machine import busiest
from xnorlit.bench.opponents import openvino
from xnorlit.bench.row import OPENVINO, OV_BINARY, OV_BYTE_ENDS, OV_INSIDE
from xnorlit.bench.settings import Settings
from xnorlit.bench.subject import of_random_weights, pixels

pytest.importorskip("openvino")
OTHERS = ("torch.compile", "onnxruntime int8", "torch int8")


@pytest.fixture(scope="module")
def small():
    with torch.no_grad():
        return of_random_weights("alexnet-small")


@pytest.fixture
def settings():
    found = Settings.of([1], [1], 1, quick=True)
    return replace(found, isas=found.isas[:1], absent={**found.absent, **dict.fromkeys(OTHERS, "left out")})


def test_the_binary_network_gives_our_classes_and_names_its_layers_inside(small):
    images = pixels(2, 32)
    ours = small.engine("float", "portable")(images)
    call = openvino.binary_network(*small.packed["float"], images, 1, ours)
    call()
    inside = openvino.profiler(*small.packed["float"], images, 1)()
    assert inside.keys() == {layer.name for layer, _ in small.binary_layers()}
    assert min(inside.values()) > 0
    with pytest.raises(openvino.OpponentError, match="names other classes than ours"):
        openvino.binary_network(*small.packed["float"], images, 1, -ours)


def test_held_to_avx2_it_is_measured_in_a_process_of_its_own(small, monkeypatch):
    found = openvino.held_to_avx2(*small.packed["int8"], [(1, 1), (2, 1)], 3)
    assert [len(times) for times in found] == [3, 3]
    assert all(seconds > 0 for times in found for seconds in times)
    monkeypatch.setattr(openvino, "_HELD", "raise SystemExit('told so')")
    with pytest.raises(openvino.OpponentError, match="does not run limited to AVX2: told so"):
        openvino.held_to_avx2(*small.packed["int8"], [(1, 1)], 3)


@torch.no_grad()
def test_a_layer_whose_integers_differ_is_a_row_that_says_so(small, settings, monkeypatch):
    layer, at = next(small.binary_layers())
    monkeypatch.setattr("xnorlit.bench.layers.integers", lambda *given: integers(*given) + 1)
    subject = SimpleNamespace(**{name: getattr(small, name) for name in ("graph", "tensors", "packed", "engine")})
    subject.binary_layers = lambda: iter([(layer, at)])
    (row,) = measure_layers(subject, settings, lambda _: None)
    assert row.absent[OV_BINARY] == "OpenVINO's binary layer computes other integers than ours"
    assert {*OPENVINO, OV_INSIDE} - {OV_BINARY} <= row.samples.keys()


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "found", "sides", "message"),
    [
        ("version", lambda _: "2027.1.0", {*OPENVINO, OV_BYTE_ENDS, OV_INSIDE}, "openvino 2027.1.0 has another"),
        ("importlib.util.find_spec", lambda _: None, {*OPENVINO, OV_INSIDE}, "pip install 'xnorlit.bench.'"),
        ("binary_missing", lambda: "no BIN", {OV_BINARY, OV_BYTE_ENDS, OV_INSIDE}, "no BIN"),
    ],
)
def test_unmeasurable_sides_get_a_row_with_the_reason(small, monkeypatch, name, found, sides, message):
    monkeypatch.setattr(f"xnorlit.bench.opponents.openvino.{name}", found)
    settings = Settings.of([1], [1], 1, quick=True)
    assert sides <= settings.absent.keys()
    for side in sides:
        assert message.split("'")[0] in settings.absent[side]


@torch.no_grad()
def test_a_side_that_does_not_compile_leaves_the_others_measured(small, settings, monkeypatch):
    def fails(*_):
        raise openvino.OpponentError("does not compile: told so")

    monkeypatch.setattr(openvino, "int8_network", fails)
    (row,) = network.measure_network(small, settings, lambda _: None)
    assert row.absent["OpenVINO int8"] == "does not compile: told so"
    assert {"OpenVINO fp32", OV_BINARY, OV_BYTE_ENDS} <= row.samples.keys()
    assert row.over(OV_BINARY, "packed " + settings.isas[0] + " float ends").median > 0


def test_the_busiest_processes_are_named():
    before = {(1, "init"): 5.0, (7, "clang"): 1.0}
    after = {(1, "init"): 5.0, (7, "clang"): 11.0, (8, "rsync"): 2.0, (9, "clang"): 4.0}
    assert busiest(before, after, 10) == ["clang 1.40", "rsync 0.20"]
