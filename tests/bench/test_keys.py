from pathlib import Path

import pytest

from xnorlit.bench.cold_start import ColdStart
from xnorlit.bench.figures import exactly
from xnorlit.bench.judge import FIND, judged
from xnorlit.bench.keys import CONVOLUTIONS, KEYS, Key, as_markdown
from xnorlit.bench.limits import Limits
from xnorlit.bench.measured import Measured
from xnorlit.bench.memory import Memory
from xnorlit.bench.network import NETWORK
from xnorlit.bench.row import Row
from xnorlit.bench.turns import Turns

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


ALEXNET = ("alexnet-xnor", 1000)


def test_every_key_is_measured_and_every_measurement_documented():
    assert {key.name for keys in KEYS.values() for key in keys} == FIND.keys()


@pytest.mark.parametrize("network", KEYS)
def test_the_page_of_benchmarks_has_the_table_of_keys(network):
    table = as_markdown(network)
    assert table in PAGE.read_text(), f"paste this into docs/benchmarks.md:\n{table}"


@pytest.mark.parametrize(("value", "verdict"), [(11.9, "missed"), (12, "met"), (17.9, "met"), (18, "met, aim too")])
def test_a_ratio_is_held_against_must_and_aim(value, verdict):
    assert Key("", "", must=12, aim=18).verdict(value, "avx2") == verdict


@pytest.mark.parametrize(("value", "verdict"), [(24.1, "missed"), (24, "met"), (10, "met")])
def test_a_size_is_held_against_the_most_it_may_be(value, verdict):
    assert Key("", "", must=24, aim=None, less=True).verdict(value, "avx2") == verdict


def test_a_target_may_be_higher_on_better_kernels():
    key = Key("", "", must=9, aim=11, aims=(("avx512", 15),))
    assert key.verdict(12, "avx2") == "met, aim too"
    assert key.verdict(12, "avx512") == "met"


def row(part, batch, threads, times):
    return Row(part, batch, threads, Turns(times, times), macs=0 if part == NETWORK else 900)


def measured():
    """Two kernels, and times that are whole numbers."""
    ours = {"packed avx512": [1.0], "packed avx2": [2.0]}
    theirs = {"fp32": [30.0], "fp32 channels_last": [24.0], "onnxruntime int8": [6.0]}
    openvino = {"OpenVINO fp32": [44.0], "OpenVINO int8": [10.0], "OpenVINO binary": [6.4]}
    theirs |= openvino | {"OpenVINO binary int8 ends": [3.0]}
    theirs |= {"OpenVINO binary avx2": [9.0], "OpenVINO binary int8 ends avx2": [6.0]}
    whole = {
        "packed avx512 float ends": [4.0],
        "packed avx2 float ends": [6.0],
        "packed avx512 int8 ends": [2.0],
        "packed avx2 int8 ends": [3.0],
    }
    alone = {"packed avx512 one thread": [1.75], "packed avx2 one thread": [3.0]}
    inside = {"packed avx512 inside": [0.5], "packed avx2 inside": [1.0], "OpenVINO binary inside": [0.6]}
    names = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    rows = [
        *(row(name, 1, 1, ours | theirs | inside) for name in names),
        *(row(name, 32, 1, ours | theirs) for name in names),
        *(row(name, 1, 2, ours | theirs | alone) for name in names),
        row("network", 1, 1, whole | theirs),
        row("network", 32, 2, whole | theirs),
    ]
    limits = Limits(
        {},
        {"avx512": 1000.0, "avx2": 600.0},
        {"avx512": 950.0, "avx2": 480.0},
        {"avx512": exactly(21), "avx2": exactly(10)},
    )
    files = {"float": 23_000_000, "int8": 12_000_000}
    memory = Memory(files, files, dict.fromkeys(files), 250, binary_fp32=320, binary_disk=10, binary_resident=20)
    return Measured(limits, rows, memory, ColdStart(exactly(1), exactly(7), exactly(7)))


