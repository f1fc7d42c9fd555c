import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from xnorlit.data import splits
from xnorlit.errors import UserError

SYNSETS = ["n01440764", "n02119789", "n07717556"]
TRUTH = [2, 0, 1, 0, 2, 1]  # of the files in order, as positions in SYNSETS
FILES = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 7)]


@pytest.fixture
def root(tmp_path):
    """ImageNet in small: train/ in class folders, val/ flat."""
    root = tmp_path / "imagenet"
    for synset in SYNSETS:
        (root / "train" / synset).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / "train" / synset / f"{synset}_1.JPEG")
    (root / "val").mkdir()
    for file in FILES:
        Image.new("RGB", (8, 8)).save(root / "val" / file)
    return root


def devkit(root, numbers=(7, 900, 33)):
    """Ground truth in ILSVRC2012_IDs, whose order differs from that of the synsets."""
    folder = root / "ILSVRC2012_devkit_t12/data"
    folder.mkdir(parents=True)
    lines = "".join(f"{numbers[truth]}\n" for truth in TRUTH)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)
    records = np.zeros(3, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")])
    for record, number, synset in zip(records, numbers, SYNSETS, strict=True):
        record["ILSVRC2012_ID"], record["WNID"], record["words"] = number, synset, "a thing"
    savemat(folder / "meta.mat", {"synsets": records})


def kaggle(root):
    rows = [
        f"{file[:-5]},{SYNSETS[truth]} 1 2 3 4 {SYNSETS[truth]} 5 6 7 8"
        for file, truth in zip(FILES, TRUTH, strict=True)
    ]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows[::-1]]))


def pairs(root, template="{file} {synset}", name="val_labels.txt"):
    lines = [template.format(file=file, synset=SYNSETS[truth]) for file, truth in zip(FILES, TRUTH, strict=True)]
    (root / name).write_text("\n".join(lines) + "\n")


LABELS = {
    "devkit": devkit,
    "kaggle": kaggle,
    "file synset": pairs,
    "synset file": lambda root: pairs(root, "{synset} {file}"),
    "one synset a line": lambda root: pairs(root, "{synset}", "imagenet_2012_validation_synset_labels.txt"),
}


@pytest.mark.parametrize("write", LABELS.values(), ids=LABELS)
def test_a_flat_validation_folder_gets_its_classes(root, write):
    write(root)
    val = splits.find(root)["val"]
    found = {path.name: val.listing.classes[label] for path, label in zip(map(val.path, range(6)), val.listing.labels)}  # noqa: B905
    assert found == {file: SYNSETS[truth] for file, truth in zip(FILES, TRUTH, strict=True)}
    assert all(val.path(index).is_file() for index in range(6))


def test_both_layouts_have_one_listing(root):
    kaggle(root)
    flat = splits.find(root)["val"].listing.sha256
    for file, truth in zip(FILES, TRUTH, strict=True):
        (root / "val" / SYNSETS[truth]).mkdir(exist_ok=True)
        (root / "val" / file).rename(root / "val" / SYNSETS[truth] / file)
    assert splits.find(root)["val"].listing.sha256 == flat


def test_kaggles_nesting_is_found(root, tmp_path):
    outer = tmp_path / "outer"
    inner = outer / "ILSVRC/Data/CLS-LOC"
    inner.parent.mkdir(parents=True)
    root.rename(inner)
    kaggle(outer)
    (inner / "test").mkdir()
    Image.new("RGB", (8, 8)).save(inner / "test/ILSVRC2012_test_00000001.JPEG")
    assert set(splits.find(outer)) == {"train", "val"}  # the test images have no labels


def test_a_named_labels_file_wins(root, tmp_path):
    pairs(root, "{synset} {file}")
    (tmp_path / "mine.txt").write_text("".join(f"{file} {SYNSETS[0]}\n" for file in FILES))
    val = splits.find(root, tmp_path / "mine.txt")["val"]
    assert val.listing.counts() == dict(zip(SYNSETS, (6, 0, 0), strict=True))


def test_without_labels_it_says_what_to_fetch(root):
    with pytest.raises(
        UserError, match=r"holds images but no class folders.*ground_truth\.txt with meta\.mat.*--val-labels"
    ):
        splits.find(root)


def test_ground_truth_without_meta_is_refused(root):
    devkit(root)
    (root / "ILSVRC2012_devkit_t12/data/meta.mat").unlink()
    with pytest.raises(UserError, match=r"meta\.mat, which names them, is not next to it"):
        splits.find(root)


def test_an_image_without_a_class_is_named(root):
    pairs(root)
    Image.new("RGB", (8, 8)).save(root / "val/ILSVRC2012_val_00000007.JPEG")
    with pytest.raises(UserError, match=r"lacks ILSVRC2012_val_00000007\.JPEG \(1 of 7 images"):
        splits.find(root)


def test_too_few_lines_are_counted(root):
    (root / "val_labels.txt").write_text(f"{SYNSETS[0]}\n" * 5)
    with pytest.raises(UserError, match="5 lines, but there are 6 validation images"):
        splits.find(root)


def test_a_class_missing_in_train_is_named(root):
    (root / "val_labels.txt").write_text("".join(f"{file} n99999999\n" for file in FILES))
    with pytest.raises(UserError, match="names the class n99999999, which train/ does not have"):
        splits.find(root)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("LOC_val_solution.csv", b"Image,Class\n1,2\n"),
        ("LOC_val_solution.csv", b"ImageId,PredictionString\nILSVRC2012_val_00000001,\n"),
        ("val_labels.txt", b"\xff\xfe\x00"),
        ("val.txt", b"one two\nthree\n"),
        ("val_labels.txt", b"99\n" * 6),
    ],
)
def test_an_inconsistent_labels_file_is_named(root, name, content):
    devkit(root)
    (root / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt").unlink()
    (root / "ILSVRC2012_devkit_t12/data/meta.mat").replace(root / "meta.mat")
    (root / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name.replace('.', '[.]')} (does not state the classes|lacks)"):
        splits.find(root)
