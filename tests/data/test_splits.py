import hashlib
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import HOSTILE
from xnorlit.data import splits
from xnorlit.data.pictures import class_folders
from xnorlit.errors import UserError


def test_a_tree_is_read_sorted_with_its_classes(tree):
    found = splits.find(tree)
    train = found["train"]
    assert set(found) == {"train", "val"}
    assert train.listing.classes == ("a", "b", "c")
    assert train.listing.counts() == {"a": 20, "b": 20, "c": 20}
    assert train.listing.names[:2] == ["a/000.png", "a/003.png"]
    assert train.path(0) == tree / "train/a/000.png"
    assert (np.diff(train.listing.labels) >= 0).all()


def test_the_hash_distinguishes_listings_and_not_their_folders(tree, tmp_path):
    original = splits.find(tree)["train"].listing.sha256
    moved = shutil.copytree(tree, tmp_path / "elsewhere")
    assert splits.find(moved)["train"].listing.sha256 == original
    (moved / "train/a/000.png").rename(moved / "train/b/000.png")
    assert splits.find(moved)["train"].listing.sha256 != original


def test_images_in_nested_folders_count_and_other_files_do_not(tree):
    inner = tree / "train/a/inner"
    inner.mkdir()
    shutil.copy(tree / "train/a/000.png", inner / "X.JPEG")
    (tree / "train/a/notes.txt").write_text("no image")
    (tree / "train/a/._000.png").write_text("no image either")
    assert splits.find(tree)["train"].listing.counts()["a"] == 21


def test_test_stands_in_for_val(tree):
    (tree / "val").rename(tree / "test")
    found = splits.find(tree)
    assert found["val"] is found["test"]


def test_a_hold_out_needs_no_val(tree):
    shutil.rmtree(tree / "val")
    assert set(splits.find(tree, need_val=False)) == {"train"}
    with pytest.raises(UserError, match=r"neither val/ nor test/.*--data\.holdout 0\.1"):
        splits.find(tree)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere is not a folder\. Expected one with train/ and val/"):
        splits.find(tmp_path / "nowhere")


def test_a_folder_without_train_lists_its_content(tree):
    with pytest.raises(UserError, match=r"train has no train/ \(it holds a, b, c\)"):
        splits.find(tree / "train")


def test_one_class_is_refused(tree):
    for name in "bc":
        shutil.rmtree(tree / "train" / name)
    with pytest.raises(UserError, match=r"train holds one class, a\. Expected a folder for each of two or more"):
        splits.find(tree)


def test_an_empty_class_is_named(tree):
    (tree / "train/empty").mkdir()
    with pytest.raises(UserError, match=r"class empty of .*train holds no image"):
        splits.find(tree)


def test_differing_classes_are_named(tree):
    (tree / "val/a").rename(tree / "val/z")
    with pytest.raises(UserError, match=r"differ \(only in .*train: a; only in .*val: z\)"):
        splits.find(tree)


@pytest.mark.parametrize("name", [".cache", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "#recycle", "lost+found"])
def test_system_folders_are_not_classes_and_system_copies_are_not_pictures(tree, name):
    for folder in (tree / "train" / name, tree / "train/a" / name):
        shutil.copytree(tree / "train/a", folder)
    assert splits.find(tree)["train"].listing.counts() == {"a": 20, "b": 20, "c": 20}
    assert list(class_folders(tree / "train")) == ["a", "b", "c"]


# --- names that file systems allow ----------------------------------------------------------------------------------
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_a_class_is_the_same_in_composed_and_decomposed_characters(tree):
    before = splits.find(tree)
    for split, name in (("train", COMPOSED), ("val", DECOMPOSED)):
        (tree / split / "b").rename(tree / split / name)
    found = splits.find(tree)
    assert found["train"].listing.classes == found["val"].listing.classes == ("a", "c", COMPOSED)
    assert found["val"].listing.counts() == {"a": 5, "c": 5, COMPOSED: 5}
    assert found["val"].listing.names[-1].startswith(COMPOSED)
    shown = np.asarray(found["val"].open(14))
    assert (shown == np.asarray(Image.open(tree / "val" / DECOMPOSED / before["val"].files[9][2:]))).all()


