"""The page that runs a network: whole in one file, and in a browser it answers as the engine does."""

import base64
import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.packed.mutation import Corpus
from tests.runs.factory import write_run
from xnorlit.commands.export import BROWSER
from xnorlit.commands.report import report
from xnorlit.commands.web import web
from xnorlit.data.pictures import as_validated, names_below
from xnorlit.errors import UserError
from xnorlit.export.doors import doors
from xnorlit.export.pack import opened as opened_file
from xnorlit.packed import load
from xnorlit.packed.trained import located
from xnorlit.report.html import live
from xnorlit.report.html import page as pages
from xnorlit.report.html.browser import Network, Page
from xnorlit.report.html.live import write_live

ROOT = Path(__file__).parents[3]
SHARED = next((folder / "shared" / "data" for folder in ROOT.parents if (folder / "shared").is_dir()), ROOT / "none")
ENGINE = Path(live.__file__).with_name(live.ENGINE)
NETWORKS = {"cifar10-best": "cifar10-12k/test", "imagenette-xnor": "imagenette-224/val"}
needs_browser = pytest.mark.skipif(
    not shutil.which("chromium") or not ENGINE.is_file(), reason="needs chromium, and the engine that make web builds"
)


@pytest.fixture
def any_engine(tmp_path, monkeypatch):
    """An engine of a few bytes, for what does not run it."""
    monkeypatch.setattr(live, "live", lambda content: live.Live("AA==", base64.b64encode(content).decode(), ""))


def test_a_page_is_whole_and_holds_the_network(any_engine, tmp_path):
    content = located("cifar10-best").read_bytes()
    text = write_live(content, tmp_path / "page.html", "a <network>").read_text()
    (held,) = re.findall(r'id="live-network">(.*?)</script>', text)
    assert base64.b64decode(held) == content
    assert "a &lt;network&gt;" in text
    assert not re.findall(r"(?:src|href)=|url\(|@import|https?:", text), "it asks for nothing"


def test_a_page_refuses_what_it_cannot_write(any_engine, tmp_path):
    (tmp_path / "notes.html").write_text("mine")
    for out, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "no/a.html", "mkdir"),
        (tmp_path / "notes.html", "not a page"),
    ):
        with pytest.raises(UserError, match=message):
            write_live(b"", out, "x")
    assert (tmp_path / "notes.html").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.html"]
    write_live(b"", tmp_path / "a.html", "x")
    write_live(b"1", tmp_path / "a.html", "x")


