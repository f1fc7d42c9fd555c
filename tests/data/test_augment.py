import numpy as np
import pytest

from xnorlit.data import counter, order
from xnorlit.data.augment import PLACEMENT, CentreCrop, PadCrop, RandomCrop, ResizedCrop, Sizes, View
from xnorlit.errors import UserError

RANDOM = [PadCrop(4), PadCrop(4, reflect=True), RandomCrop(0.875), RandomCrop(0.9, squash=True), ResizedCrop()]
CROPS = [*RANDOM, CentreCrop()]
COUNT = 2000


def sizes(count=COUNT, seed=0):
    drawn = np.random.default_rng(seed).integers(1, 600, (2, count))
    return Sizes(*drawn)


@pytest.mark.parametrize("crop", CROPS, ids=repr)
def test_a_placement_depends_on_seed_epoch_index_and_image_size_only(crop):
    view = View(crop, flip=True, size=32, seed=3)
    whole = view.place(np.arange(COUNT), 5, sizes())
    some = np.array([1999, 0, 7])
    assert np.array_equal(whole[some], view.place(some, 5, Sizes(*(side[some] for side in sizes()))))


@pytest.mark.parametrize("crop", RANDOM, ids=repr)
@pytest.mark.parametrize("other", [(3, 6), (4, 5), (4, 4)])
def test_another_seed_or_epoch_augments_differently(crop, other):
    seed, epoch = other
    first = View(crop, flip=True, size=32, seed=3).place(np.arange(COUNT), 5, sizes())
    second = View(crop, flip=True, size=32, seed=seed).place(np.arange(COUNT), epoch, sizes())
    assert abs((first["flip"] == second["flip"]).mean() - 0.5) < 0.06
    moved = [name for name in PLACEMENT.names if name not in ("index", "flip")]
    assert not np.array_equal(first[moved], second[moved])


@pytest.mark.parametrize("crop", CROPS, ids=repr)
def test_boxes_lie_within_their_images_down_to_one_pixel(crop):
    rows = View(crop, flip=True, size=32).place(np.arange(COUNT), 0, sizes())
    heights, widths = sizes()
    assert (rows["height"] >= 1).all()
    assert (rows["width"] >= 1).all()
    assert (rows["top"] >= 0).all()
    assert (rows["left"] >= 0).all()
    assert (rows["top"] + rows["height"] <= heights).all()
    assert (rows["left"] + rows["width"] <= widths).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CentreCrop(0), "ratio of more than 0 and at most 1"),
        (lambda: RandomCrop(0), "ratio of more than 0 and at most 1"),
        (lambda: RandomCrop(1.1), "is not within the image"),
        (lambda: PadCrop(-1), "has a negative padding"),
        (lambda: ResizedCrop(area=(0.5, 0.1)), "allows no box"),
        (lambda: ResizedCrop(area=(0, 1)), "allows no box"),
        (lambda: ResizedCrop(area=(0.5, 1.1)), "allows no box"),
        (lambda: ResizedCrop(aspect=(0, 1)), "allows no box"),
        (lambda: ResizedCrop(aspect=(2, 1)), "allows no box"),
        (lambda: View(PadCrop(8), flip=True, size=8), "moves the image out of its 8 pixels"),
    ],
)
def test_empty_crops_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_crops_at_their_bounds_are_taken():
    assert CentreCrop(1).ratio == RandomCrop(1).ratio == 1
    assert PadCrop(0).padding == 0
    assert ResizedCrop(area=(1, 1), aspect=(1, 1)).area == (1, 1)
    assert View(PadCrop(7), flip=True, size=8).size == 8


@pytest.mark.parametrize("side", ["height", "width"])
def test_a_box_as_long_as_its_image_is_drawn_and_lies_anywhere_along_the_other_side(side):
    """Half of 10 x 20 pixels, as a square: 10 x 10. The fall-back would put it in the middle."""
    short, long = np.full(500, 10), np.full(500, 20)
    crop = ResizedCrop(area=(0.5, 0.5), aspect=(1, 1))
    rows = View(crop, False, 8).place(np.arange(500), 0, Sizes(*((short, long) if side == "height" else (long, short))))
    assert set(rows["height"]) == set(rows["width"]) == {10}
    assert set(rows["top" if side == "height" else "left"]) == {0}
    assert set(rows["left" if side == "height" else "top"]) == set(range(11))


def test_no_box_of_a_thin_image_is_empty():
    """A third of a pixel rounds to none on one side, and to one on the other."""
    for height, width in ((1, 1), (1, 4), (4, 1), (2, 9), (9, 2)):
        image = Sizes(np.full(COUNT, height), np.full(COUNT, width))
        rows = View(ResizedCrop(area=(0.05, 0.3), aspect=(0.3, 3)), False, 8).place(np.arange(COUNT), 0, image)
        assert min(rows["height"].min(), rows["width"].min()) == 1
        assert (rows["top"] + rows["height"] <= height).all()
        assert (rows["left"] + rows["width"] <= width).all()


def test_half_of_the_samples_are_mirrored_when_asked_and_none_otherwise():
    for flip, expected in ((True, 0.5), (False, 0.0)):
        rows = View(CentreCrop(), flip=flip, size=32).place(np.arange(COUNT), 0, sizes())
        assert abs(rows["flip"].mean() - expected) < 0.05


def test_a_centre_crop_is_torchvisions_resize_to_256_and_cut_224():
    rows = View(CentreCrop(224 / 256), False, 224).place(np.arange(1), 0, Sizes(np.array([512]), np.array([768])))
    assert (rows["height"], rows["width"], rows["top"], rows["left"]) == (448, 448, 32, 160)


