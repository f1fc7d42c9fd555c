import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from xnorlit.data import downloads, probe, sources
from xnorlit.data.prepare import prepare
from xnorlit.errors import UserError


def find(source, root, **options):
    return sources.find(str(source), root, **{"image_size": 32, **options})


def test_synthetic_has_6000_and_1000_images_that_are_called_synthetic(tmp_path):
    found = find("synthetic", tmp_path)
    assert {split: len(part.listing) for split, part in found.splits.items()} == {"train": 6000, "val": 1000}
    assert (found.name, found.kind) == ("synthetic", "synthetic")
    assert "not photographs" in found.note


def test_synthetic_train_and_val_are_different_images(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SYNTHETIC_COUNTS", {"train": 20, "val": 20})
    found = find("synthetic", tmp_path, image_size=8).splits
    assert found["train"].listing.sha256 != found["val"].listing.sha256
    differences = np.abs(found["train"].images[:, None].astype(int) - found["val"].images[None]).mean((2, 3, 4))
    assert differences.min() > 5


@pytest.mark.parametrize(
    ("name", "near"), [("sinthetic", "synthetic"), ("CIFAR-10", "cifar10"), ("imagenete", "imagenet")]
)
def test_an_unknown_name_is_reported_with_the_near_miss(tmp_path, name, near):
    with pytest.raises(UserError, match=rf"no image set named {name}.*Did you mean {near}.*synthetic, cifar10"):
        find(name, tmp_path)


def test_imagenet_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"cannot be downloaded by a program.*https://image-net\.org.*DATA=/path/to/it"):
        find("imagenet", tmp_path)


def test_imagenet_is_found_below_the_root(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "data/imagenet")
    found = find("imagenet", tmp_path / "data")
    assert (found.name, len(found.splits["train"].listing)) == ("imagenet", 60)


def test_a_file_that_is_not_a_beton_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"notes\.txt is a file\. Expected a folder"):
        find(tmp_path / "notes.txt", tmp_path)


def test_betons_have_the_listing_of_their_tree(tree, tmp_path):
    prepare(tree, tmp_path / "out")
    files, folder = find(tree, tmp_path), find(tmp_path / "out", tmp_path)
    one_file = find(tmp_path / "out/train.beton", tmp_path)
    for split in ("train", "val"):
        hashes = {found.splits[split].listing.sha256 for found in (files, folder, one_file)}
        assert len(hashes) == 1


def test_a_missing_val_beton_is_named(tree, tmp_path):
    prepare(tree, tmp_path / "out")
    (tmp_path / "out/val.beton").unlink()
    with pytest.raises(UserError, match=r"val\.beton is missing"):
        find(tmp_path / "out", tmp_path)
    assert set(find(tmp_path / "out", tmp_path, need_val=False).splits) == {"train"}


def test_betons_of_other_classes_are_refused(tree, tmp_path):
    prepare(tree, tmp_path / "out")
    for split in ("train", "val"):
        (tree / split / "a").rename(tree / split / "z")
    prepare(tree, tmp_path / "other")
    for name in ("val.beton", "val.beton.json"):
        (tmp_path / "other" / name).replace(tmp_path / "out" / name)
    with pytest.raises(UserError, match=r"val\.beton has other classes than .*train\.beton"):
        find(tmp_path / "out", tmp_path)


def fake_cifar10(monkeypatch, error=None):
    calls = []

    class CIFAR10:
        base_folder = "cifar-10-batches-py"

        def __init__(self, root, train, download):
            calls.append((root, train, download))
            if not (download or Path(root, self.base_folder).is_dir()):
                raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
            if error:
                raise error
            Path(root, self.base_folder).mkdir(exist_ok=True)
            self.data = np.full((20 if train else 10, 32, 32, 3), 7, np.uint8)
            self.targets = [index % 10 for index in range(len(self.data))]
            self.classes = list("abcdefghij")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", CIFAR10)
    return calls


def test_cifar10_comes_from_torchvision(tmp_path, monkeypatch):
    calls = fake_cifar10(monkeypatch)
    found = find("cifar10", tmp_path)
    train, val = (str(tmp_path), True), (str(tmp_path), False)
    assert calls == [(*train, False), (*train, True), (*val, False)]
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-batches-py"]
    assert found.splits["train"].images.shape == (20, 32, 32, 3)
    assert found.splits["val"].listing.counts() == dict.fromkeys("abcdefghij", 1)
    assert found.mean == sources.CIFAR10_MEAN


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("File not found or corrupted.")])
def test_a_failed_download_is_a_clear_error(tmp_path, monkeypatch, error):
    fake_cifar10(monkeypatch, error)
    with pytest.raises(UserError, match=rf"cannot download cifar10 into .*: {error}.*DATA=synthetic"):
        find("cifar10", tmp_path)


def test_imagenette_comes_from_torchvision_as_a_tree(tree, tmp_path, monkeypatch):
    def download(root, split, size, download):
        assert (split, size, download) == ("train", "320px", True)
        shutil.copytree(tree, f"{root}/imagenette2-320")
        if not errors:
            return
        raise errors.pop()

    errors = [OSError("no route to host")]
    monkeypatch.setattr("torchvision.datasets.Imagenette", download)
    with pytest.raises(UserError, match="cannot download imagenette"):  # What it has unpacked is not the set.
        find("imagenette", tmp_path / "data")
    found = find("imagenette", tmp_path / "data")
    assert (found.name, found.kind, len(found.splits["val"].listing)) == ("imagenette", "named", 15)
    monkeypatch.setattr("torchvision.datasets.Imagenette", lambda *_, **__: pytest.fail("downloaded twice"))
    find("imagenette", tmp_path / "data")


