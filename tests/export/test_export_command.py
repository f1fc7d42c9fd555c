"""`xl.export` and `xnorlit export`: their files, their messages, and their refusals, which leave no partial file."""

import ctypes
import errno
import gc
import json
import os
import re
import resource
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

import xnorlit as xl
from tests.export.conftest import CLASSES
from tests.export.runtimes import same_top5
from xnorlit.errors import UserError
from xnorlit.export import formats
from xnorlit.export.doors import C, Door, doors, markdown
from xnorlit.export.formats import FORMATS
from xnorlit.export.openvino import Network, core
from xnorlit.export.pack import opened
from xnorlit.export.random_weights import random_network

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def packed():
    return random_network("alexnet-small", "float")


def test_a_run_is_exported_and_answers_as_the_engine(xnorlit, run, tmp_path):
    file = tmp_path / "net.xml"
    status, out, err = xnorlit("export", run, "--format", "openvino", "--out", file)
    assert (status, err) == (0, "")
    assert re.search(r"net.xml and net.bin: [\d.]+ MiB, OpenVINO's", out)
    assert "OpenVINO (+0.00 points); the five likeliest, in order, differ for 0 of 20 images" in out
    assert "one photograph, one thread: " in out
    assert "INFERENCE_PRECISION_HINT" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.bin", "net.xml"]
    status, _, _ = xnorlit("export", run)
    assert status == 0
    assert [path.suffix for path in sorted((run / "openvino").iterdir())] == [".bin", ".xml"]


def test_a_mistyped_trained_network_is_asked_back(xnorlit):
    status, _, err = xnorlit("export", "cifar10-bst")
    assert status == 2
    assert "Did you mean cifar10-best? A run is a folder" in err


def test_networks_share_one_core_so_that_no_signal_meets_a_freed_stack(packed, tmp_path):
    file = xl.export(packed, tmp_path / "small").files[-1]
    counted = weakref.ref(core())
    networks = [Network(file, 1, 1), Network(file, 1, 1)]
    stack = _signal_stack()
    assert stack, "the plugin gives the thread one"
    del networks
    gc.collect()
    assert counted() is core()
    assert _signal_stack() == stack


def _signal_stack():
    """The address of this thread's stack for signals."""

    class Stack(ctypes.Structure):
        _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))

    stack = Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.address


