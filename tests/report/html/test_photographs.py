"""Pictures are shown only if they are the predicted images."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.runs.factory import write_run
from xnorlit.report.html.confusion import confusion, disputed, largest_changes
from xnorlit.report.html.photographs import Photographs, find
from xnorlit.runs import Predictions, read


def predictions(label: list[int], top1: list[int], sha256: str = "0" * 64, margin: float = 1) -> Predictions:
    """Of classes cat and dog."""
    first = np.array(top1)
    return Predictions(
        index=np.arange(len(label)), label=np.array(label), top5=np.stack([first, 1 - first], axis=1),
        top5_logit=np.tile(np.array([margin, 0], np.float32), (len(label), 1)), classes=("cat", "dog"),
        listing_sha256=sha256, split="val", source="photos", epoch=1,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, shade in (("cat/1.png", 10), ("cat/0.png", 50), ("dog/a/2.png", 200)):
        file = tmp_path / "photos" / "test" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300 if shade == 200 else 16, 16), (shade,) * 3).save(file)
    return tmp_path / "photos"


def test_the_pictures_are_those_of_the_data_modules_listing(folder):
    from xnorlit.data.tree import scan

    listing = scan(folder / "test").listing
    found = find(predictions([0, 0, 1], [0, 0, 1], listing.sha256), [folder])
    assert isinstance(found, Photographs)
    assert list(found.names) == list(listing.names) == ["cat/0.png", "cat/1.png", "dog/a/2.png"]
    for index, (shade, size) in enumerate([(50, (16, 16)), (10, (16, 16)), (200, (128, 7))]):
        kind, _, data = (found.as_url(index) or "").partition(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (image.size, kind) == (size, "data:image/png" if size == (16, 16) else "data:image/jpeg")
        assert image.getpixel((0, 0)) == pytest.approx((shade,) * 3, abs=2)


def test_other_pictures_of_the_same_classes_are_not_shown(folder):
    found = find(predictions([0], [0]), [folder])
    assert isinstance(found, str)
    assert "file names differ from those of the runs' validation set" in found


def test_missing_pictures_are_explained(tmp_path):
    found = find(predictions([0], [0]), [tmp_path / "none"])
    assert isinstance(found, str)
    assert "no folder of classes with the validation images was found" in found


def test_a_picture_that_cannot_be_read_is_left_out(folder):
    (folder / "test" / "cat" / "0.png").write_bytes(b"no picture")
    assert Photographs(folder / "test", ["cat/0.png"]).as_url(0) is None


def test_confusions_by_hand():
    seeds = [predictions([0, 0, 1, 1], [0, 1, 1, 0]), predictions([0, 0, 1, 1], [1, 1, 1, 1])]
    arm = confusion(seeds)
    assert arm.tolist() == [[1, 3], [1, 3]]
    reference = confusion([predictions([0, 0, 1, 1], [0, 0, 0, 1])] * 2)
    assert largest_changes(arm, reference) == [
        {"true": 0, "taken_for": 1, "arm": 3, "reference": 0},
        {"true": 1, "taken_for": 0, "arm": 1, "reference": 2},
    ]


def test_the_most_disputed_images_come_first_and_the_surest_of_them():
    label = [0, 0, 0, 0]
    sure = np.array([[1, 0], [9, 0], [1, 0], [1, 0]], np.float32)
    winners = [replace(predictions(label, top1), top5_logit=sure) for top1 in ([0, 0, 0, 1], [0, 0, 1, 1])]
    losers = [predictions(label, [1, 1, 1, 0])] * 2
    found = disputed(winners, losers)
    assert [(image["index"], image["lead"]) for image in found] == [(1, 2), (0, 2), (2, 1)]
    assert found[2]["winners"] == [0, 1]
    assert found[2]["losers"] == [1, 1]


def test_the_hash_of_predictions_counts_and_not_their_source(tmp_path, folder):
    run = read(write_run(tmp_path, "xnor", classes=("cat", "dog"), images=3, right=2))
    assert isinstance(find(run.predictions, [folder]), str)