def test_a_second_process_waits_for_a_download_and_then_has_it(tree, tmp_path, monkeypatch):
    waiting, made = threading.Event(), []
    monkeypatch.setattr("tarfile.TarFile.extraction_filter", None, raising=False)  # which belongs to one process
    monkeypatch.setattr(downloads, "say", lambda text: waiting.set() if text.startswith("waiting for") else None)

    def download(root, split, size, download):
        made.append(root)
        (Path(root) / "imagenette2-320" / "half").mkdir(parents=True)
        assert waiting.wait(10)
        (Path(root) / "imagenette2-320" / "half").rmdir()
        shutil.copytree(tree, f"{root}/imagenette2-320", dirs_exist_ok=True)

    monkeypatch.setattr("torchvision.datasets.Imagenette", download)
    found = []
    both = [threading.Thread(target=lambda: found.append(downloads.imagenette(tmp_path / "data"))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(30)
    assert found == [tmp_path / "data/imagenette2-320"] * 2
    assert len(made) == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["imagenette2-320"]


def test_a_probe_sees_sizes_classes_and_counts(tree, tmp_path):
    prepare(tree, tmp_path / "out", shorter_side=12)
    seen = probe(str(tree))
    assert (seen.kind, seen.shorter_side, seen.sizes) == ("tree", 16, ((16, 16), (16, 16)))
    assert (seen.classes, seen.counts) == (("a", "b", "c"), {"train": 60, "val": 15})
    assert probe(str(tmp_path / "out")).shorter_side == 12
    assert probe("synthetic").counts == {"train": 6000, "val": 1000}


def test_a_probe_downloads_and_decodes_nothing(tree, monkeypatch):
    for function in ("cifar10", "imagenette"):
        monkeypatch.setattr(downloads, function, lambda *_, **__: pytest.fail("it downloads"))
    monkeypatch.setattr("xnorlit.data.pictures.read_rgb", lambda path: pytest.fail("it decodes"))
    assert probe("cifar10").shorter_side == 32
    assert probe("imagenette").shorter_side == 320
    assert probe(str(tree)).shorter_side == 16


def test_the_probed_classes_are_torchvisions():
    from torchvision.datasets import Imagenette

    named = {wnid: names[0] for wnid, names in Imagenette._WNID_TO_CLASS.items()}
    assert sources.NAMED["imagenette"].wnids == named
    assert probe("imagenette").classes == tuple(named.values())


def test_classes_named_by_wordnet_ids_are_shown_as_words():
    assert sources.readable(["n01440764", "cat", "n03888257"]) == ("tench", "cat", "parachute")


def test_imagenettes_classes_are_recognised_in_any_spelling():
    wnids = sources.NAMED["imagenette"].wnids
    for classes in (wnids, wnids.values(), [name.lower().replace(" ", "-") for name in wnids.values()]):
        assert sources.recipe_for(classes) == "imagenette"
    for classes in ([], ["cat", "dog"], list(wnids)[:9], [*wnids, "cat"]):
        assert sources.recipe_for(classes) is None


def test_a_named_set_is_one_record(tmp_path, monkeypatch):
    """CONTRIBUTING.md promises: the name, classes, counts, mean and loader of a new set are in one place."""
    two = sources.Listing(("cat", "dog"), ["a", "b"], np.array([0, 1]))
    part = sources.ImageArray(two, lambda: np.zeros((2, 8, 8, 3), np.uint8))
    mine = sources.Named(
        load=lambda root, size, need_val: {"train": part, "val": part},
        counts={"train": 2, "val": 2},
        sizes=((8, 8), (8, 8)),
        classes=("cat", "dog"),
        mean=(1, 2, 3),
        note="two pictures",
    )
    monkeypatch.setitem(sources.NAMED, "mine", mine)
    found = find("mine", tmp_path)
    assert (found.name, found.kind, found.mean, found.note) == ("mine", "named", (1, 2, 3), "two pictures")
    assert probe("mine").classes == ("cat", "dog")
    with pytest.raises(UserError, match=r"Did you mean mine.*Expected synthetic, cifar10, imagenette, imagenet, mine"):
        find("mime", tmp_path)


def test_the_means_and_deviations_are_the_published_ones():
    from torchvision.models import AlexNet_Weights

    shown = AlexNet_Weights.IMAGENET1K_V1.transforms()
    assert tuple(value / 255 for value in sources.IMAGENET_MEAN) == pytest.approx(shown.mean)
    assert tuple(value / 255 for value in sources.IMAGENET_STD) == pytest.approx(shown.std)
    # Of the 50,000 training images, as every CIFAR-10 recipe has them.
    assert tuple(value / 255 for value in sources.CIFAR10_MEAN) == pytest.approx((0.4914, 0.4822, 0.4465), abs=5e-5)
    assert tuple(value / 255 for value in sources.CIFAR10_STD) == pytest.approx((0.2470, 0.2435, 0.2616), abs=5e-5)