def test_the_files_hold_the_network_and_say_what_it_is(packed, tmp_path):
    written = xl.export(packed, tmp_path / "small")
    assert [file.name for file in written.files] == ["small.bin", "small.xml"]
    assert written.bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    model = core().read_model(written.files[-1])
    assert model.get_rt_info(["xnorlit", "classes"]).value.split("\n") == list(packed.graph.classes)
    assert model.input(0).get_any_name() == "pixels"
    assert model.output(0).get_any_name() == "logits"
    kinds = [op.get_type_name() for op in model.get_ops()]
    assert kinds.count("BinaryConvolution") == packed.weight.layers
    network = formats.FORMATS["openvino"].network(written.files[-1], 4, 1)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    expected = xl.packed.PackedNetwork(*packed)(pixels)
    assert same_top5(expected, network(pixels))
    np.testing.assert_allclose(network(pixels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("format", ["onnx", "onnx-qdq"])
def test_an_onnx_file_says_what_it_is_and_takes_any_batch(xnorlit, run, tmp_path, format):
    onnx = pytest.importorskip("onnx")
    status, out, err = xnorlit("export", run, "--format", format, "--out", tmp_path / "net")
    assert (status, err) == (0, "")
    assert "onnxruntime (+0.00 points); the five likeliest, in order, differ for 0 of 20 images" in out
    assert "ONNX has no 1-bit type" in out
    model = onnx.load(tmp_path / "net.onnx")
    assert {one.domain for one in model.opset_import} == {""}
    told = {one.key: one.value for one in model.metadata_props}
    assert told["classes"].split("\n") == list(CLASSES)
    assert "no 1-bit type" in told["note"]
    assert [one.dim_param for one in model.graph.input[0].type.tensor_type.shape.dim[:1]] == ["N"]
    assert {"conv1/sums", "logits"} <= {name for node in model.graph.node for name in node.output}


def test_the_form_in_8_bits_is_a_quarter_as_large(packed, tmp_path):
    pytest.importorskip("onnx")
    sizes = {form: xl.export(packed, tmp_path / form, format=form).bytes for form in ("onnx", "onnx-qdq")}
    assert sizes["onnx-qdq"] < 0.3 * sizes["onnx"]


def test_a_packed_file_is_exported_without_its_run(xnorlit, packed, tmp_path):
    from xnorlit.export.pack import write

    write(tmp_path / "a.safetensors", *packed)
    assert opened(tmp_path / "a.safetensors").graph == packed.graph
    status, _, err = xnorlit("export", tmp_path / "a.safetensors")
    assert (status, err) == (0, "")
    assert (tmp_path / "openvino" / "alexnet-small.xml").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "qonx"], "no format named qonx. Did you mean qonnx?"),
        (["--format", "finn"], "conv1 cannot be exported: its weights are fp32, which FINN does not build"),
        (
            ["--check", "--out", "net.xml"],
            "--out goes with an export; --check compares all formats, on pixels, and keeps",
        ),
        (["--check", "--format", "onnx"], "--format goes with an export; --check compares all formats"),
        (["--check", "--normalized-input"], "--normalized-input goes with an export; --check compares all"),
        (["--images", "9"], "--images goes with --check, which prints a table of all formats."),
        (["--format", "opnvino"], "no format named opnvino. Did you mean openvino?"),
        (["--out", "none/net.xml"], "none is not a folder. Create it (mkdir -p none), or give another file."),
        (["--out", "net.bin"], "net.bin: openvino files end in .xml. Give net.xml."),
        (["--out", "folder/net.xml"], "folder/net.xml is a folder. Give the name of a file."),
    ],
)
def test_mistakes_are_reported_before_anything_is_written(xnorlit, run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder" / "net.xml").mkdir(parents=True)

    def there():
        return sorted([*tmp_path.glob("[!d]*"), *run.rglob("*")])  # data/ caches facts about the images

    before = there()
    status, _, err = xnorlit("export", run, *words)
    assert status == 2
    assert message in err
    assert there() == before


def test_a_missing_package_is_named_with_what_to_type(packed, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"OpenVINO is not installed. Install it: pip install 'xnorlit\[openvino\]'"):
        xl.export(packed, tmp_path / "net.xml")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def nearly_full():
    """Limit the size of files, like a full disk. Python ignores the signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("most", [2**12, 2**16])
def test_on_a_full_disk_nothing_is_half_written(xnorlit, packed, tmp_path, monkeypatch, nearly_full, most):
    from xnorlit.export.pack import write

    write(tmp_path / "a.safetensors", *packed)
    (tmp_path / "net.xml").write_text("before")
    monkeypatch.chdir(tmp_path)
    nearly_full(most)
    status, _, err = xnorlit("export", "a.safetensors", "--out", "net.xml")
    assert status == 2, err
    assert "no space left" in err
    assert (tmp_path / "net.xml").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "net.xml"]


def test_a_network_in_any_form_is_exported_alike(packed, tmp_path):
    from xnorlit.export.pack import write

    write(tmp_path / "a.safetensors", *packed)
    forms = {
        "packed": packed,
        "engine": xl.packed.PackedNetwork(*packed),
        "loaded": xl.load(tmp_path / "a.safetensors"),
        "file": tmp_path / "a.safetensors",
        "name": str(tmp_path / "a.safetensors"),
    }
    written = {name: xl.export(form, tmp_path / name).files[0].read_bytes() for name, form in forms.items()}
    assert len(set(written.values())) == 1
    with pytest.raises(TypeError, match="image_size: the network is packed already"):
        xl.export(forms["loaded"], tmp_path / "net", image_size=32)
    with pytest.raises(UserError, match=r"the network is dict. Expected an nn.Module, a packed network"):
        xl.export({}, tmp_path / "net")


def test_a_loaded_network_whose_file_has_changed_is_not_exported(packed, tmp_path):
    from xnorlit.export.pack import write

    write(tmp_path / "a.safetensors", *packed)
    loaded = xl.load(tmp_path / "a.safetensors")
    os.utime(tmp_path / "a.safetensors", ns=(0, 0))
    with pytest.raises(UserError, match=r"has changed since the network was loaded from it. Load it again"):
        xl.export(loaded, tmp_path / "net")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_run_is_exported_by_its_folder(run, tmp_path):
    assert xl.export(run, tmp_path / "net").files[-1].read_text().count("BinaryConvolution") > 1


def test_one_network_through_every_runtime_gives_one_answer(xnorlit, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    before = sorted(run.rglob("*"))
    status, out, _ = xnorlit("export", run, "--check", "--images", "12", "--json")
    assert status == 0
    found = {row["name"]: row for row in json.loads(out)}
    ours = next(row for name, row in found.items() if name.startswith("xnorlit"))
    assert (ours["images"], ours["differ"]) == (12, 0)
    for name in (C, "onnxruntime (onnx)", "onnxruntime (onnx-qdq)", "qonnx (qonnx)"):
        there = found[name]
        assert (there["images"], there["differ"], there["top1"]) == (12, 0, ours["top1"])
        assert min(there["bytes"], there["milliseconds"], ours["bytes"], ours["milliseconds"]) > 0
    assert "pip install 'xnorlit[openvino]'" in found["OpenVINO (openvino)"]["remark"]
    assert "--ends int8" in found["qonnx (finn)"]["remark"]
    assert sorted(run.rglob("*")) == before


def test_the_table_of_runtimes_is_markdown():
    rows = [Door("xnorlit", 12, 50.0, 0, 1234, 0.25), Door("there", remark="it is not installed")]
    assert markdown(rows).splitlines()[2:] == [
        "| xnorlit | 50.00 | 0 of 12 | 1,234 | 0.25 |",
        "| there | it is not installed | | | |",
    ]


def test_answers_that_differ_are_counted(packed, monkeypatch):
    """A runtime that reverses the classes differs for every image."""

    def reversed_(file, batch, threads):
        network = FORMATS["openvino"].network(file, batch, threads)
        return lambda images: network(images)[:, ::-1]

    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    labels = xl.packed.PackedNetwork(*packed).predict(pixels)
    only = {"openvino": FORMATS["openvino"], "other": FORMATS["openvino"]._replace(network=reversed_)}
    for room in ("doors", "formats"):
        monkeypatch.setattr(sys.modules[f"xnorlit.export.{room}"], "FORMATS", only)
    ours, _, same, other = doors(packed, pixels, labels)
    assert (ours.top1, same.top1, same.differ) == (100, 100, 0)
    assert (other.top1, other.differ) == (0, 4)


def test_images_for_the_check_of_a_file_have_to_be_given(xnorlit, packed, photos, tmp_path):
    from xnorlit.export.pack import write

    write(tmp_path / "a.safetensors", *packed)
    status, _, err = xnorlit("export", tmp_path / "a.safetensors", "--check")
    assert (status, "--data photos/" in err) == (2, True)
    status, _, err = xnorlit("export", tmp_path / "a.safetensors", "--check", "--data", photos)
    assert (status, "has other classes than the network" in err) == (2, True)
    status, _, err = xnorlit("export", tmp_path / "a.safetensors", "--json")
    assert (status, "--json goes with --check" in err) == (2, True)


@pytest.mark.parametrize("option", ["--ends=float", "--ends=int8", "--checkpoint=last", "--checkpoint=none"])
def test_a_packed_file_has_its_ends_and_its_checkpoint(xnorlit, packed, tmp_path, option):
    from xnorlit.export.pack import write

    write(tmp_path / "a.safetensors", *packed)
    for more in ([], ["--check", "--data", tmp_path]):
        status, _, err = xnorlit("export", tmp_path / "a.safetensors", option, *more)
        needed = f"goes with the folder of a run; {tmp_path / 'a.safetensors'} is packed already"
        assert (status, f"{option.partition('=')[0]} {needed}" in err) == (2, True)
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("format", ["onnx", "onnx-qdq", "qonnx"])
def test_no_format_leaves_half_a_file_on_a_full_disk(packed, tmp_path, format, monkeypatch):
    def full(path, content):
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    (tmp_path / "net.onnx").write_text("before")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        xl.export(packed, tmp_path / "net", format=format)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("net.onnx", "before")]


@pytest.mark.parametrize("format", FORMATS)
def test_stochastic_codes_are_refused_by_name_with_what_to_use_instead(format, tmp_path):
    net = xl.create("alexnet-small", binarizer=xl.BinaryConnect("stochastic", "real"), classes=10)
    with pytest.raises(UserError, match=r"conv2 cannot be packed: .*set inference: binary"):
        xl.export(net, tmp_path / "net", format=format, image_size=32, classes=list("abcdefghij"))
    assert not list(tmp_path.iterdir())
