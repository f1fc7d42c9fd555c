import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import photographs
from xnorlit.data import resample


@pytest.mark.parametrize(("extent", "size"), [(7, 7), (500, 224), (5, 32), (1, 3), (32, 1), (256, 224)])
def test_weights_sum_to_one_and_stay_inside(extent, size):
    first, count, weights = resample.triangle(extent, size)
    assert weights.sum(1) == pytest.approx(np.ones(size), abs=1e-6)
    assert (first >= 0).all()
    assert (first + count <= extent).all()
    assert (count <= weights.shape[1]).all()


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 16, 16), 16),
        ((2, 3, 9, 11), 5),
        ((2, 3, 9, 11), 20),
        ((15, 15, 1, 1), 4),
        ((0, 0, 16, 16), 1),
        ((4, 0, 3, 16), 8),
    ],
)
@pytest.mark.parametrize("mirror", [False, True])
def test_it_is_pillows_bilinear_filter_of_the_cut_box(box, size, mirror):
    image = photographs(1)[0]
    top, left, height, width = box
    out = np.empty((size, size, 3), np.uint8)
    tables = resample.triangle(height, size), resample.triangle(width, size)
    resample.resize(image, top, left, *tables, mirror, out)
    cut = Image.fromarray(image).crop((left, top, left + width, top + height))
    expected = np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(out - (expected[:, ::-1] if mirror else expected)).max() <= 1