def test_each_key_is_its_own_ratio():
    found = judged(measured(), ["avx512", "avx2"], *ALEXNET)
    values = {name: (key["measured"]["median"], key["verdict"]) for name, key in found.items() if key["measured"]}
    assert sorted(found.keys() - values.keys()) == [  # no such row above
        f"network_{ends}_ends_{row}_over_openvino_binary"
        for ends in ("float", "int8")
        for row in ("batch1_threads2", "batch32_threads1")
    ]
    assert values == {
        "conv2_over_fp32": (24, "met, aim too"),
        "conv3_over_fp32": (24, "met, aim too"),
        "conv4_over_fp32": (24, "met, aim too"),
        "conv5_over_fp32": (24, "met, aim too"),
        "fc6_over_fp32": (24, "met"),
        "fc7_over_fp32": (24, "met"),
        "tile_over_fp32_peak_avx2": (10, "missed"),
        "tile_over_fp32_peak_avx512": (21, "met"),
        "network_float_ends_over_fp32": (6, "missed"),
        "network_int8_ends_over_fp32": (12, "met"),
        "network_float_ends_batch32_over_fp32_eager": (7.5, "missed"),
        "network_int8_ends_batch32_over_fp32_eager": (15, "met, aim too"),
        "conv2_two_threads_over_one": (1.75, "met"),
        "conv3_two_threads_over_one": (1.75, "met"),
        "conv4_two_threads_over_one": (1.75, "met"),
        "conv5_two_threads_over_one": (1.75, "met"),
        "conv3_over_onnxruntime_int8": (6, "met"),
        "network_float_ends_over_openvino_binary": (1.6, "met, aim too"),
        "network_int8_ends_over_openvino_binary": (1.5, "met"),
        "network_float_ends_batch32_threads2_over_openvino_binary": (1.6, "met"),
        "network_int8_ends_batch32_threads2_over_openvino_binary": (1.5, "missed"),
        "network_float_ends_over_openvino_int8": (2.5, "met"),
        "network_int8_ends_over_openvino_int8": (5, "met"),
        "network_float_ends_over_openvino_fp32": (11, "met"),
        "network_int8_ends_over_openvino_fp32": (22, "met"),
        "network_float_ends_over_openvino_binary_avx2": (1.5, "met"),
        "network_int8_ends_over_openvino_binary_avx2": (2, "met, aim too"),
        **{f"{layer}_inside_over_openvino_inside": (1.2, "met, aim too") for layer in CONVOLUTIONS},
        **{f"{layer}_share_of_bits_peak": (0.9, "met") for layer in CONVOLUTIONS},
        **{f"{layer}_share_of_bits_peak_batch32": (0.9, "met, aim too") for layer in CONVOLUTIONS},
        **{f"{layer}_share_of_bits_peak_avx2": (0.75, "met") for layer in CONVOLUTIONS},
        "tile_share_of_bits_peak_avx2": (0.8, "missed"),
        "binary_layers_disk": (32, "met, aim too"),
        "binary_layers_resident": (16, "missed"),
        "file_float_ends_mb": (23, "met"),
        "file_int8_ends_mb": (12, "missed"),
        "classify_over_torch": (7, "met"),
    }


def test_the_other_kernels_stand_beside():
    found = judged(measured(), ["avx512", "avx2"], *ALEXNET)
    assert found["conv2_over_fp32"]["beside"]["avx2"]["median"] == 12
    assert found["conv2_two_threads_over_one"]["beside"]["avx2"]["median"] == 1.5
    assert found["tile_over_fp32_peak_avx2"]["beside"] == {}
    assert found["binary_layers_disk"]["beside"] == {}


def test_kernels_that_the_processor_lacks_are_not_measured():
    found = judged(measured(), ["avx2"], *ALEXNET)
    assert found["tile_over_fp32_peak_avx512"]["verdict"] == "not measured"
    assert found["network_int8_ends_over_fp32"]["verdict"] == "missed"


@pytest.mark.parametrize(("network", "classes"), [("alexnet-xnor", 10), ("resnet20", 1000)])
def test_another_network_has_figures_but_no_targets(network, classes):
    found = judged(measured(), ["avx512"], network, classes)
    assert {key["verdict"] for key in found.values()} == {"no target", "not measured"}


def test_a_residual_network_has_targets_of_its_own():
    found = judged(measured(), ["avx512", "avx2"], "resnet18-bireal", 1000)
    assert {name: (key["measured"]["median"], key["verdict"]) for name, key in found.items()} == {
        "network_float_ends_over_fp32": (6, "met, aim too"),
        "network_int8_ends_over_fp32": (12, "met, aim too"),
        "network_float_ends_over_openvino_int8": (2.5, "met, aim too"),
        "network_int8_ends_over_openvino_int8": (5, "met, aim too"),
        "binary_layers_share_of_bits_peak": (1.8, "met, aim too"),  # six layers of 900 in half a second each
    }
    assert found["binary_layers_share_of_bits_peak"]["beside"]["avx2"]["median"] == 1.5
    (key,) = judged(measured(), ["avx512"], "reactnet-a", 1000).values()
    assert key["verdict"] == "met"
