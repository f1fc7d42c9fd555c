import shutil

import numpy as np
import pytest
from PIL import Image

from xnorlit.data import splits
from xnorlit.data.tree import class_folders
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


def test_the_hash_tells_listings_apart_and_does_not_depend_on_the_place(tree, tmp_path):
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


def test_a_folder_without_train_says_what_it_holds(tree):
    with pytest.raises(UserError, match=r"train has no train/ \(it holds a, b, c\)"):
        splits.find(tree / "train")


def test_one_class_is_refused(tree):
    for name in "bc":
        shutil.rmtree(tree / "train" / name)
    with pytest.raises(UserError, match=r"train holds one class, a\. Expected a folder for each of two or more"):
        splits.find(tree)


def test_an_empty_class_is_named(tree):
    (tree / "train/empty").mkdir()
    with pytest.raises(UserError, match=r"Class empty of .*train holds no image"):
        splits.find(tree)


def test_differing_classes_are_named(tree):
    (tree / "val/a").rename(tree / "val/z")
    with pytest.raises(UserError, match=r"differ \(only in .*train: a; only in .*val: z\)"):
        splits.find(tree)


def test_the_shape_of_a_file_is_that_of_the_image_it_shows(tree):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tree / "train/a/000.jpg", exif=exif)
    files = splits.find(tree)["train"]
    index = files.listing.names.index("a/000.jpg")
    assert files.shape(index) == (40, 20) == files.open(index).size[::-1]


def test_hidden_folders_are_no_classes(tree):
    (tree / "train/.cache").mkdir()
    assert class_folders(tree / "train") == ("a", "b", "c")
