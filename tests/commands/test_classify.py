"""`xnorlit classify`: validation's pixels through a packed network, one line per picture, fast to start."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.pictures import HOSTILE
from tests.packed.networks import NETWORKS, unkind
from xnorlit.commands import classify as command
from xnorlit.commands import main as cli
from xnorlit.commands.classify import pictures_of
from xnorlit.data import CentreCrop, ImageData
from xnorlit.data.pictures import as_validated
from xnorlit.edge.names import printable
from xnorlit.edge.processes import cores
from xnorlit.export.pack import pack, write
from xnorlit.packed import load
from xnorlit.packed.origin import Source

CLASSES = ("ant", "bee", "caterpillar", "dog", "elk", "fox", "gnu")
TRAINED = Source("trained", "runs/a/b/xnor/seed-0", "last.ckpt", 3)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A packed network for 20-pixel images."""
    path = tmp_path_factory.mktemp("packed") / "packed.safetensors"
    write(path, *pack(unkind(NETWORKS["pool-before-norm"]), image_size=20, classes=CLASSES, crop=0.8, source=TRAINED))
    return path


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of different kinds and sizes."""
    random = np.random.default_rng(0)
    for name, height, width in (("a.png", 30, 50), ("inner/b.jpg", 70, 41), ("inner/deep/c.bmp", 20, 20)):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def classify(capsys):
    """Run the command in this process; return its exit status, output and messages."""

    def run(*words):
        status = cli.main(["classify", *map(str, words)])
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize(("ratio", "squash"), [(1.0, False), (0.875, False), (0.6, True)])
def test_its_pixels_are_those_that_the_folder_backend_validates_with_bit_for_bit(tmp_path, ratio, squash):
    random = np.random.default_rng(1)
    files = []
    for index in range(60):
        height, width = (int(side) for side in random.integers(1, 150, 2))
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        for split, suffix in (("train", "png"), ("val", ("png", "jpg", "gif", "webp")[index % 4])):
            folder = tmp_path / split / ("even" if index % 2 == 0 else "odd")
            folder.mkdir(parents=True, exist_ok=True)
            exif = Image.Exif()
            exif[0x0112] = index % 8 + 1
            image.save(folder / f"{index:02d}.{suffix}", exif=exif)
    crop = CentreCrop(ratio, squash)
    data = ImageData(str(tmp_path), backend="folder", image_size=32, batch_size=7, workers=0, val_crop=crop)
    data.setup()
    validated = torch.cat([batch.images for batch in data.val_dataloader()]).permute(0, 2, 3, 1).numpy()
    files = sorted((tmp_path / "val" / "even").iterdir()) + sorted((tmp_path / "val" / "odd").iterdir())
    ours = np.stack([as_validated(file, 32, ratio, squash) for file in files])
    assert np.array_equal(ours, validated)


def test_a_line_names_the_likeliest_classes_in_columns(classify, packed, pictures):
    files = [pictures / "a.png", pictures / "inner" / "b.jpg"]
    status, out, err = classify(packed, *files)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    network = load(packed)
    for line, file in zip(lines, files, strict=True):
        logits = network(as_validated(file, 20, 0.8, False)[None])[0]
        probabilities = torch.from_numpy(logits).double().softmax(0).topk(5)
        expected = [(CLASSES[i], f"{100 * p:.1f}") for i, p in zip(*probabilities[::-1], strict=True)]
        assert re.findall(r"(\w+) +(\d+\.\d) %", line) == expected
        assert line.startswith(str(file))
        assert re.search(rf"   \(\d+\.\d ms, {packed.stat().st_size / 2**20:.3g} MiB network\)$", line)
    assert len({tuple(found.start() for found in re.finditer("%", line)) for line in lines}) == 1, "aligned"


def test_a_folder_stands_for_the_pictures_in_it_in_order(classify, packed, pictures):
    (pictures / ".hidden").mkdir()
    for name in (".hidden/d.png", ".e.png", "notes.txt"):
        (pictures / name).write_text("no picture")
    status, out, _ = classify(packed, pictures, pictures / "a.png", "--top", "1")
    assert status == 0
    found = [line.split()[0].removeprefix(f"{pictures}/") for line in out.splitlines()]
    assert found == ["a.png", "inner/b.jpg", "inner/deep/c.bmp", "a.png"]


def test_unreadable_pictures_are_named_and_the_others_classified(classify, packed, pictures):
    (pictures / "broken.jpg").write_bytes(b"no picture")
    cut = (pictures / "inner" / "b.jpg").read_bytes()
    (pictures / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (pictures / "empty").mkdir()
    status, out, err = classify(packed, pictures, pictures / "none.png", pictures / "empty")
    assert status == 1
    assert [Path(line.split()[0]).name for line in out.splitlines()] == ["a.png", "b.jpg", "c.bmp"]
    lines = err.splitlines()
    assert lines[0] == f"error: {pictures}/broken.jpg: not a picture of a kind that Pillow reads"
    assert re.fullmatch(rf"error: {pictures}/cut\.jpg: .*truncated.*", lines[1])
    assert lines[2] == f"error: {pictures}/none.png: No such file or directory"
    assert lines[3].startswith(f"error: {pictures}/empty: a folder without pictures (.bmp, ")
    assert len(lines) == 4


@pytest.mark.parametrize("paths", [["a.png", "{long}", "a.png"], ["{long}", "inner/deep"], ["a.png", "nul\0.png"]])
def test_a_path_that_cannot_be_looked_up_does_not_end_the_list(classify, packed, pictures, paths):
    status, out, err = classify(packed, *(pictures / path.format(long="a" * 300 + ".jpg") for path in paths))
    assert (status, len(out.splitlines())) == (1, len(paths) - 1)
    assert re.fullmatch(r"error: .*/(a+\.jpg: File name too long|nul\\x00\.png: embedded null byte)\n", err)


def test_a_linked_folder_is_searched_and_a_link_back_is_named(classify, packed, pictures):
    (pictures.parent / "elsewhere").mkdir()
    (pictures / "a.png").rename(pictures.parent / "elsewhere" / "a.png")
    (pictures / "linked").symlink_to(pictures.parent / "elsewhere")
    assert classify(packed, pictures)[0] == 0
    (pictures / "inner" / "back").symlink_to(pictures)
    status, out, err = classify(packed, pictures)
    found = [line.split()[0].removeprefix(f"{pictures}/") for line in out.splitlines()]
    assert (status, found) == (1, ["inner/b.jpg", "inner/deep/c.bmp", "linked/a.png"])
    assert err.startswith(f"error: {pictures}/inner/back: {pictures}/inner/back links to {pictures}, a folder that ")


@pytest.mark.parametrize(
    ("closed", "function", "expected"),
    [
        ("", "scandir", []),
        ("inner", "scandir", ["a.png"]),
        ("inner/deep", "scandir", ["a.png", "inner/b.jpg"]),
        ("inner", "stat", ["a.png"]),  # of a folder in one whose names alone may be read
    ],
)
def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_searched(
    classify, packed, pictures, monkeypatch, closed, function, expected
):
    real = getattr(os, function)

    def refused(path, **options):
        if Path(path) == pictures / closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(os, function, refused)
    status, out, err = classify(packed, pictures)
    assert [line.split()[0].removeprefix(f"{pictures}/") for line in out.splitlines()] == expected
    assert (status, err) == (1, f"error: {pictures / closed}: Permission denied\n")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_picture_of_any_name_is_classified_and_named_in_one_line(classify, packed, pictures, name):
    (pictures / "a.png").rename(pictures / os.fsdecode(name))
    status, out, err = classify(packed, pictures)
    assert (status, err, len(out.splitlines())) == (0, "", 3)
    found = json.loads(classify(packed, pictures, "--json")[1])["pictures"]
    assert str(pictures / os.fsdecode(name)) in [each["picture"] for each in found]


def test_invalid_metadata_does_not_end_the_list(classify, packed, pictures):
    odd = b"Exif\0\0II*\0\x08\0\0\0\1\0\x1a\1\2\0\4\0\0\0" + b"72x\0" + bytes(4)
    Image.new("RGB", (30, 30)).save(pictures / "0.jpg", exif=odd)
    os.mkfifo(pictures / "1.jpg")
    status, out, err = classify(packed, pictures)
    assert [Path(line.split()[0]).name for line in out.splitlines()] == ["0.jpg", "a.png", "b.jpg", "c.bmp"]
    assert err == f"error: {pictures}/1.jpg: it is a pipe, socket or device, not a file\n"
    assert status == 1


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", ".thumbnails"])
def test_system_copies_are_not_pictures(classify, packed, pictures, name):
    shutil.copytree(pictures / "inner", pictures / "inner" / name)
    assert len(classify(packed, pictures)[1].splitlines()) == 3


def test_json_says_the_same_and_where_the_network_comes_from(classify, packed, pictures):
    (pictures / "broken.jpg").write_bytes(b"no picture")
    status, out, _ = classify(packed, pictures, "--json", "--top", 2, "--threads", 1)
    assert status == 1
    found = json.loads(out)
    assert found["network"]["bytes"] == packed.stat().st_size
    assert found["network"]["source"]["run"] == TRAINED.run
    assert found["network"]["accuracy"] is None
    first, broken = found["pictures"][:2]
    assert first["picture"] == str(pictures / "a.png")
    assert [set(top) for top in first["top"]] == [{"class", "number", "probability"}] * 2
    assert CLASSES[first["top"][0]["number"]] == first["top"][0]["class"]
    assert first["milliseconds"] > 0
    assert broken == {"picture": str(pictures / "broken.jpg"), "error": "not a picture of a kind that Pillow reads"}


def test_all_classes_are_named_where_more_are_asked_for(classify, packed, pictures):
    _, out, _ = classify(packed, pictures / "a.png", "--top", 99)
    assert sorted(re.findall(r"(\w+) +\d+\.\d %", out)) == list(CLASSES)
    shares = [float(share) for share in re.findall(r"(\d+\.\d) %", out)]
    assert sum(shares) == pytest.approx(100, abs=0.5)


def test_random_weights_are_announced(classify, tmp_path, pictures):
    drawn = unkind(NETWORKS["binary-to-the-end"])
    write(tmp_path / "drawn", *pack(drawn, image_size=20, classes=CLASSES, source=Source("random")))
    status, _, err = classify(tmp_path / "drawn", pictures / "a.png")
    assert status == 0
    assert err == f"note: the weights in {tmp_path}/drawn are random, so its answers mean nothing\n"


def test_non_finite_outputs_are_not_an_answer(classify, tmp_path, pictures):
    graph, tensors = pack(unkind(NETWORKS["pool-before-norm"]), image_size=20, classes=CLASSES, source=TRAINED)
    write(tmp_path / "far", graph, {**tensors, "fc8.weight": np.full_like(tensors["fc8.weight"], 3e38)})
    status, out, err = classify(tmp_path / "far", pictures / "a.png")
    assert (status, out) == (1, "")
    assert err.endswith("a.png: the network's outputs are NaN or infinite\n")


def test_names_cannot_steer_the_terminal(classify, tmp_path, pictures):
    graph, tensors = pack(unkind(NETWORKS["binary-to-the-end"]), image_size=20, classes=CLASSES, source=TRAINED)
    write(tmp_path / "hostile", replace(graph, classes=("\x1b[2J", "ü", *CLASSES[2:])), tensors)
    (pictures / "a.png").rename(pictures / "a\n\x1b[31m.png")
    _, out, err = classify(tmp_path / "hostile", pictures / "a\n\x1b[31m.png", pictures / "b\r.png", "--top", 7)
    assert "\\x1b[2J" in out
    assert "a\\n\\x1b[31m.png" in out
    assert "ü" in out
    assert err.startswith(f"error: {pictures}/b\\r.png: No such")
    assert printable("\udcff") == "\\udcff", "a name that is no text"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "required: FILE, PICTURE. See xnorlit classify --help"),
        (("--top", "1"), "required: PICTURE"),
        (("a.png", "--tpo", "1"), "has no option --tpo. Did you mean --top?"),
        (("a.png", "--top", "0"), "--top: expected a whole number, 1 or more, not '0'"),
        (("a.png", "--top", "x"), "expected a whole number, 1 or more, not 'x'"),
        (("a.png", "--threads", "0"), "--threads: expected a whole number, 1 to 1024, not '0'"),
        (("a.png", "--threads", "9999"), "--threads: expected a whole number, 1 to 1024, not '9999'"),
    ],
)
def test_mistyped_input_gives_one_message(classify, packed, words, message):
    status, out, err = classify(*([packed] if words else []), *words)
    assert (status, out) == (2, "")
    assert message in err


def test_a_file_that_is_not_a_packed_network_is_refused(classify, pictures, tmp_path):
    status, _, err = classify(pictures / "a.png", pictures / "a.png")
    assert status == 2
    assert err.startswith(f"error: {pictures}/a.png: ")
    assert classify(tmp_path / "none", pictures / "a.png")[2].startswith(f"error: {tmp_path}/none: cannot be read")


def test_it_needs_numpy_pillow_and_the_kernels_alone(packed, pictures):
    code = (
        "import sys\n"
        f"sys.path[:] = {sys.path!r}\n"
        "from xnorlit.commands.main import main\n"
        f"assert main(['classify', {str(packed)!r}, {str(pictures)!r}]) == 0\n"
        "foreign = {name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names\n"
        "print(*sorted(foreign - {'xnorlit', '__main__', '__mp_main__'}))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = {"mkl", "cython_runtime", "defusedxml"}  # what numpy and Pillow import where it is installed
    found = {name for name in done.stdout.splitlines()[-1].split() if not name.startswith("_cython_")}
    assert found <= {"numpy", "PIL", "lazy_loader", *theirs}


def test_pictures_are_listed_without_a_folder_twice(pictures):
    assert list(pictures_of([pictures / "inner"])) == [pictures / "inner/b.jpg", pictures / "inner/deep/c.bmp"]


def crowd(folder, count):
    """Pictures with different answers, and some unreadable ones."""
    generator = np.random.default_rng(0)
    for index in range(count):
        size = (20 + index % 7, 30 - index % 5, 3)
        pixels = (generator.integers(0, 60, size) + 3 * index).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    for index in (3, 17):
        (folder / f"{index:03d}.png").write_bytes(b"no picture")


@pytest.mark.parametrize("threads", [2, 5])
def test_many_threads_answer_as_one_and_in_order(classify, packed, tmp_path, threads):
    crowd(tmp_path, 40)
    (status, alone, _), (same, found, _) = (
        classify(packed, tmp_path, "--json", "--threads", count) for count in (1, threads)
    )
    assert (status, same) == (1, 1)

    def answers(text):
        return [{key: each[key] for key in each if key != "milliseconds"} for each in json.loads(text)["pictures"]]

    assert answers(found) == answers(alone)
    assert [each["picture"] for each in answers(found)] == [str(path) for path in sorted(tmp_path.glob("*.png"))]
    assert [i for i, each in enumerate(answers(found)) if "error" in each] == [3, 17]


def test_no_more_pictures_wait_than_a_few_for_each_thread(tmp_path):
    begun, asked = [], []

    def read(picture):
        begun.append(picture)
        return picture

    def pictures():
        for number in range(100):
            asked.append(number)
            yield number

    found = command._in_order(read, pictures(), 3)
    assert next(found) == 0
    time.sleep(0.05)
    assert len(asked) == command.AHEAD * 3 + 1
    assert len(begun) <= len(asked)
    assert list(found) == list(range(1, 100))


def test_more_threads_than_processors_are_noted(classify, packed, tmp_path):
    crowd(tmp_path, 4)
    _, _, err = classify(packed, tmp_path / "000.png", "--threads", cores() + 3)
    assert f"note: {cores() + 3} threads are no faster than {cores()}" in err