def test_without_the_engine_the_page_says_how_to_build_it(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "ENGINE", "none.wasm")
    with pytest.raises(UserError, match="make web"):
        write_live(b"", tmp_path / "a.html", "x")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A pair of runs in the current folder; the folder of the binary one."""
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs"), "float", 0, right=800)
    return write_run(Path("runs"), "xnor", 0, right=700)


def test_the_page_of_a_pair_runs_its_packed_network(any_engine, pair, monkeypatch):
    monkeypatch.setattr(pages, "live", live.live)
    with pytest.raises(UserError, match=r"none of the 2 runs has one.*xnorlit pack RUN"):
        report(live=True)
    content = located("cifar10-best").read_bytes()
    (pair / "packed.safetensors").write_bytes(content)
    text = report(live=True).read_text()
    (held,) = re.findall(r'id="live-network">(.*?)</script>', text)
    assert base64.b64decode(held) == content
    assert 'href="#live"' in text
    assert "--live" in text[text.index('id="again"') :]
    assert "live-" not in re.sub(r"<style>.*?</style>", "", report().read_text(), flags=re.DOTALL)
    (pair / "packed.safetensors").write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"packed.safetensors"):
        report(live=True)


@pytest.mark.slow
@needs_browser
def test_the_page_of_a_pair_classifies(pair, folder):
    shutil.copy(located("cifar10-best"), pair / "packed.safetensors")
    picture = folder / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(picture)
    expected = np.argsort(-load(located("cifar10-best"))(np.asarray(Image.open(picture))[None])[0], kind="stable")[:5]
    with Page(report(live=True).resolve().as_uri()) as page:
        page.run("xnorlitLive.ready")
        assert taken(page, picture)["top"] == expected.tolist()
        for width in (360, 820, 1440):
            page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
            assert page.run("document.documentElement.scrollWidth") <= width
        assert not [event for event in page.events if event["method"] == "Runtime.exceptionThrown"]


def test_the_command_writes_the_page_of_a_trained_network(any_engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert web(Path("cifar10-xnor")) == Path("cifar10-xnor.html")
    Path("cut.safetensors").write_bytes(located("cifar10-xnor").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"cut.safetensors"):
        web(Path("cut.safetensors"))
    assert not Path("cut.html").exists()


def taken(page, file, name=None):
    """What the page makes of a file."""
    data = base64.b64encode(file.read_bytes()).decode()
    return page.run(
        f"fetch('data:;base64,{data}').then((r) => r.blob()).then((b) => xnorlitLive.take(new File([b], "
        f"{json.dumps(name or file.name)}))).then((a) => a && {{top: a.top.map((t) => t.index), ms: a.milliseconds, "
        "pixels: Array.from(a.pixels), logits: Array.from(a.logits)})"
    )


def problem(page):
    return page.run("document.getElementById('live-problem').textContent")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("live")


def opened(folder, name):
    page = write_live(located(name).read_bytes(), folder / f"{name}.html", name)
    found = Page(page.as_uri())
    found.run("xnorlitLive.ready")
    return found


@pytest.fixture(scope="module")
def page(folder):
    with opened(folder, "cifar10-best") as found:
        yield found


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("name", NETWORKS)
def test_fifty_photographs_get_the_engines_five_classes(folder, name):
    photographs = SHARED / NETWORKS[name]
    if not photographs.is_dir():
        pytest.skip(f"the images of {photographs} are not there")
    network = load(located(name))
    names = sorted(names_below(photographs, "."))
    with opened(folder, name) as page:
        assert page.run("xnorlitLive.network().isa") == "wasm"
        for each in names[:: len(names) // 50][:50]:
            found = taken(page, photographs / each)
            graph = network.graph
            pixels = as_validated(photographs / each, graph.image_size, graph.crop, graph.squash)
            # The browser decodes JPEG by itself; what it then does to the pixels is exact.
            assert np.abs(pixels.ravel().astype(int) - found["pixels"]).max() <= 2, each
            seen = np.uint8(found["pixels"]).reshape(1, *pixels.shape)
            np.testing.assert_allclose(found["logits"], network(seen)[0], rtol=1e-4, atol=1e-4)
            assert found["top"] == np.argsort(-network(pixels[None])[0], kind="stable")[:5].tolist(), each


@pytest.mark.slow
@needs_browser
def test_every_kind_of_layer_and_node_computes_in_the_browser():
    for path in sorted((ROOT / "tests/packed/corpus").glob("*.safetensors")):
        images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
        expected = load(path)(images)
        with Network(path.read_bytes()) as network:
            found = network(images)
        # Reals that are summed in fp32 are added in another order there; those of the corpus's graphs have fp64.
        exact = path.stem.startswith("graph-")
        np.testing.assert_allclose(
            found, expected, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-4, err_msg=path.name
        )


@pytest.mark.slow
@needs_browser
def test_the_check_of_an_export_has_a_row_of_the_browser():
    packed = opened_file(located("cifar10-best"))
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    labels = np.argmax(load(located("cifar10-best"))(images), axis=1)
    row = next(row for row in doors(packed, images, labels, {BROWSER: Network}) if row.name == BROWSER)
    assert (row.images, row.differ, row.top1) == (60, 0, 100)
    assert row.bytes > packed.bytes
    assert row.milliseconds > 0


def test_without_a_browser_or_an_engine_the_check_says_what_to_install(any_engine, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="apt-get install chromium"):
        Network(b"")
    monkeypatch.undo()
    monkeypatch.setattr(live, "ENGINE", "none.wasm")
    with pytest.raises(UserError, match="make web"):
        Network(b"")


def test_a_browser_that_does_not_speak_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(UserError, match="has ended before it answered"):
        Page("about:blank")
    assert [path.name for path in tmp_path.iterdir()] == ["chromium"]


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (500, 31), (20, 90), (1, 1), (1024, 768)])
def test_pixels_are_validations(page, folder, size):
    picture = folder / "picture.png"
    noise = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(picture)
    graph = load(located("cifar10-best")).graph
    expected = as_validated(picture, graph.image_size, graph.crop, graph.squash)
    np.testing.assert_array_equal(taken(page, picture)["pixels"], expected.ravel())


@pytest.mark.slow
@needs_browser
def test_a_picture_is_turned_upright_and_put_on_white(page, folder):
    graph = load(located("cifar10-best")).graph
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 4), np.uint8)
    noise[..., 3] = 255 * (noise[..., 3] > 99)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(noise).save(folder / "alpha.png", exif=turned)
    expected = as_validated(folder / "alpha.png", graph.image_size, graph.crop, graph.squash)
    np.testing.assert_array_equal(taken(page, folder / "alpha.png")["pixels"], expected.ravel())


@pytest.mark.slow
@needs_browser
def test_damaged_files_are_refused_with_a_message_and_the_network_stays(page, folder):
    (folder / "not.png").write_bytes(b"not a picture")
    assert taken(page, folder / "not.png") is None
    assert "not.png is no picture that this browser reads" in problem(page)
    corpus, refused = Corpus(ROOT / "tests/packed/corpus"), 0
    contents = [located("cifar10-best").read_bytes()[:-5], b"", b"\xff" * 99]
    contents += [corpus.mutated(random.Random(f"page {index}")) for index in range(100)]
    for content in contents:
        (folder / "x.safetensors").write_bytes(content)
        try:
            load(folder / "x.safetensors")
        except UserError:
            refused += 1
            assert taken(page, folder / "x.safetensors") is None
            assert problem(page)
            assert page.run("xnorlitLive.network().name") == load(located("cifar10-best")).graph.network
    assert refused > 50


@pytest.mark.slow
@needs_browser
def test_the_camera_is_classified_until_it_is_stopped(page):
    page.run("document.getElementById('live-time').textContent = ''")
    page.run("document.getElementById('live-camera').click()")
    page.run("new Promise((go) => setInterval(() => document.getElementById('live-time').textContent && go(), 50))")
    assert problem(page) == ""
    assert page.run("document.querySelectorAll('#live-top li').length") == 5
    page.run("document.getElementById('live-camera').click()")
    assert page.run("document.getElementById('live-camera').textContent") == "Camera"


@pytest.mark.slow
@needs_browser
def test_no_width_scrolls_sideways_and_nothing_is_asked_of_a_network(page, folder):
    Image.new("RGB", (640, 480), "tan").save(folder / "wide.png")
    taken(page, folder / "wide.png")
    for width in (360, 820, 1440):
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        assert page.run("document.documentElement.scrollWidth") <= width
    asked = [
        event["params"]["request"]["url"] for event in page.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
