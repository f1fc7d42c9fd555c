import numpy as np
import pytest
from PIL import Image

from xnorlit.data import pixels
from xnorlit.data.augment import PLACEMENT, CentreCrop, Sizes, View


def row(**values):
    rows = np.zeros(1, PLACEMENT)
    for name, value in values.items():
        rows[name] = value
    return rows[0]


def test_a_single_pixel_fills_the_picture():
    pixel = Image.new("RGB", (1, 1), (10, 20, 30))
    placed = View(CentreCrop(0.875), False, 32).place(np.arange(1), 0, Sizes(np.array([1]), np.array([1])))[0]
    assert (pixels.render(pixel, placed, 32, reflect=False) == (10, 20, 30)).all()


def test_a_placement_of_the_whole_image_leaves_it_alone():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    whole = row(height=8, width=8)
    assert np.array_equal(pixels.render(Image.fromarray(image), whole, 8, reflect=False), image)


@pytest.mark.parametrize("reflect", [False, True])
def test_a_shift_shows_what_padding_and_cutting_shows(reflect):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for down, right, flip in [(3, -2, 0), (-3, 0, 1), (0, 3, 1), (0, 0, 1)]:
        moved = row(height=8, width=8, down=down, right=right, flip=flip)
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect" if reflect else "constant")
        expected = padded[4 + down : 12 + down, 4 + right : 12 + right][:, :: -1 if flip else 1]
        assert np.array_equal(pixels.render(Image.fromarray(image), moved, 8, reflect), expected)


def test_a_box_is_cropped_before_it_is_resized():
    image = np.zeros((64, 64, 3), np.uint8)
    image[16:48, 32:64] = 200
    placed = row(top=16, left=32, height=32, width=32)
    assert (pixels.render(Image.fromarray(image), placed, 16, reflect=False) == 200).all()
