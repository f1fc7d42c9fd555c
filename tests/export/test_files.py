"""An export writes all of its files or none, under the name that was given."""

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from tests.packed.tiny import images
from xnorlit.errors import UserError
from xnorlit.export import formats, onnx, openvino, qonnx
from xnorlit.export.formats import FORMATS, Exported, export, format_named, packed_form, placed
from xnorlit.export.pack import opened, write
from xnorlit.packed import PackedNetwork


@pytest.fixture
def made(monkeypatch):
    """A format of two files, which notes what it was built from."""
    seen = []

    def save(model, folder, name):
        seen.append((model, folder))
        files = [folder / f"{name}.bin", folder / f"{name}.xml"]
        for file in files:
            file.write_bytes(b"x" * 2**20)
        return files

    build = lambda graph, tensors, *, normalized_input: (graph, normalized_input)  # noqa: E731
    monkeypatch.setitem(FORMATS, "openvino", FORMATS["openvino"]._replace(build=build, save=save))
    synced = []
    monkeypatch.setattr(formats, "sync", lambda path: synced.append(path.name))
    return SimpleNamespace(seen=seen, synced=synced)


@pytest.mark.parametrize("normalized", [False, True])
def test_files_get_their_names_when_all_are_written(normalized, packed, made, tmp_path):
    (tmp_path / "net.xml").write_text("before")
    written = export(packed, str(tmp_path / "net"), normalized_input=normalized)
    ((model, scratch),) = made.seen
    assert model == (packed.graph, normalized)
    assert (scratch.parent, scratch.name.startswith(".net.xml."), scratch.suffix) == (tmp_path, True, ".partial")
    assert written == Exported("openvino", (tmp_path / "net.bin", tmp_path / "net.xml"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.bin", "net.xml"]
    assert made.synced == ["net.bin", "net.xml", tmp_path.name]
    assert written.bytes == 2 * 2**20
    assert str(written) == "net.xml and net.bin: 2 MiB, OpenVINO's intermediate representation"


def test_nothing_is_left_of_an_export_that_fails(packed, made, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "sync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        export(packed, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "format", "found"),
    [
        ("net", "openvino", "net.xml"),
        ("net.xml", "openvino", "net.xml"),
        ("net.onnx", "qonnx", "net.onnx"),
        ("net.bin", "openvino", r"net\.bin: openvino files end in \.xml\. Give net\.xml\."),
        ("net.xml", "onnx", r"net\.xml: onnx files end in \.onnx\. Give net\.onnx\."),
        ("gone/net", "onnx", r"gone is not a folder\. Create it \(mkdir -p .*gone\), or give another file\."),
        ("folder", "onnx", r"folder\.onnx is a folder\. Give the name of a file\."),
    ],
)
def test_a_file_has_the_suffix_of_its_format(name, format, found, tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    if "\\" not in found:
        assert placed(tmp_path / name, format) == tmp_path / found
        return
    with pytest.raises(UserError, match=found):
        placed(tmp_path / name, format)


def test_a_file_without_a_name_or_a_right_is_refused(tmp_path, monkeypatch):
    for nameless in ("/", "."):
        with pytest.raises(UserError, match=r"onnx files end in \.onnx\. Give a name, such as net\.onnx\."):
            placed(Path(nameless), "onnx")
    monkeypatch.setattr(os, "access", lambda path, how: not (path == tmp_path and how == os.W_OK))
    with pytest.raises(UserError, match=r"permission denied\. Give a file in a folder that you may write to"):
        placed(tmp_path / "net", "onnx")


def test_a_format_is_named():
    assert format_named("finn") is FORMATS["finn"]
    with pytest.raises(
        UserError, match=r"no format named finnn\. Did you mean finn\? Known: openvino, onnx, onnx-qdq, "
    ):
        format_named("finnn")


def test_a_network_in_any_form_is_taken(packed, tmp_path):
    write(tmp_path / "a.safetensors", *packed)
    engine = PackedNetwork(*packed)
    for form in (packed, engine, tmp_path / "a.safetensors", str(tmp_path / "a.safetensors")):
        assert packed_form(form).content == packed.content
    assert opened(tmp_path / "a.safetensors").graph == packed.graph
    with pytest.raises(TypeError, match="classes: the network is packed already"):
        packed_form(packed, image_size=8, classes=["a"])
    with pytest.raises(UserError, match=r"the network is int\. Expected an nn.Module"):
        packed_form(3)
    module = nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten())
    assert packed_form(module, image_size=8, classes=["a", "b"], mean=[1] * 3, std=[9] * 3).graph.classes == ("a", "b")


# --- on the runtimes --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "needs"), [("openvino", "openvino"), ("onnx", "onnxruntime"), ("qonnx", "qonnx")])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_written_file_answers_in_batches_of_any_size(name, needs, batch, packed, tmp_path):
    pytest.importorskip(needs)
    written = export(packed, tmp_path / "net", format=name)
    network = FORMATS[name].network(written.files[-1], batch, 1)
    pixels = images(3)
    expected = PackedNetwork(*packed)(pixels)
    np.testing.assert_allclose(network(pixels), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(network(pixels[:1]), expected[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "needs"), [("openvino", "openvino"), ("onnx", "onnxruntime"), ("qonnx", "qonnx")])
def test_a_written_file_may_read_normalised_images(name, needs, packed, tmp_path):
    pytest.importorskip(needs)
    written = export(packed, tmp_path / "net", format=name, normalized_input=True)
    given = ((images(3).astype(np.float32) - 128) / 64).transpose(0, 3, 1, 2)
    found = FORMATS[name].network(written.files[-1], 2, 1)(np.ascontiguousarray(given))
    np.testing.assert_allclose(found, PackedNetwork(*packed)(images(3)), rtol=1e-4, atol=1e-4)


def test_onnxruntime_is_asked_for_these_threads_and_for_no_warnings(monkeypatch):
    asked = []

    def session(file, options, *, providers):
        asked.append((file, vars(options), providers))

    runtime = SimpleNamespace(SessionOptions=SimpleNamespace, InferenceSession=session)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    for file in (Path("net.onnx"), b"content"):
        onnx.Network(file, 1, 3)
    options = {"intra_op_num_threads": 3, "inter_op_num_threads": 1, "log_severity_level": 3}
    assert asked == [(given, options, ["CPUExecutionProvider"]) for given in ("net.onnx", b"content")]


def test_openvino_is_asked_for_these_threads_in_fp32(monkeypatch, tmp_path):
    asked = []
    model = SimpleNamespace(reshape=asked.append, input=lambda _: SimpleNamespace(get_shape=lambda: [1, 8, 8, 3]))
    request = SimpleNamespace(create_infer_request=lambda: None)
    fake = SimpleNamespace(
        read_model=lambda file: model, compile_model=lambda *given: (asked.append(given[1:]), request)[1]
    )
    monkeypatch.setattr(openvino, "core", lambda: fake)
    openvino.Network(tmp_path, 5, 3)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 3, "NUM_STREAMS": 1}
    assert asked == [[5, 8, 8, 3], ("CPU", settings)]


@pytest.mark.parametrize(
    ("make", "module", "package", "extra"),
    [
        (lambda packed: openvino.build(*packed), "openvino", "OpenVINO", "openvino"),
        (lambda packed: onnx.build(*packed), "onnx.helper", "onnx", "onnx"),
        (lambda _: onnx.Network(b"", 1, 1), "onnxruntime", "onnxruntime", "onnx"),
        (lambda _: qonnx.module("of.it"), "qonnx.of", "qonnx", "qonnx"),
    ],
)
def test_a_missing_package_is_named_with_what_to_type(make, module, package, extra, packed, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"{package} is not installed. Install it: pip install 'xnorlit\[{extra}\]'"):
        make(packed)


@pytest.mark.parametrize(
    ("xml", "weights", "whole"),
    [
        ('<net> offset="0" size="4" offset="4" size="6" </net>', 10, True),
        ("<net></net>", 0, True),
        ('<net> offset="0" size="4" offset="4" size="6" </net>', 9, False),
        ('<net> offset="6" size="4" offset="0" size="6" </net>', 9, False),
        ('<net> offset="0" size="4"', 10, False),
        ("<net></net>", None, False),
        (None, 10, False),
    ],
)
def test_openvinos_files_are_whole_or_the_disk_is_full(xml, weights, whole, tmp_path):
    (tmp_path / "scratch").mkdir()
    if xml is not None:
        (tmp_path / "scratch" / "net.xml").write_text(xml)
    if weights is not None:
        (tmp_path / "scratch" / "net.bin").write_bytes(bytes(weights))
    for raised in (None, RuntimeError("of openvino")):

        def save_model(model, file, *, compress_to_fp16, raised=raised):
            assert (model, file.name, compress_to_fp16) == ("model", "net.xml", False)
            if raised:
                raise raised

        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "openvino", SimpleNamespace(save_model=save_model))
            expected = (OSError, "No space left") if not whole else (RuntimeError, "of openvino")
            if whole and raised is None:
                found = openvino.save("model", tmp_path / "scratch", "net")
                assert [file.name for file in found] == ["net.bin", "net.xml"]
                continue
            with pytest.raises(expected[0], match=expected[1]) as failure:
                openvino.save("model", tmp_path / "scratch", "net")
            if not whole:
                assert (failure.value.errno, failure.value.filename) == (errno.ENOSPC, str(tmp_path))
