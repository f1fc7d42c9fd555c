"""Hold-out sets, and the hash that pairs the predictions of two runs."""

import numpy as np
import pytest

from xnorlit.data import counter
from xnorlit.data.listing import Listing, held_out


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("counts", [(2, 2), (3, 50, 200)])
def test_each_class_keeps_a_sample_and_gives_its_share(fraction, counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    kept, out = held_out(labels, fraction, counter.key(5))
    assert sorted([*kept, *out]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        given = int((labels[out] == label).sum())
        assert given == min(max(round(fraction * count), 1), count - 1)


def test_a_class_of_one_sample_keeps_it():
    kept, out = held_out(np.array([0, 1, 1]), 0.5, counter.key(5))
    assert kept[0] == 0
    assert len(out) == 1


def listing(names="abcd", classes=("x", "y"), labels=(0, 0, 1, 1)):
    return Listing(tuple(classes), list(names), np.array(labels))


@pytest.mark.parametrize(
    "other", [listing("abce"), listing(classes=("x", "z")), listing(labels=(0, 1, 1, 1)), listing("bacd")]
)
def test_other_names_classes_labels_or_order_have_another_hash_also_of_a_part(other):
    part = np.array([0, 2])
    assert listing().sha256 == listing().sha256 != other.sha256
    assert listing().subset(part).sha256 == listing().subset(part).sha256 != other.subset(part).sha256


def test_other_members_have_another_hash():
    parts = [np.array([0, 2]), np.array([0, 3]), np.array([2, 0]), np.array([0])]
    assert len({listing().subset(part).sha256 for part in parts}) == len(parts)


def test_a_part_has_its_names_and_labels():
    part = listing().subset(np.array([3, 0]))
    assert (part.names, part.labels.tolist(), part.classes) == (["d", "a"], [1, 0], ("x", "y"))