def test_the_hash_is_the_same_where_a_mac_has_decomposed_the_classes(tree, tmp_path):
    (tree / "train/b").rename(tree / "train" / COMPOSED)
    (tree / "val/b").rename(tree / "val" / COMPOSED)
    mac = shutil.copytree(tree, tmp_path / "mac")
    for split in ("train", "val"):
        (mac / split / COMPOSED).rename(mac / split / DECOMPOSED)
    for split in ("train", "val"):
        assert splits.find(mac)[split].listing.sha256 == splits.find(tree)[split].listing.sha256


def test_a_class_in_both_forms_is_refused(tree):
    for name in (COMPOSED, DECOMPOSED):
        shutil.copytree(tree / "train/a", tree / "train" / name)
    with pytest.raises(UserError, match=rf"train has two folders named {COMPOSED}"):
        splits.find(tree)


def test_a_class_name_that_is_not_text_is_refused(tree):
    (tree / "train/b").rename(tree / "train" / os.fsdecode(b"b\xff"))
    with pytest.raises(UserError, match=r"train/b\udcff is not UTF-8\. Rename it"):
        splits.find(tree)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_picture_may_be_called_anything(tree, split, name):
    (tree / split / "a/000.png").rename(tree / split / "a" / os.fsdecode(name))
    files = splits.find(tree)[split]
    assert len(files.listing.sha256) == 64
    (index,) = [n for n, each in enumerate(files.listing.names) if os.fsencode(each) == b"a/" + name]
    assert files.open(index).size == (16, 16)


def test_the_hash_of_a_listing_is_the_same_as_before_names_could_be_no_text(tree):
    listing = splits.find(tree)["train"].listing
    lines = "".join(f"\n{name}\0{label}" for name, label in zip(listing.names, listing.labels.tolist(), strict=True))
    assert listing.sha256 == hashlib.sha256(("a\0b\0c" + lines).encode()).hexdigest()


@pytest.mark.parametrize("target", [".", "..", "../..", "../../.."])
def test_a_link_to_a_folder_that_holds_it_is_refused_by_name(tree, target):
    (tree / "train/a/loop").symlink_to(target)
    with pytest.raises(UserError, match=r"a/loop links to .*, a folder that contains it.*Remove the link"):
        splits.find(tree)


def test_a_link_to_a_folder_within_the_class_that_holds_it_is_refused_too(tree):
    (tree / "train/a/inner/deep").mkdir(parents=True)
    (tree / "train/a/inner/deep/loop").symlink_to(tree / "train/a/inner")
    with pytest.raises(UserError, match=r"deep/loop links to .*inner, a folder that contains it"):
        splits.find(tree)


def test_the_hash_counts_the_bytes_of_a_name_that_is_no_text(tree):
    hashes = set()
    for name in (b"\xff.png", b"\xfe.png", b"?.png"):
        path = next((tree / "train/a").glob("[!0]*"), tree / "train/a/000.png")
        path.rename(path.with_name(os.fsdecode(name)))
        hashes.add(splits.find(tree)["train"].listing.sha256)
    assert len(hashes) == 3


def test_a_link_to_pictures_elsewhere_is_followed(tree, tmp_path):
    (tree / "train/a").rename(tmp_path / "elsewhere")
    (tree / "train/a").symlink_to(tmp_path / "elsewhere")
    assert splits.find(tree)["train"].listing.counts()["a"] == 20


def test_a_link_to_nothing_and_one_to_itself_are_pictures_that_cannot_be_read(tree):
    (tree / "train/a/gone.png").symlink_to("nowhere.png")
    (tree / "train/a/self.png").symlink_to("self.png")
    files = splits.find(tree)["train"]
    for name in ("gone", "self"):
        with pytest.raises(UserError, match=rf"a/{name}\.png cannot be read as an image"):
            files.open(files.listing.names.index(f"a/{name}.png"))


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_shape_is_that_of_the_picture_as_it_is_shown(tree, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    name = f"turned.{kind}"
    Image.new("RGB", (40, 20)).save(tree / "train/a" / name, exif=exif)
    files = splits.find(tree)["train"]
    index = files.listing.names.index(f"a/{name}")
    assert files.shape(index) == files.open(index).size[::-1] == ((40, 20) if orientation >= 5 else (20, 40))
