"""The trained networks that come with xnorlit are found by name, intact, and as accurate as their cards say."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xnorlit as xl
from xnorlit.commands import main as cli
from xnorlit.data.pictures import as_validated, class_folders, listing_sha256, names_below
from xnorlit.export.cards import page
from xnorlit.packed import trained

SHARED = next((data for folder in Path(__file__).parents if (data := folder / "shared" / "data").is_dir()), None)
NAMES = xl.list_trained()


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A copy of the folder, to damage."""
    for file in trained.FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(trained, "FOLDER", tmp_path)
    return tmp_path


def test_those_that_are_promised_are_there():
    assert {"cifar10-xnor", "cifar10-best", "imagenette-xnor", "imagenette-best"} <= set(NAMES)
    assert all((trained.FOLDER / f"{name}{suffix}").is_file() for name in NAMES for suffix in (".json", ".md"))


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_and_is_small(name):
    card, network = trained.card(name), xl.load(name)
    size = card.image_size
    assert network(np.zeros((2, size, size, 3), np.uint8)).shape == (2, len(network.classes))
    assert card.bytes == (trained.FOLDER / f"{name}.safetensors").stat().st_size < 4_000_000
    assert network.graph.source.commit == card.commit != ""
    assert not card.changed
    assert card.seed == min(map(int, card.seeds)), "the lowest seed, whatever its accuracy"
    assert card.interval[0] < card.top1 < card.interval[1]
    assert card.top1 == round(100 * network.graph.accuracy.top1, 2)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_its_card_is_made_of_the_record(name):
    assert (trained.FOLDER / f"{name}.md").read_text() == page(trained.card(name), name)


@pytest.mark.parametrize("name", NAMES)
def test_it_reaches_what_its_card_says_on_the_files_that_it_names(name):
    card, network = trained.card(name), xl.load(name)
    if SHARED is None:
        pytest.skip("there is no ../shared/data")
    split = found(card.listing_sha256, network.classes)
    assert split, f"the images of {card.data} are not in {SHARED}, or are others"
    right = 0
    for label, name_of in enumerate(network.classes):
        pictures = [split / file for file in sorted(names_below(split / name_of, name_of))]
        graph = network.graph
        pixels = np.stack([as_validated(picture, graph.image_size, graph.crop, graph.squash) for picture in pictures])
        right += int((network.predict(pixels, threads=1) == label).sum())
    # JPEG: one answer may differ, because releases of Pillow may decode a pixel differently.
    tolerance = 0.01 if card.image_size <= 64 else 0.06
    assert 100 * right / card.val_images == pytest.approx(card.top1_of_files, abs=tolerance)
    if card.image_size <= 64:
        assert card.top1_of_files == card.top1, "pictures of this size are stored as they are"


def found(digest: str, classes: tuple[str, ...]) -> Path | None:
    """The split of shared images with that listing."""
    for split in sorted(SHARED.glob("*/*")):
        if split.name in ("val", "test") and set(class_folders(split)) == set(classes):
            names = [sorted(names_below(split / name, name)) for name in classes]
            labels = [label for label, listed in enumerate(names) for _ in listed]
            if listing_sha256(classes, [name for listed in names for name in listed], labels) == digest:
                return split
    return None


def test_classify_takes_its_name(tmp_path, capsys):
    Image.new("RGB", (90, 50), (90, 120, 200)).save(tmp_path / "sky.png")
    assert cli.main(["classify", "cifar10-best", str(tmp_path / "sky.png"), "--top", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["network"]["file"].endswith("cifar10-best.safetensors")
    assert len(told["pictures"][0]["top"]) == 2


def test_pictures_of_another_size_are_refused_from_python_with_the_size():
    with pytest.raises(ValueError, match=r"expected the shape \[N, 32, 32, 3\], found \[1, 128, 128, 3\]"):
        xl.load("cifar10-best")(np.zeros((1, 128, 128, 3), np.uint8))


def test_an_unknown_name_is_reported_with_the_near_miss_and_the_list(capsys):
    known = ", ".join(NAMES)
    with pytest.raises(xl.UserError, match=rf"no file cifar10-bets.*Did you mean cifar10-best\? .*networks: {known}"):
        xl.load("cifar10-bets")
    with pytest.raises(xl.UserError, match=r"no file aaa.* and no trained network of that name"):
        xl.load("a" * 300)
    assert cli.main(["classify", "resnet50", "a.jpg"]) == 2
    assert f"no trained network of that name. Trained networks: {known}." in capsys.readouterr().err


def test_a_path_is_not_a_name():
    for path in ("packed.safetensors", "runs/cifar10-best", "./cifar10/best", "a" * 300 + ".safetensors", "a\0.b"):
        with pytest.raises(xl.UserError, match="cannot be read"):
            xl.load(path)


def test_a_users_own_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cifar10-best").write_bytes(b"mine")
    with pytest.raises(xl.UserError, match="4 bytes are too few"):
        xl.load("cifar10-best")


def test_a_folder_of_that_name_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cifar10-best").mkdir()
    assert xl.load("cifar10-best").graph.network == "alexnet-small"


def test_every_listed_name_is_loaded_a_version_number_included(zoo):
    for suffix in (".safetensors", ".json"):
        (zoo / f"cifar10-best{suffix}").rename(zoo / f"net-1.5{suffix}")
    assert "net-1.5" in xl.list_trained()
    assert xl.load("net-1.5").graph.network == "alexnet-small"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("bit", "cifar10-best is damaged"),
        ("cut", "cifar10-best is damaged"),
        ("card", "cifar10-best.json: seeds: missing"),
        ("no card", "cifar10-best.json cannot be read"),
    ],
)
def test_a_damaged_file_is_a_clear_error(zoo, damage, said):
    file = zoo / "cifar10-best.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "bit":
        content[-100] ^= 1
    file.write_bytes(content[: -8 if damage == "cut" else None])
    if damage == "card":
        file.with_suffix(".json").write_text("{}")
    if damage == "no card":
        file.with_suffix(".json").unlink()
    with pytest.raises(xl.UserError, match=rf"{said}.*Install xnorlit again\."):
        xl.load("cifar10-best")


def test_the_list_describes_each(capsys):
    assert cli.main(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert all("% top-1 [" in line for line in lines)


def test_a_network_without_a_card_is_not_listed_and_the_others_are(zoo, capsys):
    (zoo / "new.safetensors").write_bytes((zoo / "cifar10-best.safetensors").read_bytes())
    assert xl.list_trained() == NAMES
    assert cli.main(["zoo"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == NAMES


def test_torch_is_not_loaded_for_a_first_answer():
    code = (
        "import sys, numpy as np, xnorlit as xl; xl.load('cifar10-best').predict(np.zeros((1, 32, 32, 3), np.uint8)); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_a_loaded_network_shows_what_it_is():
    assert repr(xl.load("cifar10-xnor")) == "<PackedNetwork alexnet-small: 10 classes, 32 x 32 pixels>"
