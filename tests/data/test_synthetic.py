from collections import Counter

import numpy as np
import pytest

from xnorlit.data import synthetic


def test_an_image_depends_on_seed_index_and_size_only():
    many = synthetic.generate(300, size=16)
    assert np.array_equal(many[:50], synthetic.generate(50, size=16))
    assert np.array_equal(many[299], synthetic.generate(1, size=16, start=299)[0])
    assert not np.array_equal(many[:50], synthetic.generate(50, size=16, seed=1))


@pytest.mark.parametrize("size", [1, 9, 32, 64])
def test_any_size_comes_from_the_same_code(size):
    assert synthetic.generate(11, size=size).shape == (11, size, size, 3)


def test_another_size_shows_the_same_scene():
    small = synthetic.generate(40, size=32).astype(float)
    large = synthetic.generate(40, size=64).astype(float).reshape(40, 32, 2, 32, 2, 3).mean((2, 4))
    matching = np.abs(small - large).mean((1, 2, 3))
    others = np.abs(small - np.roll(large, 1, axis=0)).mean((1, 2, 3))
    assert matching.max() < 15
    assert (matching * 2 < others).all()


def test_classes_take_turns():
    assert np.bincount(synthetic.labels(6000)).tolist() == [600] * 10
    assert len(synthetic.CLASSES) == len(set(synthetic.CLASSES)) == 10


def test_the_pixels_are_pinned():
    # A change here changes what every synthetic result was measured on: say so in the changelog.
    images = synthetic.generate(20)
    assert images.dtype == np.uint8
    assert images.mean() == pytest.approx(119.0858, abs=0.02)


def test_the_declared_statistics_are_those_of_the_images():
    images = synthetic.generate(1500)
    assert images.mean((0, 1, 2)) == pytest.approx(synthetic.MEAN, abs=3)
    assert images.std((0, 1, 2)) == pytest.approx(synthetic.STD, abs=2)


def test_many_images_are_computed_at_once(monkeypatch):
    """One call of numpy per image would take minutes for the 7,000 images."""
    calls = Counter()
    for name in ("uniform", "normal", "normal_pairs"):
        original = getattr(synthetic.counter, name)

        def counted(*given, _original=original, _name=name):
            calls[_name] += 1
            return _original(*given)

        monkeypatch.setattr(synthetic.counter, name, counted)
    synthetic.generate(1, size=8)
    of_one = calls.copy()
    synthetic.generate(100, size=8)
    assert sum(of_one.values()) > 10
    assert calls == Counter({name: 2 * count for name, count in of_one.items()})


def test_a_nearest_mean_classifier_fails():
    # The task must be hard: if raw pixels revealed the class, a float network would gain nothing over a binary one.
    images = synthetic.generate(1000, size=16).reshape(1000, -1).astype(float)
    labels = synthetic.labels(1000)
    means = np.stack([images[:700][labels[:700] == each].mean(0) for each in range(10)])
    guesses = ((images[700:, None] - means) ** 2).sum(-1).argmin(1)
    assert (guesses == labels[700:]).mean() < 0.5
