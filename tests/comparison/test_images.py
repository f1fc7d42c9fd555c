"""The images of two runs are the same if their names, labels and files are, wherever they are."""

import pytest

from tests.runs.factory import write_run
from xnorlit.comparison.compare import compare
from xnorlit.comparison.difference import between
from xnorlit.errors import UserError
from xnorlit.runs import Images, read

TRAIN = {"samples": 9, "sha256": "a" * 64, "content": "c" * 64}
VAL = {"samples": 1000, "sha256": "b" * 64, "content": "d" * 64}


def run(root, arm, seed=0, *, source="/here/photos", train=TRAIN, val=VAL, recorded=True, **settings):
    images = {"images": {"train": train, "val": val}} if recorded else {}
    return read(write_run(root, arm, seed, config={"data.source": source, **settings}, summary=images))


def verdict(*runs):
    return compare(runs).gaps[0].difference.verdict


MATCHED = "matched: only model.binarizer differs"
OTHERS = "not matched: data.source differs too"


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({}, MATCHED),
        ({"source": "/there/photos"}, MATCHED),
        ({"source": "/there/renamed"}, MATCHED),
        ({"train": TRAIN | {"sha256": "e" * 64}}, OTHERS),
        ({"train": TRAIN | {"content": "e" * 64}}, OTHERS),
        # Other files of the same names, or a .beton of the same files: both have another hash.
        ({"val": VAL | {"content": "e" * 64}}, OTHERS),
        # An earlier version did not record the images.
        ({"recorded": False}, MATCHED),
        ({"recorded": False, "source": "/there/photos"}, MATCHED),
        ({"recorded": False, "source": "/there/renamed"}, OTHERS),
        # The share held out explains other training images.
        (
            {"data.holdout": 0.2, "train": TRAIN | {"samples": 7, "sha256": "e" * 64}},
            "not matched: data.holdout differs too",
        ),
    ],
)
def test_a_pair_is_matched_if_its_images_are_the_same(theirs, expected, tmp_path):
    assert verdict(run(tmp_path, "xnor"), run(tmp_path, "float", **theirs)) == expected


def test_other_images_in_one_folder_are_described(tmp_path):
    first, other = run(tmp_path, "xnor"), run(tmp_path, "xnor", 1, train={**TRAIN, "samples": 8, "sha256": "e" * 64})
    (item,) = between(first, other, same=("seed_everything", "data.seed")).keys
    assert item.key == "data.source"
    assert item.arm == f"/here/photos: 9 train images, listing {'a' * 12}, files {'c' * 12}"
    assert item.reference == f"/here/photos: 8 train images, listing {'e' * 12}, files {'c' * 12}"


def test_seeds_that_found_the_images_elsewhere_have_a_mean(tmp_path):
    seeds = [run(tmp_path, arm, seed, source=f"/{seed}/photos") for arm in ("xnor", "float") for seed in (0, 1)]
    found = compare(seeds)
    assert found.matched
    assert [each.seed for each in found.arms[0].seeds] == [0, 1]


def test_seeds_with_other_training_images_have_no_mean(tmp_path):
    seeds = [
        run(tmp_path, arm, seed, train=TRAIN | {"samples": 9 - seed}) for arm in ("xnor", "float") for seed in (0, 1)
    ]
    with pytest.raises(UserError, match=r"differ in data\.source \(/here/photos: 9 train images.*: 8 train"):
        compare(seeds)


def test_the_recorded_images_read_back(tmp_path):
    found = run(tmp_path, "xnor")
    assert found.summary.images == {"train": Images(9, "a" * 64, "c" * 64), "val": Images(1000, "b" * 64, "d" * 64)}
    assert run(tmp_path, "float", recorded=False).summary.images is None


@pytest.mark.parametrize("images", [{"train": TRAIN}, {"train": TRAIN, "val": {**VAL, "samples": -1}}, {"train": 1}])
def test_damaged_records_of_images_are_refused(images, tmp_path):
    with pytest.raises(UserError, match=r"summary\.json.* images\.(train|val)"):
        read(write_run(tmp_path, "xnor", summary={"images": images}))
