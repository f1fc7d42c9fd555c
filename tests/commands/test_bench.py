"""`xnorlit bench --quick` from end to end, on the smallest network. No time is asserted."""

import json
import os
import shutil

import numpy as np
import pytest
import torch

from tests.bench.operators import read_operators_once
from xnorlit.bench import turns
from xnorlit.bench.keys import KEYS, keys_of
from xnorlit.bench.layers import binary_engine
from xnorlit.bench.opponents import exported, openvino
from xnorlit.bench.opponents.compiled import compiled
from xnorlit.bench.row import OPPONENTS
from xnorlit.bench.subject import of_file, of_random_weights, pixels
from xnorlit.commands.main import COMMANDS
from xnorlit.errors import UserError
from xnorlit.export.pack import pack, write
from xnorlit.layers import BinaryConv2d, BinaryLinear
from xnorlit.models import create
from xnorlit.packed import _kernels

LAYERS = ["conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]


@pytest.fixture(scope="module", autouse=True)
def each_side_is_called_once():
    """Also in whole processes, turns are not repeated for a longer measurement and do not wait for idle threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "_repeats", lambda call: 0)
        patch.setattr(turns, "SETTLE_SECONDS", 0)
        if not exported.missing():
            read_operators_once(patch)
        yield


@pytest.fixture(scope="module")
def small():
    with torch.no_grad():
        return of_random_weights("alexnet-small")


@pytest.fixture(scope="module")
def file(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "network.safetensors"
    write(path, *small.packed["float"])
    return path


@pytest.fixture(scope="module")
def written(file):
    out = file.with_name("bench.json")
    COMMANDS["bench"].run("bench", [str(file), "--quick", "--repeats", "1", "--threads", "1", "2", "--json", str(out)])
    return out


@pytest.fixture(scope="module")
def document(written):
    return json.loads(written.read_text())


def test_the_json_has_every_documented_key_and_no_other(document):
    assert list(document["keys"]) == [key.name for key in keys_of("alexnet-small")]


def test_every_layer_and_the_network_are_measured_at_each_batch_and_thread_count(document):
    found = {(row["part"], row["batch"], row["threads"]) for row in document["rows"]}
    assert found == {(part, batch, threads) for part in [*LAYERS, "network"] for batch in (1, 2) for threads in (1, 2)}


def test_every_side_has_a_time_or_a_reason(document):
    for row in document["rows"]:
        linear = {"fp32 channels_last"} if row["part"].startswith("fc") else set()
        assert row["seconds"].keys() | row["not_measured"].keys() | linear >= set(OPPONENTS)
        assert all(seconds["median"] > 0 for seconds in row["seconds"].values())


def test_every_path_of_the_processor_is_measured(document):
    for path in {path for path in _kernels.isas() if path != "portable"}:
        assert f"packed {path}" in document["rows"][0]["seconds"]
        assert document["limits"]["bits"][path] > 0


def test_the_json_says_where_and_how(document, file):
    assert document["machine"]["kernels"] == _kernels.isas()
    assert torch.__version__.startswith(document["machine"]["packages"]["torch"])
    assert document["subject"]["weights"] == f"{file} (random weights)"
    assert document["subject"]["binary_macs"]["conv3"] == 8 * 8 * 128 * 96 * 9


def test_a_module_packed_from_python_is_measured_against_a_twin_of_its_layers(tmp_path):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        BinaryConv2d(16, 32, 3, padding=1, binarizer="XNOR"),
        torch.nn.MaxPool2d(2),
        torch.nn.BatchNorm2d(32),
        torch.nn.Flatten(),
        BinaryLinear(512, 8, binarizer="XNOR"),
        torch.nn.BatchNorm1d(8),
        torch.nn.Linear(8, 2),
    )
    pack(model, tmp_path / "net", image_size=8, classes=["ant", "bee"], mean=[127] * 3, std=[64] * 3)
    out = str(tmp_path / "bench.json")
    words = ["--quick", "--repeats", "1", "--batches", "1", "--threads", "1", "--json", out]
    COMMANDS["bench"].run("bench", [str(tmp_path / "net"), *words])
    found = json.loads((tmp_path / "bench.json").read_text())
    assert {row["part"] for row in found["rows"]} == {"2", "6", "network"}
    network = next(row for row in found["rows"] if row["part"] == "network")
    assert {"fp32", "onnxruntime int8"} <= network["seconds"].keys() | network["not_measured"].keys()
    assert list(found["memory"]["files"]) == ["float"]
    assert found["memory"]["fp32"] == 4 * (16 * 28 + 32 * 145 + 8 * 513 + 2 * 9)
    assert found["keys"]["file_int8_ends_mb"]["verdict"] == "not measured"
    assert found["cold_start"]["twin"]["median"] > 0


@pytest.mark.slow
def test_a_graph_is_measured_against_the_float_twin(tmp_path):
    net = create("resnet20", binarizer="XNOR", classes=3, image_size=16).eval()
    pack(net, tmp_path / "net", image_size=16, classes=["ant", "bee", "cat"])
    out = str(tmp_path / "bench.json")
    argv = [str(tmp_path / "net"), "--quick", "--repeats", "1", "--threads", "1", "--json", out]
    COMMANDS["bench"].run("bench", argv)
    found = json.loads((tmp_path / "bench.json").read_text())
    network = next(row for row in found["rows"] if row["part"] == "network")
    assert network["seconds"]["fp32"]["median"] > 0
    theirs = {"onnxruntime int8", "OpenVINO fp32", "OpenVINO int8"}
    assert theirs <= network["seconds"].keys() or exported.missing() or openvino.missing()
    assert "no 8-bit form of Hardtanh" in network["not_measured"]["torch int8"]
    assert len({row["part"] for row in found["rows"]}) == 19
    assert found["cold_start"]["twin"]["median"] > 0


def test_memory_is_counted(document, file):
    memory = document["memory"]
    assert memory["files"]["float"] == file.stat().st_size
    assert memory["binary_fp32"] == 4 * 1_458_688
    assert 24 < memory["binary_fp32"] / memory["binary_disk"] < 32
    assert memory["resident"]["float"] > memory["binary_resident"] > memory["binary_fp32"] / 40


def test_an_earlier_measurement_is_shown_again_for_people_and_as_markdown(written, document, capsys):
    COMMANDS["bench"].run("bench", ["--show", str(written)])
    people = capsys.readouterr().out
    COMMANDS["bench"].run("bench", ["--show", str(written), "--markdown"])
    markdown = capsys.readouterr().out
    for text in (people, markdown):
        assert "random weights" in text
        assert "warning: load average" in text or max(document["machine"]["load_average"]) <= 2
        assert all(name in text for name in document["keys"])
        assert f"{document['keys']['conv3_over_fp32']['measured']['median']:.1f}"[:-2] in text
    assert all(key["meaning"] in markdown for key in document["keys"].values())
    assert "| --- | ---: |" in markdown


def test_every_key_is_documented(capsys):
    COMMANDS["bench"].run("bench", ["--keys"])
    text = capsys.readouterr().out
    assert all(key.name in text and key.meaning in text for keys in KEYS.values() for key in keys)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--batches", "0"], "expected a whole number, 1 to 1024, not '0'"),
        (["a.safetensors", "--network", "alexnet-small"], "Expected one"),
        (["--network", "alexnet-smal"], "Did you mean alexnet-small"),
        (["missing.safetensors"], "missing.safetensors: cannot be read"),
    ],
)
def test_unmeasurable_networks_are_refused_with_a_message(words, complaint):
    with pytest.raises(UserError, match=complaint):
        COMMANDS["bench"].run("bench", [*words, "--quick"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "missing.json cannot be read"),
        (["a.safetensors"], "FILE and --show were both given"),
        (["--quick"], "--quick goes with a measurement; --show prints an earlier one"),
        (["--json", "new.json"], "--json goes with a measurement"),
        (["--batches", "1"], "--batches goes with a measurement"),
    ],
)
def test_an_earlier_measurement_is_only_shown(words, complaint):
    with pytest.raises(UserError, match=complaint):
        COMMANDS["bench"].run("bench", [*words, "--show", "missing.json"])


def test_a_file_is_measured_as_it_is(small, file):
    found = of_file(file)
    images = pixels(2, 32)
    expected = small.engine("float", _kernels.isas()[0])(images)
    np.testing.assert_array_equal(found.engine("float", _kernels.isas()[0])(images), expected)
    assert list(found.packed) == ["float", "int8"]


def test_the_newest_runs_packed_network_is_found(file, tmp_path, monkeypatch):
    from xnorlit.bench import run

    for seed in (0, 1):
        folder = tmp_path / "cifar10" / "pair-0" / "xnor" / f"seed-{seed}"
        folder.mkdir(parents=True)
        (folder / "packed.safetensors").write_bytes(file.read_bytes())
    assert run._newest_packed(tmp_path).parent.name == "seed-1"
    shutil.copytree(folder, folder.with_name("seed-1.until-20260101-000000"))
    os.utime(folder.with_name("seed-1.until-20260101-000000") / "packed.safetensors")
    assert run._newest_packed(tmp_path).parent.name == "seed-1", "a run that was moved aside was abandoned"
    assert run._newest_packed(tmp_path / "none") is None


def test_a_layer_alone_gives_the_signs_of_its_sums(small):
    layer, at = next(iter(small.binary_layers()))
    weight = small.tensors["conv2.weight"]
    x = np.random.default_rng(0).standard_normal((1, *at), np.float32)
    signs = torch.from_numpy(np.where(x >= 0, 1.0, -1.0)).permute(0, 3, 1, 2)
    weights = torch.from_numpy(np.unpackbits(weight, axis=-1, bitorder="little")[..., : at.channels] * 2.0 - 1)
    weights = weights.reshape(layer.outputs, *layer.window.kernel, at.channels).permute(0, 3, 1, 2)
    expected = (torch.nn.functional.conv2d(signs, weights, padding=1) >= 0).permute(0, 2, 3, 1)
    for path in _kernels.isas():
        engine = binary_engine(path, layer, at, weight)
        out = np.empty((1, engine.output_elements), np.uint32)
        engine.run(x, out, 1)
        bits = np.unpackbits(out.view(np.uint8), bitorder="little").reshape(expected.shape)
        np.testing.assert_array_equal(bits, expected.numpy())


@pytest.mark.slow
def test_torch_compile_computes_the_twin(small):
    images = torch.from_numpy(pixels(1, 32)).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        call, seconds = compiled(small.twin, images)
        torch.testing.assert_close(call(), small.twin(images), atol=1e-4, rtol=1e-4)
    assert seconds > 0