def test_a_squashed_crop_takes_the_same_share_of_both_sides():
    rows = View(CentreCrop(227 / 256, squash=True), False, 227).place(
        np.arange(1), 0, Sizes(np.array([512]), np.array([1024]))
    )
    assert (rows["height"], rows["width"], rows["top"], rows["left"]) == (454, 908, 29, 58)


def test_a_padding_crop_moves_by_every_offset_equally_often():
    square = Sizes(np.full(20_000, 32), np.full(20_000, 32))
    rows = View(PadCrop(4), False, 32).place(np.arange(20_000), 0, square)
    assert set(rows["height"]) == set(rows["width"]) == {32}
    for axis in ("down", "right"):
        offsets, counts = np.unique(rows[axis], return_counts=True)
        assert offsets.tolist() == list(range(-4, 5))
        assert np.abs(counts - 20_000 / 9).max() < 5 * (20_000 / 9) ** 0.5
    assert abs(np.corrcoef(rows["down"], rows["right"])[0, 1]) < 0.03


def test_a_resized_crop_draws_areas_and_aspects_of_its_ranges():
    square = Sizes(np.full(20_000, 500), np.full(20_000, 500))
    rows = View(ResizedCrop(area=(0.25, 0.5)), False, 224).place(np.arange(20_000), 0, square)
    area = rows["height"] * rows["width"] / 500**2
    aspect = np.log(rows["width"] / rows["height"])
    assert 0.245 < area.min() < 0.26
    assert 0.49 < area.max() < 0.505
    assert abs(area.mean() - 0.375) < 0.005
    assert abs(aspect).max() < np.log(4 / 3) + 0.01
    assert abs(aspect.mean()) < 0.01


def test_an_image_that_no_drawn_box_fits_shows_its_centre_with_the_nearest_allowed_aspect():
    long = Sizes(np.array([10]), np.array([1000]))
    row = View(ResizedCrop(area=(0.9, 1.0)), False, 224).place(np.arange(1), 0, long)[0]
    assert (row["height"], row["width"]) == (10, 13)
    assert (row["top"], row["left"]) == (0, 493)


MANY = 20_000


@pytest.mark.parametrize("seed", [0, 3])
def test_mirroring_does_not_depend_on_the_order(seed):
    """The order sorts by a hash of the same seed, epoch and sample. Reusing that hash would mirror the first half."""
    rank = np.argsort(order.permutation(MANY, seed, 4))
    view = View(PadCrop(4), flip=True, size=32, seed=seed)
    rows = view.place(np.arange(MANY), 4, Sizes(np.full(MANY, 32), np.full(MANY, 32)))
    for name in ("flip", "down", "right"):
        assert abs(np.corrcoef(rank, rows[name])[0, 1]) < 0.03


@pytest.mark.parametrize("crop", RANDOM, ids=repr)
def test_mirroring_does_not_depend_on_the_crop(crop):
    rows = View(crop, flip=True, size=32).place(np.arange(MANY), 0, Sizes(np.full(MANY, 500), np.full(MANY, 500)))
    drawn = [name for name in ("top", "left", "height", "width", "down", "right") if np.ptp(rows[name])]
    assert len(drawn) >= 2
    for name in drawn:
        assert abs(np.corrcoef(rows["flip"], rows[name])[0, 1]) < 0.03


@pytest.mark.parametrize("crop", RANDOM, ids=repr)
def test_no_number_of_a_sample_is_drawn_twice(crop, monkeypatch):
    """Long images, in which most boxes do not fit, need all tries of a resized crop."""
    drawn = []
    uniform = counter.uniform

    def noted(key, indices, draw=0, *rest):
        drawn.extend((key, int(index), draw) for index in indices)
        return uniform(key, indices, draw, *rest)

    monkeypatch.setattr(counter, "uniform", noted)
    View(crop, flip=True, size=32).place(np.arange(50), 0, Sizes(np.full(50, 60), np.full(50, 600)))
    assert len(drawn) >= 150
    assert len(set(drawn)) == len(drawn)
    if isinstance(crop, ResizedCrop):
        assert max(draw for _, _, draw in drawn) > 12, "several tries were needed"


@pytest.mark.parametrize(
    ("crop", "size", "image", "expected"),
    [
        (PadCrop(4), 32, (32, 32), [(0, 0, 32, 32, -4, -2, 1), (0, 0, 32, 32, -4, 2, 1), (0, 0, 32, 32, -2, -4, 1)]),
        (ResizedCrop(), 24, (60, 40), [(4, 8, 20, 18, 0, 0, 1), (15, 8, 19, 22, 0, 0, 1), (16, 2, 31, 25, 0, 0, 1)]),
        (RandomCrop(0.6), 24, (60, 40), [(2, 5, 24, 24, 0, 0, 1), (3, 12, 24, 24, 0, 0, 1), (9, 1, 24, 24, 0, 0, 1)]),
        (CentreCrop(0.875), 24, (60, 41), [(12, 2, 36, 36, 0, 0, 1)] * 3),
    ],
    ids=repr,
)
def test_the_placements_of_published_runs_stay_the_same(crop, size, image, expected):
    members = np.array([0, 5, 9])
    rows = View(crop, True, size, 3).place(members, 2, Sizes(*(np.full(3, side) for side in image)))
    assert [tuple(row) for row in rows.tolist()] == [
        (index, *row) for index, row in zip(members.tolist(), expected, strict=True)
    ]
